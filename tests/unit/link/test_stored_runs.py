"""Runs on disk: found, measured, kept, removed oldest first; never one that is open."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.backend.run_dirs import take_place
from ktstr_tui.link.recfile import RecordedEvent, RecordingReader, header, pack_chunk
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.link.stored_runs import KEEP_FILE, StoredRuns, end_of, facts_of
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event, OutputText, RunEnded, RunStarted
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.stored import IDENTITY_FILE, RemovedRuns, StoredRunFacts
from ktstr_tui.text.stored_lines import fact_lines, stored_lines
from ktstr_tui.wire.codec import encode_event

KIB = 1024


def add(directory: Path, name: str, day: int, kib: int = 64) -> Path:
    """A run's directory with a file of whole blocks."""
    path = directory / f"{name}-202601{day:02}-120000"
    path.mkdir(parents=True)
    (path / "console.log").write_bytes(os.urandom(kib * KIB))
    return path


def recorded(path: Path, *events: Event) -> None:
    packed = [
        RecordedEvent(seq, seq * 1_000_000_000, encode_event(event)) for seq, event in enumerate(events, 1)
    ]
    (path / RECORDING_FILE).write_bytes(header("id") + pack_chunk(packed))


@pytest.fixture
def runs(tmp_path: Path) -> StoredRuns:
    stored = StoredRuns(tmp_path / "runs")
    for day, name in enumerate(("tour", "mine", "tour", "last"), 1):
        add(stored.directory, name, day)
    return stored


def names(runs: StoredRuns) -> list[str]:
    return [it.id.removesuffix("-120000") for it in runs.all()]


def test_the_seed_of_a_run_is_listed(tmp_path: Path) -> None:
    stored = StoredRuns(tmp_path / "runs")
    (add(stored.directory, "seeded", 1) / IDENTITY_FILE).write_text(
        '{"seed": 926224, "topology": "1n1l2c1t"}'
    )
    (add(stored.directory, "torn", 2) / IDENTITY_FILE).write_text('{"seed": ')
    add(stored.directory, "plain", 3)
    runs = stored.all()
    assert [it.seed for it in runs] == [926224, None, None]
    heading, first, *_ = stored_lines(runs, RemovedRuns(), 0, {it.id: end_of(it) for it in runs})
    assert first.endswith(" 926224  no recording")
    assert heading.index("seed") + len("seed") == first.index(" 926224") + len(" 926224"), "below its heading"
    assert heading.index("state") == first.index("no recording")
    facts = fact_lines(runs[0], StoredRunFacts(captures=0))
    assert "seed       926224 (ktstr-tui rerun seeded-20260101-120000)" in facts
    assert "seed       none" in fact_lines(runs[2], StoredRunFacts(captures=0))


def test_runs_are_listed_oldest_first_and_measured_as_du_does(runs: StoredRuns) -> None:
    (runs.directory / "notes").mkdir()
    (runs.directory / "link-20260101-120000").symlink_to(runs.directory / "notes")
    os.link(
        runs.directory / "mine-20260102-120000" / "console.log",
        runs.directory / "mine-20260102-120000" / "again",
    )
    assert names(runs) == ["tour-20260101", "mine-20260102", "tour-20260103", "last-20260104"]
    for run in runs.all():
        du = subprocess.run(["du", "-sk", run.path], capture_output=True, text=True, check=True).stdout
        own_kib = os.lstat(run.path).st_blocks // 2
        assert run.disk_bytes == (int(du.split()[0]) - own_kib) * KIB


def test_a_word_means_a_directory_or_all_runs_of_a_name(runs: StoredRuns) -> None:
    assert [it.id for it in runs.find("tour")] == ["tour-20260101-120000", "tour-20260103-120000"]
    assert runs.find_one("mine").id == "mine-20260102-120000"
    path = runs.directory / "tour-20260103-120000"
    assert [it.path for it in runs.find(str(path / RECORDING_FILE))] == [str(path)]
    with pytest.raises(UsageError, match="2 runs are called tour"):
        runs.find_one("tour")
    with pytest.raises(UsageError, match="there is no run nothing"):
        runs.find("nothing")


def test_the_oldest_go_first_but_never_one_that_is_kept_open_or_spared(runs: StoredRuns) -> None:
    tour, mine, _, last = runs.all()
    runs.keep(tour, True)
    with_room = 2 * tour.disk_bytes
    assert [it.id for it in runs.prune(with_room, dry_run=True).removed] == [mine.id, "tour-20260103-120000"]
    assert len(runs.all()) == 4, "a dry run removes nothing"
    pruned = runs.prune(with_room, spared=Path(mine.path))
    assert [it.id for it in pruned.removed] == ["tour-20260103-120000", last.id]
    assert pruned.left_bytes == with_room
    assert names(runs) == ["tour-20260101", "mine-20260102"]
    counted = runs.removed_so_far()
    assert (counted.runs, counted.disk_bytes, counted.last) == (2, 2 * tour.disk_bytes, last.id)
    runs.keep(tour, False)
    assert not (Path(tour.path) / KEEP_FILE).exists()
    runs.prune(0)
    assert runs.all() == []


def test_a_run_in_progress_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    (tmp_path / "r").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    runs = StoredRuns(tmp_path / "s" / "ktstr-tui" / "runs")
    with take_place("one", "x") as place:
        (place.data_dir / "console.log").write_bytes(b"x" * KIB)
        (run,) = runs.all()
        assert run.open
        assert runs.prune(0).removed == ()
        with pytest.raises(UsageError, match="in progress"):
            runs.remove(run)
    (run,) = runs.all()
    assert not run.open
    assert [it.id for it in runs.prune(0).removed] == [run.id]


def test_a_run_whose_recording_is_read_is_not_removed(runs: StoredRuns) -> None:
    run = runs.find_one("mine")
    recorded(Path(run.path), RunEnded(exit_code=0, reason="done"))
    with RecordingReader(Path(run.path) / RECORDING_FILE):
        assert runs.find_one("mine").open
        assert run.id not in {it.id for it in runs.prune(0).removed}
    assert not runs.find_one("mine").open


def test_what_a_killed_removal_left_goes_with_the_next(runs: StoredRuns) -> None:
    left = runs.directory / ".removing-old-20250101-120000"
    left.mkdir()
    (left / "file").write_bytes(b"x")
    held = os.open(left, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    runs.prune(1 << 40)
    assert left.exists(), "somebody is at it"
    os.close(held)
    runs.prune(1 << 40)
    assert not left.exists()


def test_a_recording_says_what_the_run_was_and_how_it_ended(runs: StoredRuns) -> None:
    run = runs.find_one("mine")
    assert "recording" in facts_of(run).unreadable
    info = RunInfo(
        name="mine",
        run_id="x",
        kernel="7.2.12",
        kernel_path="x",
        accelerator="tcg",
        accelerator_reason="x",
        topology="1n1l2c1t",
        memory_bytes=1,
        scenario="tour",
        scheduler="demo:fifo",
    )
    ended = RunEnded(exit_code=1, reason="scheduler ejected")
    recorded(Path(run.path), RunStarted(info=info), ended)
    facts = facts_of(run)
    assert facts.info == info
    assert (facts.end_reason, facts.exit_code, facts.duration_ms) == ("scheduler ejected", 1, 1000.0)
    recorded(Path(run.path), RunStarted(info=info))
    assert facts_of(run).end_reason.startswith("killed")
    assert "end of the run" in facts_of(run).damage


@pytest.mark.parametrize(
    ("exit_code", "end"),
    [(0, "ended"), (1, "ejected"), (5, "inconclusive"), (3, "failed"), (70, "failed"), (None, "killed")],
)
def test_the_end_of_a_run_is_read_from_the_last_bytes_of_its_recording(
    exit_code: int | None, end: str, runs: StoredRuns
) -> None:
    path = Path(runs.find_one("mine").path)
    noise = OutputText(stream="dmesg", text=os.urandom(24 * KIB).hex())
    ended = () if exit_code is None else (RunEnded(exit_code=exit_code, reason="CHNK"),)
    # In a chunk of its own, and at the end of one that is larger than the first look.
    for chunks in ([(noise,), ended], [(noise, *ended)]):
        data = b"".join(
            pack_chunk([RecordedEvent(at, at, encode_event(it)) for at, it in enumerate(chunk, 1)])
            for chunk in chunks
            if chunk
        )
        (path / RECORDING_FILE).write_bytes(header("id") + data)
        assert end_of(runs.find_one("mine")) == end
    # Cut in the middle of the last chunk, as by a full disk; then what is no recording at all.
    (path / RECORDING_FILE).write_bytes((header("id") + data)[:-3])
    assert end_of(runs.find_one("mine")) == "killed"
    (path / RECORDING_FILE).write_bytes(b"not a recording")
    assert end_of(runs.find_one("mine")) == "unreadable"
    with RecordingReader(_whole(path)):
        assert end_of(runs.find_one("mine")) == "open"


def _whole(path: Path) -> Path:
    recorded(path, RunEnded(exit_code=0, reason="done"))
    return path / RECORDING_FILE


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8), st.integers(0, 200))
def test_pruning_removes_no_more_than_it_must(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, bool]], limit_kib: int
) -> None:
    runs = StoredRuns(tmp_path_factory.mktemp("p"))
    for day, (kib, kept) in enumerate(made, 1):
        path = add(runs.directory, "run", day, kib)
        if kept:
            (path / KEEP_FILE).touch()
    before, limit = runs.all(), limit_kib * KIB
    removed = runs.prune(limit).removed
    after = runs.all()
    assert {it.id for it in removed} | {it.id for it in after} == {it.id for it in before}
    total = sum(it.disk_bytes for it in after)
    assert total <= limit or all(it.kept or not it.disk_bytes for it in after)
    if removed:
        assert total + removed[-1].disk_bytes > limit, "one fewer would not have done"
    free = [it.id for it in before if not it.kept and it.disk_bytes]
    assert [it.id for it in removed] == free[: len(removed)], "the oldest first"
