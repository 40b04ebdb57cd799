"""Defects that old versions of pahole leave in BTF."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf_traps import DSQ_FLAGS_ENUM, find_traps
from tests.unit.kernel.blob import BlobBuilder


def blob(*, whole: bool, tagged: bool) -> bytes:
    build = BlobBuilder()
    if whole:
        build.enum64(DSQ_FLAGS_ENUM, [("SCX_DSQ_FLAG_BUILTIN", 1 << 63), ("SCX_DSQ_LOCAL", 1 << 63 | 2)])
    else:
        build.enum(DSQ_FLAGS_ENUM, [("SCX_DSQ_FLAG_BUILTIN", 0), ("SCX_DSQ_LOCAL", 2)])
    if tagged:
        build.string("bpf_kfunc")
        build.integer("int", 4)
    return build.build()


@pytest.mark.parametrize(
    ("whole", "tagged", "expected"),
    [
        (True, True, []),
        (False, True, ["truncated-enums"]),
        (True, False, ["malformed-kfuncs"]),
        (False, False, ["truncated-enums", "malformed-kfuncs"]),
    ],
)
def test_each_defect_is_found_by_itself(whole: bool, tagged: bool, expected: list[str]) -> None:
    traps = find_traps(blob(whole=whole, tagged=tagged))
    assert [trap.kind for trap in traps] == expected
    assert all("pahole" in trap.remedy for trap in traps)
