"""Functions and what they are called with, over a hand-made BTF."""

from __future__ import annotations

from typing import cast

import pytest

from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.c_types import ExpressionError
from ktstr_tui.kernel.functions import IN_REGISTERS, dsq_words, find_function
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import Argument
from tests.unit.kernel.blob import BlobBuilder, symbols

TEXT = 0xFFFF_FFFF_8100_0000
TASK, STACK = 0xFFFF_8880_0000_1000, 0xFFFF_C900_0000_2000
LOCAL, LOCAL_ON = 0x8000_0000_0000_0002, 0xC000_0000_0000_0000


class View:
    """A kernel with a few functions, a task and a stack."""

    def __init__(self) -> None:
        b = BlobBuilder()
        number, wide = b.integer("int", 4, 1), b.integer("u64", 8)
        char = b.integer("char", 1, 1)
        task = b.compound("task_struct", 24, [("pid", number, 0), ("comm", b.array(char, 16), 8)])
        pointer, pair = (
            b.pointer(task),
            b.compound("pair", 16, [("a", wide, 0), ("b", wide, 8)]),
        )
        b.enum64("scx_dsq_id_flags", [("SCX_DSQ_LOCAL", LOCAL), ("SCX_DSQ_LOCAL_ON", LOCAL_ON)])
        self._b = b
        self.function("insert", ("p", pointer), ("dsq_id", wide), ("nr", number))
        self.function("insert___v2", ("p", pointer))
        self.function("many", *((f"a{i}", wide) for i in range(8)))
        self.function("print", ("fmt", wide), ("", 0))
        self.function("by_value", ("a", wide), ("pair", pair), ("b", wide))
        self.btf = Btf(b.build())
        names = ("_stext", "insert", "insert___v2", "many", "print", "by_value", "untyped", "_etext", "data")
        self.symbols: Symbols = symbols(**{name: TEXT + 0x100 * at for at, name in enumerate(names)})

    def function(self, name: str, *parameters: tuple[str, int]) -> None:
        words = [word for it, kind in parameters for word in (self._b.string(it), kind)]
        self._b.add(Kind.FUNC, name, self._b.add(Kind.FUNC_PROTO, "", 0, words, len(parameters)), [])

    def fresh_space(self) -> View:
        return self

    def read(self, address: int, n: int) -> bytes:
        if address == TASK:
            return ((105).to_bytes(8, "little") + b"spin-0".ljust(16, b"\0"))[:n]
        raise MemoryReadError(f"{address:#x} is not mapped", address)

    def u64(self, address: int) -> int:
        if not STACK < address < STACK + 0x100:
            raise MemoryReadError(f"{address:#x} is not mapped", address)
        return (address - STACK) // 8


def called(name: str, **registers: int) -> tuple[Argument, ...]:
    view = cast("KernelView", View())
    return find_function(view.btf, view.symbols, name).arguments(view, registers)


def test_arguments_have_their_names_types_and_values() -> None:
    assert called("insert", rdi=TASK, rsi=7, rdx=0xFFFF_FFFF_FFFF_FFFE) == (
        Argument(name="p", type="struct task_struct *", value="spin-0[105]"),
        Argument(name="dsq_id", type="u64", value="0x7"),
        Argument(name="nr", type="int", value="-2 (0xfffffffe)"),
    )


def test_what_cannot_be_read_says_so() -> None:
    assert [it.value for it in called("insert", rdi=0x1234_5678, rsi=LOCAL)] == [
        "0x12345678",
        "SCX_DSQ_LOCAL",
        "unreadable",
    ]


def test_the_seventh_argument_is_on_the_stack_above_the_return_address() -> None:
    registers = dict(zip(IN_REGISTERS, range(10, 16), strict=True))
    told = called("many", **registers, rsp=STACK)
    assert [it.value.split()[0] for it in told] == ["10", "11", "12", "13", "14", "15", "1", "2"]


def test_what_is_not_told_is_named() -> None:
    view = View()
    found = {
        it: find_function(view.btf, view.symbols, it) for it in ("by_value", "print", "untyped", "insert")
    }
    assert [len(it.parameters or ()) for it in found.values()] == [1, 1, 0, 3]
    assert "pair is passed by value" in found["by_value"].note
    assert "more arguments" in found["print"].note
    assert found["untyped"].parameters is None
    assert "does not describe" in found["untyped"].note
    assert found["insert"].note == "this kernel also has insert___v2"


def test_what_is_no_function_is_refused() -> None:
    view = View()
    with pytest.raises(ExpressionError, match="no function 'insrt'") as refused:
        find_function(view.btf, view.symbols, "insrt")
    assert refused.value.hint.startswith("Did you mean insert")
    with pytest.raises(ExpressionError, match="data is data"):
        find_function(view.btf, view.symbols, "data")
    with pytest.raises(ExpressionError, match="no function"):
        find_function(view.btf, view.symbols, "")


def test_queues_are_named_as_the_kernel_does() -> None:
    btf = View().btf
    assert [dsq_words(btf, it) for it in (LOCAL, LOCAL_ON | 3, 7)] == [
        "SCX_DSQ_LOCAL",
        "SCX_DSQ_LOCAL_ON | 3",
        "0x7",
    ]
