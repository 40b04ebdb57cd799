"""Room on disk: what was used longest ago goes, no more than it must, and never what has to stay."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.wire.disk_room import by_last_use, disk_bytes, make_room

SIZES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["goes", "stays", "held"])), max_size=8)


@given(SIZES, st.integers(0, 120))
def test_no_more_goes_than_must_and_the_oldest_first(made: list[tuple[int, str]], limit_bytes: int) -> None:
    asked: list[int] = []

    def remove(number: int) -> bool:
        asked.append(number)
        return made[number][1] == "goes"

    entries = [(number, size_bytes) for number, (size_bytes, _) in enumerate(made)]
    removed, left_bytes = make_room(entries, limit_bytes, remove, stays=lambda it: made[it][1] == "stays")
    may_go = [number for number, (_, kind) in enumerate(made) if kind == "goes"]
    assert removed == may_go[: len(removed)], "the oldest first"
    assert left_bytes == sum(size for number, size in entries if number not in removed)
    assert left_bytes <= limit_bytes or removed == may_go, "as much as has to"
    if removed:
        assert left_bytes + made[removed[-1]][0] > limit_bytes, "one fewer would not have done"
    assert all(made[it][1] != "stays" for it in asked), "what stays is not touched"


def test_files_come_in_the_order_of_their_last_use(tmp_path: Path) -> None:
    for used_s, name in ((3, "c"), (1, "a"), (2, "b")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (used_s, used_s))
    assert [it.name for it in by_last_use([*tmp_path.iterdir(), tmp_path / "gone"])] == ["a", "b", "c"]


def test_disk_is_counted_in_blocks_and_once_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    whole = tmp_path / "below/whole"
    whole.write_bytes(b"x" * 65536)
    taken = disk_bytes(tmp_path)
    assert taken >= 65536
    os.link(whole, tmp_path / "again")
    (tmp_path / "link").symlink_to(whole)
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    assert disk_bytes(tmp_path) == taken
