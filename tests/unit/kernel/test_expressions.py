"""Expressions against a hand-made kernel in which every address is known."""

from __future__ import annotations

import pytest
from drgn import Symbol, SymbolBinding, SymbolIndex, SymbolKind
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.c_types import CTypes, near
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.expressions import (
    MAX_TEXT,
    ExpressionError,
    Expressions,
    NullPointer,
    check_address,
)
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, BlobBuilder, FakeMemory
from tests.unit.kernel.tiny import tiny_btf

PER_CPU, STRIDE = IMAGE + 0x20000, 0x1000
ROOT, TASK, COUNTER, ODD, OFFSETS = (IMAGE + at for at in (0x1300, 0x1400, 0x1800, 0x1801, 0x1000))
SCHED, OTHER = PAGE_OFFSET + 0x40000, PAGE_OFFSET + 0x50000


def scheduler_btf() -> bytes:
    """``struct scx_sched`` with a pointer, an anonymous union, an array, a bit field; and per-CPU ``load``."""
    b = BlobBuilder()
    u8, u32, u64 = b.integer("unsigned char", 1), b.integer("unsigned int", 4), b.integer("u64", 8)
    b.integer("long unsigned int", 8)
    atomic = b.compound("", 4, [("counter", u32, 0)])
    typedef = b.wrap(Kind.TYPEDEF, "atomic_t", atomic)
    info = b.compound("scx_exit_info", 16, [("kind", u32, 0), ("code", u64, 8)])
    union = b.compound("", 8, [("seq", u64, 0), ("low", u32, 0)], Kind.UNION)
    b.compound(
        "scx_sched",
        0x60,
        [
            ("exit_kind", typedef, 0x10),
            ("info", b.pointer(info), 0x18),
            ("", union, 0x20),
            ("weights", b.array(u32, 4), 0x28),
            ("rows", b.array(info, 0), 0x38),
            ("flag", u8, 0x41),
        ],
    )
    b.bit_fields("bits", 4, [("small", u32, 3, 2)])
    b.compound("task_struct", 0x20, [("prio", u32, 0x8)])
    b.compound("cpumask", 8, [("bits", b.array(u64, 1), 0)])
    load = b.compound("load", 16, [("nr", u32, 4)])
    b.variable("load", load)
    b.variable("known", u32)
    b.wrap(Kind.FWD, "hidden", 0)
    return b.build()


class Kernel:
    """Its memory, types and symbols."""

    def __init__(self) -> None:
        self.memory = FakeMemory()
        self.memory.put(IMAGE + 0x1100, 2, 4)
        self.memory.put(OFFSETS + 8, STRIDE)
        names = {
            "runqueues": PER_CPU,
            "load": PER_CPU + 0x40,
            "__per_cpu_start": PER_CPU,
            "__per_cpu_end": PER_CPU + STRIDE,
            "__per_cpu_offset": OFFSETS,
            "nr_cpu_ids": IMAGE + 0x1100,
            "scx_root": ROOT,
            "init_task": TASK,
            "counter": COUNTER,
            "odd": ODD,
            "known": COUNTER + 8,
            "counter.llvm.42": COUNTER + 16,
        }
        rows = [*names.items(), ("twice", IMAGE + 0x2000), ("twice", IMAGE + 0x3000)]
        index = SymbolIndex(
            [Symbol(name, at, 4, SymbolBinding.GLOBAL, SymbolKind.OBJECT) for name, at in rows]
        )
        symbols, self.space = Symbols(index), self.memory.space()
        self.expressions = Expressions(Btf(scheduler_btf()), symbols, Cpus(tiny_btf(), symbols, self.space))

    def at(self, text: str) -> int:
        """Where an expression points now."""
        return self.expressions.compile(text).address(self.space)


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.memory.put(ROOT, SCHED)
    kernel.memory.put(SCHED + 0x18, OTHER)
    kernel.memory.put(SCHED + 0x20, OTHER)
    return kernel


@pytest.mark.parametrize(
    ("text", "address", "size_bytes"),
    [
        ("counter", COUNTER, None),
        (" counter ", COUNTER, None),
        ("counter.llvm.42", COUNTER + 16, None),
        ("known", COUNTER + 8, 4),
        ("scx_root", ROOT, 8),
        ("scx_root->exit_kind", SCHED + 0x10, 4),
        ("scx_root.exit_kind", SCHED + 0x10, 4),
        ("(*scx_root).exit_kind.counter", SCHED + 0x10, 4),
        ("*scx_root", SCHED, None),
        ("((struct scx_sched *)scx_root->seq)->info", OTHER + 0x18, 8),
        ("scx_root->info", SCHED + 0x18, 8),
        ("*scx_root->info", OTHER, None),
        ("scx_root->info->code", OTHER + 8, 8),
        ("scx_root -> seq", SCHED + 0x20, 8),
        ("scx_root->weights[3]", SCHED + 0x34, 4),
        ("scx_root->rows[2].code", SCHED + 0x38 + 2 * 16 + 8, 8),
        ("scx_root->flag", SCHED + 0x41, 1),
        ("init_task.prio", TASK + 8, 4),
        ("runqueues@0", PER_CPU, None),
        ("load@1.nr", PER_CPU + 0x40 + STRIDE + 4, 4),
        ("__per_cpu_offset[1]", OFFSETS + 8, 8),
        (f"{COUNTER:#x}", COUNTER, None),
        (f"((struct scx_sched *){OTHER:#x})->info", OTHER + 0x18, 8),
        ("((struct scx_sched *)&counter)->flag", COUNTER + 0x41, 1),
        ("((struct task_struct *)scx_root)->prio", SCHED + 8, 4),
        (f"*(unsigned int *){OTHER:#x}", OTHER, 4),
        (f"*(atomic_t *){OTHER:#x}", OTHER, 4),
        (f"(u64 *){OTHER:#x}", OTHER, None),
        ("&counter", COUNTER, None),
    ],
)
def test_where_expressions_point(kernel: Kernel, text: str, address: int, size_bytes: int | None) -> None:
    location = kernel.expressions.compile(text)
    assert location.address(kernel.space) == address
    assert location.size_bytes == size_bytes


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("countr", "no symbol 'countr'", "Did you mean counter"),
        ("zzzzqq", "no symbol 'zzzzqq'", "/proc/kallsyms"),
        ("twice", "2 symbols are called twice", f"{IMAGE + 0x2000:#x}"),
        ("load", "is a per-CPU variable", "load@0"),
        ("load@2.nr", "no CPU 2", "last one is 1"),
        ("counter@0", "counter is not per CPU", "leave out @0"),
        ("*scx_root->exit_kind", "exit_kind is not a pointer: its type is atomic_t", "leave out"),
        ("*load@1.nr", "load@1.nr is not a pointer: its type is unsigned int", "leave out"),
        ("*scx_root->rows", "rows is not a pointer: its type is struct scx_exit_info [0]", "leave out"),
        ("*counter", "type of counter is not known", "*(unsigned long *)counter"),
        (
            "((struct scx_sched *)load@1.nr)->info",
            "nr cannot hold a pointer: its type is unsigned int",
            "&load@1.nr",
        ),
        ("((struct scx_sched *)scx_root->rows)->info", "rows cannot hold a pointer", "&scx_root->rows"),
        ("((struct scx_sched *)load@0)->info", "load@0 cannot hold a pointer: its type is struct load", ""),
        ("load@1.nr[3]", "is not an array: its type is unsigned int", ""),
        ("counter->x", "type of counter is not known", "((struct NAME *)&counter)->x"),
        ("scx_root->exit_kid", "struct scx_sched has no member 'exit_kid'", "exit_kind"),
        ("scx_root->exit_kind->x", "no member 'x'", "counter"),
        ("scx_root->weights[4]", "has 4 elements, so there is no [4]", ""),
        ("scx_root->flag.x", "no member x: it is not a struct", ""),
        ("scx_root->flag[0]", "is not an array", ""),
        ("((struct bits *)0xffff888000000000)->small", "small is a bit field", "word"),
        ("((struct nosuch *)counter)->x", "no type 'struct nosuch *'", ""),
        ("((struct hidden *)counter)->x", "no type 'struct hidden *'", ""),
        ("scx_root->", "a member expected before 'the end'", ""),
        ("scx_root->weights[x]", "a number expected before 'x'", ""),
        ("(counter", "')' expected before 'the end'", ""),
        ("counter counter", "'counter' is unexpected here", ""),
        ("counter + 1", "'+' is unexpected", ""),
        ("0x1ffff888000000000", "has more than 64 bits", ""),
        ("load@18446744073709551616.nr", "has more than 64 bits", ""),
        ("&0xffff888000000000", "is a number and has no address", ""),
        ("", "1 to 256 printable characters", ""),
        ("a" * (MAX_TEXT + 1), "1 to 256 printable characters", ""),
        ("a\nb", "printable", ""),
        ("(" * 100 + "counter", "nested too deeply", ""),
    ],
)
def test_what_is_refused_and_why(kernel: Kernel, text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        kernel.expressions.compile(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_location_follows_its_pointers(kernel: Kernel) -> None:
    location = kernel.expressions.compile("scx_root->info->kind")
    assert location.moves
    assert location.address(kernel.space) == OTHER
    kernel.memory.put(SCHED + 0x18, OTHER + 0x100)
    assert location.address(kernel.space) == OTHER + 0x100
    kernel.memory.put(SCHED + 0x18, 0)
    with pytest.raises(NullPointer, match="scx_root->info is NULL"):
        location.address(kernel.space)
    kernel.memory.put(ROOT, 0xFFFF_C900_0000_0000)
    with pytest.raises(MemoryReadError):
        location.address(kernel.space)


def test_names_are_not_looked_for_when_that_is_not_wanted(kernel: Kernel) -> None:
    with pytest.raises(ExpressionError) as caught:
        kernel.expressions.compile("countr", suggest=False)
    assert "Did you mean" not in caught.value.hint


@pytest.mark.parametrize(
    ("address", "length", "message"),
    [
        (0, 4, "address 0"),
        (0x7FFF_0000_0000, 4, "user half"),
        (ODD, 4, "not aligned to 4 bytes"),
        (COUNTER + 4, 8, "not aligned to 8 bytes"),
    ],
)
def test_addresses_that_cannot_be_watched(address: int, length: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check_address(address, length)


def test_addresses_that_can_be_watched() -> None:
    check_address(COUNTER + 4, 4)
    check_address(COUNTER, 8)


def test_similar_names_come_first() -> None:
    assert near("jifies", ["jiffies", "jiffies_64", "runqueues"])[0] == "jiffies"
    assert near("xyz", ["jiffies"]) == []


@pytest.mark.parametrize(
    "text",
    ["u64", "unsigned int", "struct scx_sched", "atomic_t", "struct load **", "u64 [3]"],
)
def test_types_have_the_name_that_finds_them(text: str) -> None:
    types = CTypes(Btf(scheduler_btf()))
    found = types.named(text)
    assert found is not None
    assert types.name_of(found) == text


def test_types_by_name() -> None:
    types = CTypes(Btf(scheduler_btf()))
    for name, size in (
        ("unsigned int", 4),
        ("u64 [3]", 24),
        ("u64 * [3]", 24),
        ("struct load", 16),
        ("void", 0),
    ):
        kind = types.named(name)
        assert kind is not None
        assert types.size_of(kind) == size
    assert types.named("struct absent") is None


@given(st.text(alphabet="scx_root->exit_kind()*&[]@.0x123 known", max_size=60))
def test_no_text_does_anything_but_compile_or_be_refused(text: str) -> None:
    kernel = Kernel()
    try:
        location = kernel.expressions.compile(text)
        address = location.address(kernel.space)
    except (ExpressionError, NullPointer, MemoryReadError):
        return
    assert 0 <= address < 1 << 64
