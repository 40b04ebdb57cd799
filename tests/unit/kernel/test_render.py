"""Bytes to values: hand-made types, a compiled BPF object, and nonsense."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.render import MORE, Renderer
from tests.unit.kernel.blob import BlobBuilder

SOURCE = r"""
typedef unsigned long long u64;
typedef _Bool flag_t;
enum mode { IDLE, BUSY = 7, LOST = 9 };
struct point { int x, y; };
struct state {
    const char name[8];
    volatile struct point at[2];
    enum mode mode;
    union { unsigned word; struct { unsigned low : 4, high : 28; }; };
    int negative : 5;
    u64 *where;
    flag_t on;
    unsigned char raw[3];
};
u64 counter = 0x1122334455667788ULL;
struct state now = {
    .name = "tick", .at = { { 1, -2 }, { 3, 4 } }, .mode = BUSY, .word = 0x25, .negative = -3,
    .where = 0, .on = 1, .raw = { 9, 8, 7 },
};
enum mode gone = LOST;
long list[4] = { 1, -1, 2, -2 };
int use(void) { return counter + now.negative + gone + list[1]; }
char _license[] __attribute__((section("license"))) = "GPL";
"""


def _clang() -> str:
    found = next(filter(None, map(shutil.which, ("clang", "clang-19", "clang-16", "clang-14"))), None)
    assert found is not None, "no clang: apt install clang"
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Btf, bytes]:
    """BTF and .data of a compiled BPF object, with the section's offsets filled in as its loader does."""
    at = tmp_path_factory.mktemp("bpf")
    (at / "x.c").write_text(SOURCE)
    subprocess.run([_clang(), "-g", "-O2", "-target", "bpf", "-c", "x.c", "-o", "x.o"], cwd=at, check=True)
    return _read_object(at / "x.o")


def _read_object(path: Path) -> tuple[Btf, bytes]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        sections = {section.name: section for section in elf.iter_sections()}
        blob, data, table = sections[".BTF"].data(), sections[".data"].data(), sections[".symtab"]
        assert isinstance(table, SymbolTableSection)
        places = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    btf = Btf(blob)
    section = btf.find(".data", Kind.DATASEC)
    assert section is not None
    rows = btf.words(section, 3 * btf.record(section).vlen)
    fixed = bytearray(blob)
    for k in range(0, len(rows), 3):
        old = struct.pack("<III", *rows[k : k + 3])
        new = struct.pack("<III", rows[k], places[btf.record(rows[k]).name], rows[k + 2])
        start = fixed.index(old, 24)
        fixed[start : start + 12] = new
    return Btf(bytes(fixed)), data


def test_globals_of_a_compiled_scheduler_are_named_values(compiled: tuple[Btf, bytes]) -> None:
    btf, data = compiled
    section = btf.find(".data", Kind.DATASEC)
    assert section is not None
    renderer = Renderer(btf)
    assert renderer.render(section, data) == {
        "counter": 0x1122334455667788,
        "now": {
            "name": "tick",
            "at": [{"x": 1, "y": -2}, {"x": 3, "y": 4}],
            "mode": "BUSY (7)",
            "word": 0x25,
            "low": 5,
            "high": 2,
            "negative": -3,
            "where": "0x0",
            "on": True,
            "raw": [9, 8, 7],
        },
        "gone": "LOST (9)",
        "list": [1, -1, 2, -2],
    }
    assert not renderer.truncated


def test_enums_of_all_widths_and_signs() -> None:
    b = BlobBuilder()
    kind = b.enum("kind", [("ONE", 1)])
    signed = b.enum("signed", [("MINUS", -2)], signed=True)
    wide = b.enum64("wide", [("BUILTIN", 1 << 63)])
    renderer = Renderer(Btf(b.build()))
    assert renderer.render(kind, struct.pack("<I", 1)) == "ONE (1)"
    assert renderer.render(kind, struct.pack("<I", 5)) == 5
    assert renderer.render(signed, struct.pack("<i", -2)) == "MINUS (-2)"
    assert renderer.render(wide, struct.pack("<Q", 1 << 63)) == "BUILTIN (9223372036854775808)"


def test_long_arrays_say_how_much_is_missing() -> None:
    b = BlobBuilder()
    many = b.array(b.integer("int", 4, 1), 100)
    renderer = Renderer(Btf(b.build()), max_array=3)
    assert renderer.render(many, bytes(400)) == [0, 0, 0, f"{MORE} 97 more"]
    assert renderer.truncated


def test_short_data_says_so() -> None:
    b = BlobBuilder()
    number = b.integer("int", 4, 1)
    pair = b.compound("pair", 8, [("a", number, 0), ("b", number, 4)])
    many = b.array(number, 3)
    renderer = Renderer(Btf(b.build()))
    assert renderer.render(pair, b"\1\0\0\0\2\0") == {"a": 1, "b": f"{MORE} no bytes"}
    assert renderer.render(many, bytes(5)) == [0, f"{MORE} 2 more"]
    assert renderer.truncated


def test_types_that_contain_themselves_end() -> None:
    b = BlobBuilder()
    b.compound("loop", 8, [("self", 1, 0)])
    renderer = Renderer(Btf(b.build()), max_depth=3)
    value = cast("dict[str, Any]", renderer.render(1, bytes(8)))
    assert value["self"]["self"]["self"]["self"] == f"{MORE} too deep"


def test_the_number_of_values_is_bounded() -> None:
    b = BlobBuilder()
    inner = b.array(b.integer("u8", 1), 64)
    outer = b.array(inner, 64)
    renderer = Renderer(Btf(b.build()), max_values=100)
    value = cast("list[object]", renderer.render(outer, bytes(4096)))
    assert sum(len(row) for row in value if isinstance(row, list)) <= 110
    assert renderer.truncated
    assert renderer.render(inner, bytes(64)) == [0] * 64


def test_functions_and_incomplete_types_have_no_value() -> None:
    b = BlobBuilder()
    missing = b.add(Kind.FWD, "secret", 0, [])
    renderer = Renderer(Btf(b.build()))
    assert renderer.render(missing, b"") == "<fwd secret>"
    assert renderer.render(0, b"") is None


@given(st.binary(max_size=160), st.integers(0, 30))
def test_any_bytes_render(compiled: tuple[Btf, bytes], data: bytes, type_id: int) -> None:
    value = Renderer(compiled[0]).render(min(type_id, len(compiled[0])), data)
    assert json.loads(json.dumps(value)) == value, "what goes into a report is plain JSON"
