"""BTF: records, names, members, and blobs that are damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.btf import Btf, BtfError, Kind, MemberPath
from tests.unit.kernel.blob import BlobBuilder


def sample() -> tuple[bytes, dict[str, int]]:
    """A blob with one of everything."""
    b, ids = BlobBuilder(), {}
    ids["int"] = b.integer("int", 4, encoding=1)
    ids["u64"] = b.integer("u64", 8)
    ids["char"] = b.integer("char", 1, encoding=1)
    ids["text"] = b.array(ids["char"], 16)
    ids["node"] = b.compound("list_head", 16, [("next", ids["u64"], 0), ("prev", ids["u64"], 8)])
    ids["inner"] = b.compound("", 8, [("left", ids["int"], 0), ("right", ids["int"], 4)])
    ids["union"] = b.compound("", 8, [("", ids["inner"], 0), ("both", ids["u64"], 0)], Kind.UNION)
    ids["task"] = b.compound(
        "task",
        48,
        [("pid", ids["int"], 0), ("", ids["union"], 8), ("comm", ids["text"], 16), ("run", ids["node"], 32)],
    )
    ids["task_t"] = b.wrap(Kind.TYPEDEF, "task_t", ids["task"])
    ids["const"] = b.wrap(Kind.CONST, "", ids["task_t"])
    ids["kind"] = b.enum("kind", [("NONE", 0), ("STALL", 1026)])
    ids["signed"] = b.enum("signed", [("MINUS", -1), ("PLUS", 1)], signed=True)
    ids["wide"] = b.enum64("wide", [("BUILTIN", 1 << 63)])
    ids["flags"] = b.bit_fields("flags", 4, [("a", ids["int"], 0, 3), ("b", ids["int"], 3, 5)])
    ids["var"] = b.variable("runqueues", ids["task"])
    ids["sec"] = b.section(".data", 48, [(ids["var"], 0, 48)])
    ids["fwd"] = b.add(Kind.FWD, "task", 0, [])
    ids["proto"] = b.add(Kind.FUNC_PROTO, "", ids["int"], [0, ids["u64"]], vlen=1)
    ids["func"] = b.wrap(Kind.FUNC, "schedule", ids["proto"])
    ids["float"] = b.add(Kind.FLOAT, "double", 8, [])
    ids["decl"] = b.add(Kind.DECL_TAG, "tag", ids["task"], [0xFFFFFFFF])
    return b.build(), ids


def test_every_record_is_found_at_its_id() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    assert len(btf) == len(ids)
    kinds = {name: btf.record(type_id).kind for name, type_id in ids.items()}
    assert kinds["int"] is Kind.INT
    assert kinds["union"] is Kind.UNION
    assert kinds["wide"] is Kind.ENUM64
    assert kinds["decl"] is Kind.DECL_TAG
    assert btf.record(0).kind is Kind.VOID
    assert btf.record(ids["task"]).name == "task"


def test_names_are_found_by_kind() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    assert btf.find("task", Kind.STRUCT) == ids["task"]
    assert btf.find("kind", Kind.ENUM64, Kind.ENUM) == ids["kind"]
    assert btf.find("runqueues", Kind.VAR) == ids["var"]
    assert btf.find("task", Kind.UNION) is None
    assert btf.find("tas", Kind.STRUCT) is None
    assert btf.find("", Kind.STRUCT) is None


def test_paths_lead_through_structs_and_anonymous_members() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    assert btf.place(ids["task"], "run.prev") == MemberPath(8 * 40, 0, ids["u64"])
    assert btf.place(ids["task"], "right") == MemberPath(8 * 12, 0, ids["int"])
    assert btf.place(ids["const"], "both") == MemberPath(8 * 8, 0, ids["u64"])
    assert btf.place(ids["task"], "absent") is None
    assert btf.place(ids["task"], "pid.deeper") is None
    assert btf.place(ids["flags"], "b") == MemberPath(3, 5, ids["int"])


def test_sizes() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    expected = {
        "int": 4,
        "text": 16,
        "task": 48,
        "const": 48,
        "kind": 4,
        "wide": 8,
        "sec": 48,
        "fwd": 0,
        "float": 8,
    }
    assert {name: btf.size_of(ids[name]) for name in expected} == expected


def test_enumerators_have_their_sign_and_width() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    assert btf.enumerators(ids["signed"]) == (("MINUS", -1), ("PLUS", 1))
    assert btf.enumerators(ids["wide"]) == (("BUILTIN", 1 << 63),)
    assert btf.enumerator("STALL") == (ids["kind"], 1026)
    assert btf.enum_value("STALL", 0) == 1026
    assert btf.enum_value("ABSENT", 5) == 5


def test_split_btf_continues_ids_and_strings() -> None:
    blob, ids = sample()
    base = Btf(blob)
    b = BlobBuilder(first_id=base.end_id, first_string=base.end_string)
    pointer = b.pointer(ids["task"])
    own = b.compound("mine", 16, [("task", pointer, 0), ("count", ids["u64"], 8)])
    split = Btf(b.build(), base)
    assert split.find("mine", Kind.STRUCT) == own
    assert split.find("task", Kind.STRUCT) == ids["task"]
    assert [m.name for m in split.members(own)] == ["task", "count"]
    assert [m.name for m in split.members(ids["task"])] == ["pid", "", "comm", "run"]
    assert split.size_of(pointer) == 8
    assert base.find("mine", Kind.STRUCT) is None
    assert len(split) == len(base) + 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:20],
        lambda blob: b"\0\0" + blob[2:],
        lambda blob: blob[:-5],
        lambda blob: blob[:12] + struct.pack("<I", 3) + blob[16:],
        lambda blob: blob[:28] + struct.pack("<I", 31 << 24) + blob[32:],
        lambda blob: blob[:28] + struct.pack("<I", Kind.STRUCT << 24 | 0xFFFF) + blob[32:],
    ],
)
def test_damaged_tables_are_refused(damage: object) -> None:
    blob, _ = sample()
    assert callable(damage)
    with pytest.raises(BtfError):
        Btf(damage(blob))


def test_ids_and_strings_outside_the_tables_are_refused() -> None:
    blob, ids = sample()
    btf = Btf(blob)
    with pytest.raises(BtfError):
        btf.record(len(ids) + 1)
    with pytest.raises(BtfError):
        btf.string(1 << 30)


def test_endless_typedefs_are_refused() -> None:
    b = BlobBuilder()
    b.wrap(Kind.TYPEDEF, "loop", 2)
    b.wrap(Kind.TYPEDEF, "pool", 1)
    with pytest.raises(BtfError, match="chain"):
        Btf(b.build()).resolve(1)


@given(st.data())
def test_no_mutation_leads_to_anything_but_a_refusal(data: st.DataObject) -> None:
    blob = bytearray(sample()[0])
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        btf = Btf(bytes(blob))
        for type_id in range(len(btf) + 2):
            btf.size_of(type_id)
            btf.place(type_id, "run.prev")
        assert btf.enumerator("no such enumerator") is None
        btf.enumerator("STALL")
    except BtfError:
        pass
