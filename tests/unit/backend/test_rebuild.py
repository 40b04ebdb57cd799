"""Builds on save: one at a time, once more for a save meanwhile, and what fails leaves everything as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.backend.edit.command import BuildResult
from ktstr_tui.backend.edit.rebuild import EditPlan, Rebuilder
from ktstr_tui.backend.edit.saves import files_to_watch, sources_beside, watch_saves
from ktstr_tui.guest.guest_time import come_to_rest
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.scheduler_swap import ReplaceOutcome, SwapAttached, SwapRejected

FILE = Path("/w/mine.bpf.c")
BUILD_S = 2.0


@dataclass
class Bench:
    """A rebuilder whose builds take two seconds and end as the test says."""

    nursery: trio.Nursery
    command: str = "make"
    exit_codes: list[int] = field(default_factory=list)
    swaps: list[ReplaceOutcome | GuestError] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    loaded: list[Path] = field(default_factory=list)
    events: list[ev.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = Stream(lambda: round(trio.current_time() * 1e9))
        self.stream.add_sink(lambda event, data: self.events.append(event))
        plan = EditPlan(
            scheduler=Path("/w/mine.bpf.o"), command=self.command, files=(FILE,), log_dir=Path("/w/builds")
        )
        self.rebuilder = Rebuilder(plan, self, self.stream.emit, self.stream.now_ns, run=self._build)
        self.nursery.start_soon(self.rebuilder.run)

    async def _build(self, command: str, log_path: Path) -> BuildResult:
        self.begun.append(trio.current_time())
        await trio.sleep(BUILD_S)
        code = self.exit_codes.pop(0) if self.exit_codes else 0
        headline = "mine.bpf.c:3:1: error: no" if code else ""
        return BuildResult(exit_code=code, duration_ms=BUILD_S * 1e3, headline=headline, path=str(log_path))

    async def swap(self, scheduler: Path) -> ReplaceOutcome:
        self.loaded.append(scheduler)
        await trio.sleep(0.5)
        outcome = self.swaps.pop(0) if self.swaps else SwapAttached(took_ms=500, loaded="mine")
        if isinstance(outcome, GuestError):
            raise outcome
        self.stream.emit(ev.SchedulerSwapped(op="replace", name=scheduler.name, outcome=outcome))
        return outcome

    def told(self) -> list[str]:
        """Builds and swaps in short."""
        words = []
        for event in self.events:
            if isinstance(event, ev.BuildChanged):
                words.append(f"{event.build} {event.phase}")
            elif isinstance(event, ev.BuildLoaded):
                words.append(f"{event.build} {event.result}")
        return words


@asynccontextmanager
async def bench(command: str = "make") -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        yield Bench(nursery, command)
        nursery.cancel_scope.cancel()


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    return autojump_clock


async def test_a_save_builds_and_loads(clock: MockClock) -> None:
    async with bench() as it:
        it.rebuilder.saved([FILE])
        await trio.sleep(10)
        assert it.told() == ["1 started", "1 built", "1 attached"]
        swap = it.stream.state.edit.changes[0]
        assert swap.since_save_ms == pytest.approx(2500)
        assert swap.build_ms == pytest.approx(2000)
        build = it.events[0]
        assert isinstance(build, ev.BuildChanged)
        assert (build.why, build.files, build.command) == ("save", ("mine.bpf.c",), "make")
        last = it.stream.state.edit.build
        assert last is not None
        assert last.path == "/w/builds/build-001.log"
        assert [line.text for line in it.stream.state.log] == [
            "build 1 started (mine.bpf.c saved): make",
            "build 1 built after 2.0 s",
            "mine.bpf.o attached as mine in 500 ms",
            "mine.bpf.o of build 1 is loaded, 2.5 s after the save",
        ]


async def test_saves_during_a_build_build_once_more_and_never_two_at_a_time(clock: MockClock) -> None:
    async with bench() as it:
        begin = trio.current_time()
        it.rebuilder.saved([FILE])
        for _ in range(3):
            await trio.sleep(0.5)
            it.rebuilder.saved([FILE])
        await trio.sleep(20)
        assert [at - begin for at in it.begun] == [0.0, BUILD_S + 0.5]
        assert it.told() == ["1 started", "1 built", "1 attached", "2 started", "2 built", "2 attached"]
        assert it.rebuilder.joined == 2
        # From the first of the saves that the second build is for.
        assert it.stream.state.edit.changes[1].since_save_ms == pytest.approx(4500)


async def test_a_build_that_fails_loads_nothing_and_raises_an_alert_until_one_works(clock: MockClock) -> None:
    async with bench() as it:
        it.exit_codes = [2, 0]
        it.rebuilder.saved([FILE])
        await trio.sleep(10)
        assert (it.told(), it.loaded) == (["1 started", "1 failed"], [])
        alert = it.stream.state.alerts["edit"]
        assert alert.text == "build 1 failed: mine.bpf.c:3:1: error: no"
        it.rebuilder.saved([FILE])
        await trio.sleep(10)
        assert it.told()[-1] == "2 attached"
        assert it.stream.state.alerts == {}
        assert it.stream.state.edit.builds_failed == 1


async def test_a_refused_scheduler_says_what_stays_loaded(clock: MockClock) -> None:
    refused = SwapRejected(
        took_ms=1, by="verifier", loaded="mine", reason="R1 invalid mem access", log=("a", "b")
    )
    async with bench() as it:
        it.swaps = [refused, GuestError("the guest is gone")]
        it.rebuilder.ask("asked")
        await trio.sleep(10)
        assert it.stream.state.alerts["edit"].text == (
            "mine.bpf.o was refused: R1 invalid mem access; mine stays loaded"
        )
        assert it.stream.state.edit.changes[0].log == ("a", "b")
        it.rebuilder.ask("asked")
        await trio.sleep(10)
        assert it.told()[-1] == "2 failed"
        assert it.stream.state.alerts["edit"].text == "mine.bpf.o could not be loaded: the guest is gone"


async def test_a_build_can_be_cancelled(clock: MockClock) -> None:
    async with bench() as it:
        assert not it.rebuilder.cancel()
        it.rebuilder.ask("asked")
        await trio.sleep(1)
        assert it.rebuilder.cancel()
        await wait_all_tasks_blocked()
        assert it.told() == ["1 started", "1 cancelled"]
        it.rebuilder.ask("asked")
        await trio.sleep(10)
        assert it.told()[-1] == "2 attached"


async def test_without_a_command_the_object_itself_is_loaded(clock: MockClock) -> None:
    async with bench("") as it:
        it.rebuilder.saved([Path("/w/mine.bpf.o")])
        await trio.sleep(10)
        assert (it.begun, it.told()) == ([], ["0 attached"])


def test_the_sources_beside_the_object_are_watched_unless_files_are_named(tmp_path: Path) -> None:
    names = ("mine.bpf.c", "a.h", "Makefile", "notes.txt", "mine.bpf.o")
    for name in names:
        (tmp_path / name).touch()
    found = sources_beside(tmp_path / "mine.bpf.o")
    assert [it.name for it in found] == ["Makefile", "a.h", "mine.bpf.c"]
    given = files_to_watch([str(tmp_path / "notes.txt")], tmp_path / "mine.bpf.o")
    assert given == (tmp_path / "notes.txt",)
    with pytest.raises(UsageError, match="there are no sources"):
        sources_beside(tmp_path / "elsewhere/mine.bpf.o")
    with pytest.raises(UsageError, match="there is no directory"):
        files_to_watch([str(tmp_path / "nowhere/x.c")], tmp_path / "mine.bpf.o")


async def test_a_save_is_noticed_also_when_the_editor_renames_and_others_are_not(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.bpf.c", tmp_path / "other.c"
    mine.write_text("1")
    send, receive = trio.open_memory_channel[list[Path]](10)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def write_until_noticed() -> None:
                # The watch begins in a thread, and says nothing of it.
                while True:
                    other.write_text("noise")
                    (tmp_path / ".mine.tmp").write_text("2")
                    (tmp_path / ".mine.tmp").rename(mine)
                    await trio.sleep(0.2)

            nursery.start_soon(watch_saves, [mine], lambda paths: send.send_nowait(list(paths)))
            nursery.start_soon(write_until_noticed)
            assert await receive.receive() == [mine]
            # A run with a seed waits for those at work, and this one watches as long as the run lasts.
            await come_to_rest()
            nursery.cancel_scope.cancel()
