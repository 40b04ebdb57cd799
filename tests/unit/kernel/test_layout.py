"""Layouts: several members from one copy."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.layout import Layout
from tests.unit.kernel.blob import PAGE_OFFSET, BlobBuilder, FakeMemory

AT = PAGE_OFFSET + 0x4000


@pytest.fixture(scope="module")
def btf() -> Btf:
    b = BlobBuilder()
    number, word, byte = b.integer("int", 4, 1), b.integer("u64", 8), b.integer("u8", 1)
    char = b.integer("char", 1, 1)
    inner = b.compound("inner", 16, [("clock", word, 0), ("depth", number, 8)])
    bits = b.bit_fields("bits", 4, [("low", number, 0, 4), ("top", number, 28, 4)])
    state = b.enum("state", [("A", 0)])
    b.compound(
        "rq",
        64,
        [
            ("nr", number, 4),
            ("curr", b.pointer(inner), 8),
            ("scx", inner, 16),
            ("comm", b.array(char, 8), 32),
            ("bits", bits, 40),
            ("flag", byte, 44),
            ("state", state, 48),
            ("alias", b.compound("", 8, [("one", number, 0), ("two", word, 0)], Kind.UNION), 56),
        ],
    )
    return Btf(b.build())


def test_all_values_come_from_one_read(btf: Btf) -> None:
    memory = FakeMemory()
    memory.put(AT + 4, -3, 4)
    memory.put(AT + 8, AT)
    memory.put(AT + 16, 1 << 63)
    memory.put(AT + 24, 9, 4)
    memory.put_bytes(AT + 32, b"comm\0xyz")
    memory.put(AT + 40, 0xF000000A, 4)
    memory.put(AT + 44, 1, 1)
    layout = Layout(
        btf,
        "rq",
        {
            "nr": "nr",
            "curr": "curr",
            "clock": "scx.clock",
            "depth": ("scx.older_name", "scx.depth"),
            "comm": "comm",
            "low": "bits.low",
            "top": "bits.top",
            "flag": "flag",
            "state": "state",
            "missing": ("nowhere", "scx.nowhere"),
        },
    )
    space = memory.space()
    before = memory.reads
    assert layout.read(space, AT) == {
        "nr": -3,
        "curr": AT,
        "clock": 1 << 63,
        "depth": 9,
        "comm": b"comm\0xyz",
        "low": 0xA,
        "top": 0xF,
        "flag": 1,
        "state": 0,
        "missing": None,
    }
    assert memory.reads == before + 1
    assert (layout.start, layout.end, layout.size) == (4, 52, 64)


def test_offsets(btf: Btf) -> None:
    layout = Layout(btf, "rq", {})
    assert layout.offset("scx.depth") == 24
    assert layout.find_offset("nowhere") is None
    with pytest.raises(BtfError, match="no member nowhere"):
        layout.offset("nowhere")


def test_a_struct_that_is_not_there_is_refused(btf: Btf) -> None:
    with pytest.raises(BtfError, match="no struct scx_sched"):
        Layout(btf, "scx_sched", {})


def test_members_that_share_bytes_cannot_be_read_together(btf: Btf) -> None:
    assert Layout(btf, "rq", {"two": "alias.two"}).end == 64
    with pytest.raises(BtfError, match="overlaps"):
        Layout(btf, "rq", {"one": "alias.one", "two": "alias.two"})
