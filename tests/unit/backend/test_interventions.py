"""What people changed in a run: written down, found again, carried out again at the same instruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest

from ktstr_tui.backend import interventions as iv
from ktstr_tui.backend.interventions import Intervention, Interventions
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.observer_page import HoldReason
from ktstr_tui.guest.stations import Stations
from ktstr_tui.model.control import Action, DetachScheduler, FreezeGuest, ReplaceScheduler, RunKernelWrite
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.events import Event, Logged

DIGEST = "a" * 64
ENTRY = {"target": {"type": "symbol", "name": "panic_timeout"}, "value": {"type": "int", "value": 5}}
WRITE = RunKernelWrite(op={"mode": "hot", "direction": "write", "entries": [ENTRY]}, who="me@here")
READ = RunKernelWrite(op={"mode": "hot", "direction": "read", "entries": [ENTRY]}, who="me@here")
REPLACE = ReplaceScheduler(name="new.bpf.o", path="/gone", digest=DIGEST)


class Machine:
    """An engine and stations that are wherever a test says."""

    def __init__(self, held: tuple[HoldReason, int] | None = None, *, station: int = 0) -> None:
        self.held = None if held is None else SimpleNamespace(reason=held[0], total=held[1])
        self.visiting = held is not None and held[0] is HoldReason.STEP
        self.last = station
        self.asked: list[int] = []
        self.at_count: Any = None

    def hold_at(self, instructions: int) -> None:
        self.asked.append(instructions)

    async def rest(self) -> None:
        pass


def serve(it: Interventions, machine: Machine, done: list[str] | None = None) -> None:
    async def apply(one: Intervention) -> None:
        if done is not None:
            done.append(one.words)
        if "refused" in one.by:
            raise GuestError("refused")

    it.serve(cast("HoldEngine", machine), cast("Stations", machine), apply)


def one(
    instructions: int, change: iv.Change = WRITE, *, at_station: bool = True, by: str = "me"
) -> Intervention:
    return Intervention(instructions=instructions, at_station=at_station, mono_ns=1, by=by, change=change)


Keeping: TypeAlias = Callable[..., Interventions]


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    """Makes interventions, and closes them."""
    with ExitStack() as stack:
        yield lambda directory, *args: stack.enter_context(
            closing(Interventions(directory / iv.INTERVENTIONS_FILE, *args))
        )


@pytest.mark.parametrize(
    ("action", "by", "is_one"),
    [
        (WRITE, "me@here", True),
        (READ, "me@here", False),
        (WRITE, "guest", False),
        (REPLACE, "me@here", True),
        (DetachScheduler(), "", False),
        (DetachScheduler(), "me@here", True),
        (FreezeGuest(reason="look", viewer=""), "me@here", False),
    ],
)
def test_what_a_run_would_not_do_again_by_itself(action: Action, by: str, is_one: bool) -> None:
    assert iv.is_intervention(action, by) is is_one


async def test_what_was_done_is_written_down_with_its_instant(tmp_path: Path, keeping: Keeping) -> None:
    it = keeping(tmp_path, (), lambda _: None)
    it.note(WRITE, "me", 5)  # before there is a machine
    for machine in (
        Machine((HoldReason.STEP, 100)),
        Machine((HoldReason.STOP, 100), station=100),
        Machine((HoldReason.STOP, 150), station=100),
    ):
        serve(it, machine)
        it.note(WRITE, "me", 7)
        it.note(READ, "me", 8)
    kept = iv.read_interventions(tmp_path)
    assert [(one.instructions, one.at_station, one.words) for one in kept] == [
        (100, True, "write panic_timeout=5"),
        (100, True, "write panic_timeout=5"),
        (150, False, "write panic_timeout=5"),
    ]


async def test_a_change_of_the_scheduler_begins_at_the_next_station(tmp_path: Path, keeping: Keeping) -> None:
    it = keeping(tmp_path, (), lambda _: None)
    machine = Machine((HoldReason.STOP, 150), station=100)
    serve(it, machine)
    it.note(REPLACE, "me", 7)
    assert iv.read_interventions(tmp_path) == ()
    await it.at_station(200)
    (kept,) = iv.read_interventions(tmp_path)
    assert (kept.instructions, kept.at_station, kept.mono_ns) == (200, True, 7)
    assert isinstance(kept.change, ReplaceScheduler)
    assert kept.change.path == str(tmp_path / f"objects/{DIGEST}.bpf.o"), "the object that the run has kept"


async def test_they_are_carried_out_at_their_instants_and_are_kept_again(
    tmp_path: Path, keeping: Keeping
) -> None:
    told: list[Event] = []
    done: list[str] = []
    again = [(1, one(150, at_station=False)), (3, one(100, REPLACE)), (4, one(900))]
    it = keeping(tmp_path, again, told.append)
    machine = Machine()
    serve(it, machine, done)
    await it.at_station(90)
    assert (done, machine.asked) == ([], []), "the next one is at a station"
    await it.at_station(100)
    assert (done, machine.asked) == (["replace scheduler by new.bpf.o"], [150])
    await machine.at_count(150)
    await it.at_station(200)
    assert done[1:] == ["write panic_timeout=5"]
    assert [one.instructions for one in iv.read_interventions(tmp_path)] == [100, 150]
    it.finish()
    texts = [event.text for event in told if isinstance(event, Logged)]
    assert texts == [
        "intervention 3: replace scheduler by new.bpf.o",
        "intervention 1: write panic_timeout=5",
        "intervention 4 (write panic_timeout=5) was not carried out: the run ended before",
    ]


async def test_one_that_is_refused_is_told_and_the_others_are_carried_out(
    tmp_path: Path, keeping: Keeping
) -> None:
    told: list[Event] = []
    done: list[str] = []
    it = keeping(tmp_path, [(1, one(1, by="refused")), (2, one(1))], told.append)
    serve(it, Machine(), done)
    await it.at_station(5)
    assert len(done) == 2
    errors = [event.text for event in told if isinstance(event, Logged) and event.severity == "error"]
    assert errors == ["intervention 1: write panic_timeout=5: refused"]


def test_numbers_that_there_are_not() -> None:
    iv.check_numbers([1, 2], (one(1), one(2)))
    with pytest.raises(UsageError, match="no intervention 3: the run has 2 interventions"):
        iv.check_numbers([3], (one(1), one(2)))
    with pytest.raises(UsageError, match="the run has no interventions"):
        iv.check_numbers([1], ())


def test_a_damaged_file_is_named_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / iv.INTERVENTIONS_FILE
    path.write_bytes(b'{"half')
    assert iv.read_interventions(tmp_path) == ()
    path.write_bytes(b"{}\n")
    with pytest.raises(UsageError, match="cannot be read"):
        iv.read_interventions(tmp_path)


async def test_a_full_disk_costs_the_line_and_is_counted(tmp_path: Path, keeping: Keeping) -> None:
    it = keeping(tmp_path / "gone", (), lambda _: None)
    serve(it, Machine((HoldReason.STEP, 1)))
    it.note(WRITE, "me", 1)
    assert it.drops() == {"interventions-unwritten": 1}
