"""Checkpoints are kept, and compared with those of an earlier run of the same identity."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.backend.checkpoints import (
    CHECKPOINTS_FILE,
    STATIONS_EACH,
    Checkpoint,
    Checkpoints,
    find_reference,
)
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.identity import Identity, write_identity
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.seeded import GIVEN_FILE, GivenBytes, of_boot, open_seeded
from ktstr_tui.guest.stations import Given
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stored import IDENTITY_FILE

IDENTITY = Identity(
    seed=1,
    instruction_ns=4,
    topology="1n1l2c1t",
    memory_bytes=1 << 29,
    command_line="quiet",
    qemu="10.0.2",
    kernel_sha256="k",
    initramfs_sha256="i",
    observer_sha256="o",
)


def made(number: int, **changes: object) -> Checkpoint:
    whole = Checkpoint(
        instructions=100 * number, counts=(60 * number, 40 * number), sent_bytes=7, sent_sha256="s"
    )
    return msgspec.structs.replace(whole, **changes)


def run(directory: Path, checkpoints: list[Checkpoint], identity: Identity = IDENTITY) -> list[str]:
    """A run beside the others; returns what it said."""
    directory.mkdir()
    write_identity(directory, identity)
    said: list[Event] = []
    with closing(Checkpoints(directory, find_reference(directory), said.append)) as kept:
        for number, checkpoint in enumerate(checkpoints, 1):
            kept.keep(checkpoint, 200.0 * number)
        kept.finish()
        assert not any(kept.drops().values())
    state = RunState()
    for event in said:
        fold(state, event)
    return [f"{it.severity}: {it.text}" for it in state.log]


def test_the_same_run_again_is_identical(tmp_path: Path) -> None:
    assert "3 checkpoints kept" in run(tmp_path / "a", [made(1), made(2), made(3)])[0]
    assert run(tmp_path / "b", [made(1), made(2), made(3)]) == [
        "info: identical to a in all 3 checkpoints, up to 0.600 s"
    ]


def test_a_run_that_ends_earlier_is_identical_so_far(tmp_path: Path) -> None:
    run(tmp_path / "a", [made(1), made(2), made(3)])
    assert run(tmp_path / "b", [made(1)]) == [
        "info: identical to a as far as this run went: 1 checkpoint of 3, up to 0.200 s"
    ]
    assert run(tmp_path / "c", []) == [
        "info: not compared with b: this run ended before its first checkpoint"
    ]


def test_a_run_that_goes_on_behind_the_end_of_the_other_is_identical_so_far(tmp_path: Path) -> None:
    run(tmp_path / "a", [made(1), made(2)])
    assert run(tmp_path / "b", [made(1), made(2), made(3)]) == [
        "info: identical to a as far as that one went: 2 checkpoints, up to 0.400 s; this run kept 3"
    ]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"counts": (1, 2)}, "the turns of the vCPUs"),
        ({"sent_bytes": 8, "sent_sha256": "t"}, "what the guest sent"),
        ({"jiffies": 5}, "jiffies"),
        ({"scheduler_sha256": "x"}, "the scheduler's state"),
    ],
)
def test_where_a_run_leaves_the_track_is_said_once(
    tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    run(tmp_path / "a", [made(1), made(2), made(3)])
    said = run(tmp_path / "b", [made(1), made(2, **changes), made(3, **changes)])
    assert said == [
        f"warning: this run left the track of a at checkpoint 2, at 200 instructions: {what}",
        f"info: identical to a up to 0.200 s for 1 checkpoint, then not: checkpoint 2, at 200 instructions: {what}",
    ]


@pytest.mark.parametrize("ended", [None, "stopped", "by itself", "out of time"])
def test_how_a_guest_is_taken_down_that_somebody_ends_is_not_compared(
    tmp_path: Path, ended: str | None
) -> None:
    ending = RunEnd()
    with open_seeded(tmp_path, 1, lambda _: None, RunConfig(), ending, observed=True) as seeded:
        assert seeded.checkpoints is not None
        assert [seeded.checkpoints.due() for _ in range(STATIONS_EACH)][-1]
        if ended == "by itself":
            ending.set("scenario finished")
        elif ended is not None:
            ending.stop("ended", out_of_time=ended == "out of time")
        due = [seeded.checkpoints.due() for _ in range(STATIONS_EACH)][-1]
    assert due is (ended != "stopped")


def test_a_run_of_another_identity_is_no_reference(tmp_path: Path) -> None:
    run(tmp_path / "a", [made(1)])
    other = msgspec.structs.replace(IDENTITY, seed=2)
    assert "1 checkpoint kept" in run(tmp_path / "b", [made(2)], other)[0]


def test_half_a_line_of_a_run_that_was_killed_is_left_out(tmp_path: Path) -> None:
    run(tmp_path / "a", [made(1), made(2)])
    path = tmp_path / "a" / CHECKPOINTS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    assert "as far as that one went: 1 checkpoint," in run(tmp_path / "b", [made(1), made(2)])[0]
    path.write_bytes(b"no checkpoints\n")
    (tmp_path / "b" / CHECKPOINTS_FILE).unlink()
    assert "1 checkpoint kept" in run(tmp_path / "c", [made(1)])[0]


def test_one_of_so_many_stations_is_due(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, None, lambda _: None)
    assert sum(kept.due() for _ in range(3 * STATIONS_EACH)) == 3


def test_what_the_guest_was_given_is_written_down(tmp_path: Path) -> None:
    with closing(GivenBytes(tmp_path / GIVEN_FILE)) as kept:
        kept.keep(Given(100, "bulk", b"\x01\x02"))
        kept.keep(Given(200, "stats", b""))
    lines = (tmp_path / GIVEN_FILE).read_bytes().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [
        {"instructions": 100, "port": "bulk", "data": "AQI="},
        {"instructions": 200, "port": "stats", "data": ""},
    ]
    assert not any(kept.drops().values())


def test_files_of_a_later_boot_have_names_of_their_own(tmp_path: Path) -> None:
    told: list[Event] = []
    for boot in (1, 2):
        with open_seeded(tmp_path, boot, told.append, RunConfig(), RunEnd(), observed=True) as seeded:
            assert (seeded.checkpoints is None) == (boot == 2), "only the first boot is had again"
            seeded.finish()
    assert of_boot(GIVEN_FILE, 1) == GIVEN_FILE
    assert of_boot(GIVEN_FILE, 12) == "given-12.jsonl"
    assert len(told) == 1


def test_a_full_disk_is_counted(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    kept, points = GivenBytes(missing / GIVEN_FILE), Checkpoints(missing, None, lambda _: None)
    kept.keep(Given(1, "bulk", b"x"))
    points.keep(made(1), 0.0)
    assert (kept.drops(), points.drops()) == ({"given-unwritten": 1}, {"checkpoints-unwritten": 1})
    assert (missing / IDENTITY_FILE).exists() is False
