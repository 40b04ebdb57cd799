"""Values by their type, over a hand-made BTF."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.c_types import CType
from ktstr_tui.kernel.typed_values import TypedValue, TypedValues
from tests.unit.kernel.blob import BlobBuilder, symbols


class Kinds:
    """Types, by the names of attributes."""

    def __init__(self) -> None:
        b = BlobBuilder()
        self.int = b.integer("int", 4, 1)
        self.u64 = b.integer("u64", 8)
        self.bool = b.integer("_Bool", 1, 4)
        char = b.integer("char", 1, 1)
        self.comm = b.array(char, 16)
        self.pointer = b.pointer(self.int)
        self.atomic = b.compound("atomic_t", 4, [("counter", self.int, 0)])
        self.pair = b.compound("pair", 8, [("a", self.int, 0), ("on", self.bool, 4)])
        self.many = b.array(self.int, 100)
        self.state = b.enum("scx_state", [("SCX_OFF", 0), ("SCX_ON", 2)])
        self.values = TypedValues(Btf(b.build()), symbols(root=0xFFFF_FFFF_8000_0000))


KINDS = Kinds()


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (KINDS.int, b"\xff\xff\xff\xff", TypedValue(-1, "-1 (0xffffffff)")),
        (KINDS.u64, b"\xff" * 8, TypedValue(2**64 - 1, f"{2**64 - 1} (0xffffffffffffffff)")),
        (KINDS.bool, b"\1", TypedValue(1, "true")),
        (KINDS.bool, b"\7", TypedValue(7, "7 (0x7)")),
        (KINDS.comm, b"kworker/0:1\0junk", TypedValue(None, '"kworker/0:1"')),
        (KINDS.comm, bytes(16), TypedValue(None, '""')),
        (KINDS.pointer, bytes(8), TypedValue(0, "NULL")),
        (KINDS.pointer, b"\x10" + bytes(7), TypedValue(16, "0x10")),
        (
            KINDS.pointer,
            0xFFFF_FFFF_8000_0000.to_bytes(8, "little"),
            TypedValue(0xFFFF_FFFF_8000_0000, "0xffffffff80000000 (root)"),
        ),
        (KINDS.atomic, b"\xfe\xff\xff\xff", TypedValue(-2, "-2 (0xfffffffe)")),
        (KINDS.pair, b"\xff\xff\xff\xff\1\0\0\0", TypedValue(None, "{a=-1, on=true}")),
        (KINDS.state, b"\2\0\0\0", TypedValue(2, "SCX_ON (2)")),
        (KINDS.state, b"\5\0\0\0", TypedValue(5, "5 (0x5)")),
    ],
)
def test_values(kind: int, data: bytes, value: TypedValue) -> None:
    assert KINDS.values.decode(CType(kind), data) == value


def test_a_pointer_that_only_a_table_knows() -> None:
    found = KINDS.values.decode(CType(KINDS.int, (None,)), b"\1" + bytes(7))
    assert found == TypedValue(1, "0x1")


def test_what_is_too_long_says_so() -> None:
    found = KINDS.values.decode(CType(KINDS.many), bytes(400))
    assert found is not None
    assert found.text.endswith(", … 36 more]")


@pytest.mark.parametrize("data", [b"", b"\0" * 3, b"\0" * 5])
def test_bytes_of_another_size_are_not_decoded(data: bytes) -> None:
    assert KINDS.values.decode(CType(KINDS.int), data) is None


def test_a_type_that_is_not_there_is_not_decoded() -> None:
    assert KINDS.values.decode(CType(1 << 20), b"\0" * 4) is None
