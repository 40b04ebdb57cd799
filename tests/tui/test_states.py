"""Beginnings, ends and failures: states of the screen, never errors; and nothing that a guest writes is markup."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ktstr_tui.link.source import OnEvents
from ktstr_tui.model import events as ev
from ktstr_tui.model.rates import CpuRate, TaskRates
from ktstr_tui.model.sample import OFFLINE, CpuSample, Sample, SchedulerSample
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, leave, press, rows, screen, settle
from tests.tui.story import START_NS, Story


def test_before_the_first_event_every_pane_says_what_will_appear() -> None:
    text = screen(FakeSource([], "connecting"), size=(200, 60))
    for part in (
        "connecting", "no run yet", "CONNECTING", "The guest is booting", "The scheduler appears", "No captures yet",
        "No events yet", "No output yet", "No watches yet", "No frames",
        "No heartbeats yet",
    ):  # fmt: skip
        assert part in text


def test_a_dead_backend_is_a_state_and_the_screen_stays_usable() -> None:
    source = FakeSource(Story().until(33))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, list[str]]:
        source.connection = "gone"
        source.connection_reason = "no beat for 5 s"
        source.controllable = False
        await settle(app, pilot)
        shown = "\n".join(rows(app))
        await press(app, pilot, "c", "f", "3", "enter")
        return shown, "\n".join(rows(app)), [it.message for it in app._notifications]

    _app, (shown, report, said) = drive(source, steps)
    assert "× backend gone" in shown
    assert "No beat for 5 s. Showing the last known state." in shown
    assert "spin-0[200]" in shown
    assert "exit_kind=ERROR_STALL" in report
    assert source.commands == []
    assert len(said) == 2
    assert all("gone" in text for text in said)


def test_a_source_that_breaks_is_shown_as_gone() -> None:
    class Broken(FakeSource):
        async def run(self, on_events: OnEvents) -> None:
            await asyncio.sleep(0)
            raise OSError("socket [vanished]")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await settle(app, pilot)
        return "\n".join(rows(app))

    text = drive(Broken(Story().until(33)), steps)[1]
    assert "× backend gone" in text
    assert "OSError: socket [vanished]" in text


def ending(source: FakeSource, code: int = 4) -> ev.RunEnded:
    """How a guest's panic ends a run."""
    return ev.RunEnded(
        seq=source.state.seq + 1,
        mono_ns=source.state.mono_ns,
        exit_code=code,
        reason="the guest panicked",
        fault="guest",
        hint="read the end of the console",
        console_tail=("Kernel panic - not syncing: [bold]Attempted[/bold] to kill init!",),
    )


def test_how_a_run_ended_is_on_the_screen_and_its_console_a_key_away() -> None:
    source = FakeSource(Story().until(33))
    source.feed([ending(source)])
    source.connection = "ended"
    text = screen(source)
    assert "■ ENDED, exit 4" in text
    assert "■ FAILED  the guest panicked" in text
    assert "read the end of the console" in text
    assert "■ ended" in text
    info = screen(source, "i")
    assert "Kernel panic - not syncing: [bold]Attempted[/bold] to kill init!" in info
    assert "next step" in info


def test_the_owner_of_an_ended_run_is_not_asked() -> None:
    source = FakeSource(Story().until(33))
    source.feed([ending(source)])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await leave(app, pilot, "ctrl+q")

    assert drive(source, steps, owner=True)[0].return_value == "end"


def test_a_replay_refuses_politely() -> None:
    source = FakeSource(Story().until(33), "replay")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        await press(app, pilot, "c", "f")
        return "\n".join(rows(app)), [it.message for it in app._notifications]

    _app, (text, said) = drive(source, steps)
    assert "► replay" in text
    assert "lag" not in text.split("\n")[0]
    assert source.commands == []
    assert [text.split(":")[0] for text in said] == ["Cannot capture", "Cannot freeze"]


HOSTILE = "[red]x[/]\x1b[31m\x07\u202e"


def hostile_source() -> FakeSource:
    """A run in which the guest names everything so as to break a display."""
    story = Story(comm=HOSTILE)
    source = FakeSource(story.until(33))
    seq, at = source.state.seq, source.state.mono_ns
    source.feed(
        [
            ev.OutputText(
                seq=seq + 1, mono_ns=at, stream="stdout", text=f"{HOSTILE} $name [@click=app.quit]go[/]\n"
            ),
            ev.Logged(seq=seq + 2, mono_ns=at, severity="error", source=HOSTILE, text=f"{HOSTILE} log"),
            ev.AlertRaised(
                seq=seq + 3, mono_ns=at, key="0", kind="stall", severity="error", text=f"{HOSTILE} alert"
            ),
            ev.SchedulerChanged(seq=seq + 4, mono_ns=at, change="ejected", name=HOSTILE, exit_kind=1026),
        ]
    )
    return source


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_text_of_the_guest_is_never_markup(size: tuple[int, int]) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        shown = []
        for keys in (
            ("1",),
            ("2",),
            ("3",),
            ("4",),
            ("5",),
            ("c",),
            ("i",),
            ("escape",),
            ("3", "enter"),
            *"2345617",
        ):
            await press(app, pilot, *keys)
            shown.append("\n".join(rows(app)))
        return shown

    _app, shown = drive(hostile_source(), steps, size)
    whole = "\n".join(shown)
    assert "[red]x[/]-1[201]" in whole
    assert "[@click=app.quit]go[/]" in whole
    assert not {char for char in whole if not char.isprintable() and char != "\n"}


def test_hostile_text_does_not_shift_columns() -> None:
    lines = screen(hostile_source(), size=(120, 40)).split("\n")
    heading = next(line for line in lines if "nr_run" in line)
    row = next(line for line in lines if "[red]x[/]-0[200]" in line)
    assert row[heading.index("class") : heading.index("class") + 4] == "fair"


def test_unreadable_is_not_zero() -> None:
    source = FakeSource(Story().until(20))
    sample = Sample(
        cpus=(
            CpuSample(cpu=0, unreadable="torn: rq->curr changed"),
            CpuSample(cpu=1, nr_running=0, idle=True),
        ),
        scheduler=SchedulerSample(unreadable="scx_root changed during each of 3 reads"),
    )
    source.feed([ev.Sampled(seq=source.state.seq + 1, mono_ns=source.state.mono_ns + 1, sample=sample)])
    lines = screen(source).split("\n")
    torn = next(line for line in lines if "? torn" in line)
    idle = next(line for line in lines if "○ idle" in line)
    assert torn.count("–") >= 6
    assert " 0 " in idle
    assert any("unreadable: scx_root changed" in line for line in lines)


def test_a_cpu_that_is_offline_is_called_so() -> None:
    source = FakeSource(Story().until(20))
    down = CpuSample(cpu=1, unreadable=OFFLINE, vcpu_cpu_time_ns=10**12)
    sample = Sample(cpus=(CpuSample(cpu=0, nr_running=0, idle=True), down), scheduler=SchedulerSample())
    source.feed([ev.Sampled(seq=source.state.seq + 1, mono_ns=source.state.mono_ns + 10**8, sample=sample)])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], list[str]]:
        await press(app, pilot, "1", "j")
        table = rows(app)
        await press(app, pilot, "enter")
        return table, rows(app)

    table, window = drive(source, steps, (120, 40))[1]
    row = next(line for line in table if "offline" in line)
    assert "? n/a" not in row
    assert "%" not in row
    assert any("state" in line and "offline" in line for line in window)
    assert not any("not to be trusted" in line for line in window)


def test_a_torn_row_is_copied_with_its_reason() -> None:
    source = FakeSource(Story().until(20))
    sample = Sample(
        cpus=(CpuSample(cpu=0, unreadable="torn: rq->curr changed"),), scheduler=SchedulerSample()
    )
    source.feed([ev.Sampled(seq=source.state.seq + 1, mono_ns=source.state.mono_ns + 1, sample=sample)])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "1", "y")
        return app.clipboard

    assert "torn: rq->curr changed" in drive(source, steps)[1]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_state_is_told_without_colour(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, str]:
        strips = app.screen._compositor.render_strips(app.size)
        styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
        filtered = [line for line in app._filters if type(line).__name__ == "Monochrome"]
        assert styles
        return bool(filtered), "\n".join(rows(app))

    _app, (grey, text) = drive(FakeSource(Story().until(29)), steps)
    assert grey
    assert "▲ DEGRADED" in text
    assert "75 %" in text


def test_tiny_terminals_do_not_break() -> None:
    for size in ((20, 5), (40, 10), (60, 15)):
        assert screen(FakeSource(Story().until(33)), "3", "enter", "2", size=size)


def test_resizing_rearranges() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[bool]:
        found = []
        for width, height in ((80, 24), (200, 60), (120, 40)):
            await pilot.resize_terminal(width, height)
            await settle(app, pilot)
            text = "\n".join(rows(app))
            found += ["SELECT_CPU_FALLBACK" in text, "4 log ─ 5 output" in text]
        return found

    assert drive(FakeSource(Story().until(25)), steps)[1] == [False, False, True, False, True, True]


def test_posting_from_a_thread_is_safe() -> None:
    source = FakeSource(Story().until(20))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        def tell() -> None:
            app.notify("from a thread", markup=False)

        await asyncio.to_thread(tell)
        await settle(app, pilot)
        return [it.message for it in app._notifications]

    assert drive(source, steps)[1] == ["from a thread"]


def test_a_flood_of_events_is_painted_once() -> None:
    source = FakeSource(Story().until(20))
    painted: list[int] = []

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        original: Any = app.screen.sync  # type: ignore[attr-defined]

        def counted() -> None:
            painted.append(source.state.seq)
            original()

        app.screen.sync = counted  # type: ignore[attr-defined]
        template = ev.Logged(severity="info", source="flood", text="x")
        first = source.state.seq + 1
        for number in range(20_000):
            source.feed([msgspec.structs.replace(template, seq=first + number, mono_ns=START_NS)])
        await pilot.pause()
        assert painted == []
        app.paint()

    drive(source, steps)
    assert painted == [source.state.seq]


def test_a_kick_storm_shows_in_preemptions_and_kicks() -> None:
    source = FakeSource(Story().until(16))
    cpus = tuple(CpuRate(cpu=cpu, switches=900, preempted=700) for cpu in range(2))
    for kicks, shown in ((None, "needs --trace scx"), (4321, "2160")):
        rates = TaskRates(span_ms=2000.0, events=1, cpus=cpus, kicks=kicks)
        source.feed([ev.TasksMeasured(rates=rates, seq=source.state.seq + 1, mono_ns=source.state.mono_ns)])
        text = screen(source, "2", size=(120, 40))
        assert re.search(r"preemptions/s +700 ", text)
        assert re.search(rf"kicks/s +{shown} ", text)
