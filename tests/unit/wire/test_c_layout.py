"""What Python reads of C structures is what C wrote, and every constant comes from the headers."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.tracked import COUNTERS, Update
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.c_layout import c_struct


@pytest.fixture(scope="module")
def build(checkout: Path) -> ModuleType:
    """``native/build.py``, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("native_build", checkout / "native/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_members_are_read_from_their_places() -> None:
    slots = ffi.new("struct ktb_slot[2]")
    slots[1].nonce, slots[1].stalls, slots[1].status, slots[1].flags = 1 << 60, 5, 2, 9
    layout = c_struct("struct ktb_slot", "nonce", "stalls", "status", "flags")
    assert layout.size == ffi.sizeof("struct ktb_slot")
    assert list(layout.iter_unpack(ffi.buffer(slots)[:])) == [(0, 0, 0, 0), (1 << 60, 5, 2, 9)]


def test_members_of_a_structure_inside_and_arrays_are_read() -> None:
    datagrams = ffi.new("struct ktb_datagram[1]")
    datagrams[0].bytes[39], datagrams[0].source.known, datagrams[0].length = 7, 4, 33
    layout = c_struct("struct ktb_datagram", "bytes", "source.known", "length")
    assert layout.unpack(ffi.buffer(datagrams)[:]) == (b"\0" * 39 + b"\7", 4, 33)


def test_members_out_of_order_are_refused() -> None:
    with pytest.raises(InternalError, match="stalls"):
        c_struct("struct ktb_slot", "flags", "stalls")
    with pytest.raises(InternalError, match="struct ktb_entry"):
        c_struct("struct ktb_probe", "entries")


def test_the_stub_names_only_what_the_module_has(checkout: Path) -> None:
    tree = ast.parse((checkout / "ktstr_tui/_native.pyi").read_text())
    (stub,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Lib"]
    names = [
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    names += [node.name for node in stub.body if isinstance(node, ast.FunctionDef)]
    assert len(names) > 60
    assert [name for name in names if not hasattr(lib, name)] == []


def test_names_of_counters_and_updates_are_those_of_c(checkout: Path) -> None:
    assert [update.name for update in Update] == [
        ffi.typeof("enum ktb_update").elements[number].removeprefix("KTB_") for number in range(len(Update))
    ]
    elements = ffi.typeof("enum ktb_counter").elements
    of_c = [
        elements[number].removeprefix("KTB_COUNT_").lower() for number in range(len(Update), len(COUNTERS))
    ]
    assert [name.removeprefix("eviction_") for name in COUNTERS[len(Update) :]] == of_c


def test_declarations_are_the_marked_part_of_a_header(build: ModuleType) -> None:
    header = """#define HIDDEN 1
// cffi: begin
#define PLAIN 0x10u // why
#define SUM (1 << 4)
/* a
 * comment */
static inline int twice(int x)
{
\treturn 2 * x;
}
int f(void);
// cffi: end
int hidden(void);
// cffi: begin
int g(void);
// cffi: end
"""
    lines = [line for line in build.declarations(header).splitlines() if line.strip()]
    assert [line.rstrip() for line in lines] == [
        "#define PLAIN 0x10u",
        "#define SUM ...",
        "int twice(int x);",
        "int f(void);",
        "int g(void);",
    ]
