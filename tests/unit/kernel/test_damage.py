"""Types and notes that a hostile guest made up: refused in finite time, and as the guest's fault."""

from __future__ import annotations

import os

import pytest
from drgn import Architecture, Platform, Program

from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.c_types import CType, CTypes, ExpressionError
from ktstr_tui.kernel.drgn_types import TypeFactory
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.program import KernelNotFound
from ktstr_tui.kernel.view import KernelView
from tests.unit.kernel.blob import BlobBuilder

PAGE = 4096


def test_structs_that_hold_themselves_many_times_are_searched_once() -> None:
    blob = BlobBuilder()
    blob.compound("twins", 8, [("", 1, 0)] * 8 + [("last", 2, 0)])
    blob.integer("int", 4)
    btf = Btf(blob.build())
    assert btf.place(1, "nothing") is None
    last = btf.place(1, "last")
    assert last is not None
    assert last.type_id == 2


def test_anonymous_structs_may_nest_deep_but_not_without_end() -> None:
    blob = BlobBuilder()
    inner = blob.integer("int", 4)
    levels = [blob.compound("", 4, [("x", inner, 0)])]
    for _ in range(1000):
        levels.append(blob.compound("", 4, [("", levels[-1], 0)]))
    btf = Btf(blob.build())
    assert btf.place(levels[20], "x") is not None
    assert btf.place(levels[-1], "x") is None


def test_members_of_impossible_sizes_are_refused() -> None:
    blob = BlobBuilder()
    wide, byte = blob.integer("int", 255), blob.integer("char", 1)
    page = blob.array(byte, 1 << 20)
    blob.compound(
        "outer", 8, [("wide", wide, 0), ("page", page, 0), ("near", byte, 0), ("far", byte, 1 << 28)]
    )
    btf = Btf(blob.build())
    for paths in ({"x": "wide"}, {"x": "page"}, {"x": "near", "y": "far"}):
        with pytest.raises(BtfError):
            Layout(btf, "outer", paths)
    assert Layout(btf, "outer", {"x": "far"}).decode(b"\7") == {"x": 7}


@pytest.mark.parametrize(
    "kind", [Kind.PTR, Kind.TYPEDEF, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG]
)
def test_a_type_made_of_itself_is_refused(kind: Kind) -> None:
    blob = BlobBuilder()
    blob.wrap(kind, "loop", 1)
    blob.array(2, 3)
    types = TypeFactory(Program(Platform(Architecture.X86_64)), Btf(blob.build()))
    for type_id in (1, 2):
        with pytest.raises(BtfError, match="made of more than"):
            types.type(type_id)


def test_a_kernel_of_which_only_the_note_is_true_is_refused_as_the_guests_fault() -> None:
    note = (
        b"OSRELEASE=6.99.0-test\nSYMBOL(init_uts_ns)=ffffffff80003000\nOFFSET(uts_namespace.name)=4\n"
        b"NUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=ffffffff8fff8000\n"
    )
    fd = os.memfd_create("test-ram")
    try:
        os.ftruncate(fd, 16 * PAGE)
        os.pwrite(fd, b"6.99.0-test", 3 * PAGE + 4 + 2 * 65)
        for text in (
            note,
            note.replace(b"ffffffff8fff8000", b"no number"),
            note.partition(b"SYMBOL(swapper")[0] + b"\n",
        ):
            os.pwrite(fd, text.ljust(PAGE, b"\0"), 7 * PAGE)
            ram = GuestRam.from_fds([(fd, 0, 0, 16 * PAGE)])
            with pytest.raises(KernelNotFound) as caught:
                KernelView.open(ram)
            assert caught.value.fault == "guest"
            ram.close()
    finally:
        os.close(fd)


def test_names_of_members_are_listed_once_however_often_a_struct_holds_itself() -> None:
    blob = BlobBuilder()
    number = blob.integer("int", 4)
    blob.compound("twins", 8, [("", 2, 0)] * 8 + [("last", number, 0)])
    with pytest.raises(ExpressionError) as caught:
        CTypes(Btf(blob.build())).member(CType(2), "lost")
    assert caught.value.hint == "Did you mean last?"
