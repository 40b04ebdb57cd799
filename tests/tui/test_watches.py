"""Watchpoints on the screen: asked for with a key, shown in their panel, opened, resumed and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Failure
from ktstr_tui.model.report import RunningTask, Stack, StackFrame
from ktstr_tui.model.state import Hit
from ktstr_tui.text.lines import text_of
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.watch_dialog import MAX_HISTORY, WatchDialog, load_history, remember
from ktstr_tui.tui.watch_pane import HitPage, HitTable, change
from tests.tui.fakes import FakeSource, drive, press, rows, screen
from tests.tui.story import START_NS, Story

STACK = Stack(
    (
        StackFrame(0xFFFFFFFF81000010, "tick_do_update_jiffies64+0x6c"),
        StackFrame(0xFFFFFFFF81000020, "hrtimer_interrupt+0x107"),
        StackFrame(0xFFFFFFFFC0000000, "bpf_prog_stall_dispatch+0x66", guess=True),
    ),
    "user",
)


def watched(state: str = "armed", detail: str = "") -> FakeSource:
    """The tour with a watch on jiffies in slot 2 that was hit twice."""
    source = FakeSource(Story().until(20))
    seq, at = source.state.seq, START_NS + 20 * 10**9
    writer = RunningTask(cpu=1, pid=111, comm="spin[2]", sched_class="ext")
    hits = [
        ev.WatchpointHit(
            seq=seq + 2 + number,
            mono_ns=at + number,
            slot=2,
            expression="jiffies",
            vcpu=1,
            old=0x1000 + number,
            value=0x1001 + number,
            writer=writer,
            stack=STACK,
        )
        for number in range(2)
    ]
    swallowed = ev.WatchpointHit(
        seq=seq + 4, mono_ns=at + 2, slot=2, expression="jiffies", vcpu=None, old=0x1002, value=0x1002
    )
    armed = ev.WatchpointChanged(
        seq=seq + 1, mono_ns=at, slot=2, expression="jiffies", address=0xFFFFFFFF84000000, once=True
    )
    last = ev.WatchpointChanged(
        seq=seq + 5,
        mono_ns=at,
        slot=2,
        expression="jiffies",
        address=0xFFFFFFFF84000000,
        state=state,  # type: ignore[arg-type]
        detail=detail,
    )
    source.feed([armed, *hits, swallowed, last])
    return source


def notes(app: KtstrApp) -> list[str]:
    return [it.message for it in app._notifications]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_panel_shows_slots_and_hits(size: tuple[int, int]) -> None:
    text = screen(watched(), "7", size=size)
    assert "armed jiffies" in text
    assert "3 hits" in text
    assert ("0x1000 → 0x1001 spin[2][111] cpu 1" if size[0] != 120 else "0x1001 spin[2][111] cpu 1") in text
    assert ("0x1002 → 0x1002" if size[0] != 120 else "0x1002") in text


def hit_of(**fields: Any) -> Hit:  # noqa: ANN401 - fields of a struct
    """A hit of slot 1."""
    return Hit(**{"mono_ns": START_NS + 10**9, "slot": 1, "expression": "x", "vcpu": 1, "value": 0, **fields})


@pytest.mark.parametrize("width", [0, 20, 30, 36, 40, 52, 60, 80, 200])
def test_hits_keep_their_columns_at_every_width(width: int) -> None:
    long, short = (
        RunningTask(cpu=cpu, pid=pid, comm=comm, sched_class="ext")
        for cpu, pid, comm in ((11, 123456, "a-long-name-here"), (1, 7, "sh"))
    )
    hits = [
        hit_of(old=0xFFFFFFFF81000000, value=0xFFFFFFFF82000000, writer=long, vcpu=11),
        hit_of(old=0, value=1, writer=short),
        hit_of(old=None, value=2, vcpu=3),
        hit_of(old=3, value=None, vcpu=None),
    ]
    table = HitTable(hits, width, START_NS)
    lines = [text_of(table.line(hit)) for hit in hits]
    if width:
        assert all(cell_len(line) <= width for line in lines)
    where = {text: [line.find(text) for line in lines] for text in ("→", "cpu")}
    for text, places in where.items():
        seen = [place for place in places if place >= 0]
        assert len(set(seen)) <= 1, text
    if where["→"][0] >= 0:
        assert [place >= 0 for place in where["→"]] == [True, True, False, True]
    if width >= 52 or width == 0:
        assert [place >= 0 for place in where["cpu"]] == [True, True, True, False]
        column = lines[0].index("0xffffffff82000000")
        assert [line[column : column + 3] for line in lines[1:]] == ["0x1", "0x2", "unr"]


def test_a_paused_watch_says_why() -> None:
    assert "more than 20 hits" in screen(watched("paused", "more than 20 hits in a second"), "7")


def test_enter_on_a_hit_shows_its_stack() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "7", "G", "enter")
        assert isinstance(app.screen, HitPage)
        first = "\n".join(rows(app))
        await press(app, pilot, "escape", "g", "down", "down", "enter")
        return first, "\n".join(rows(app))

    _app, (first, latest) = drive(watched(), steps)
    assert "spin[2][111] (ext) on CPU 1" in first
    assert "4096 → 4097" in first
    for frame in STACK.frames:
        assert frame.symbol is not None
        assert frame.symbol in first
    assert "a stop made for another reason" in latest


def test_w_asks_for_an_expression_and_sends_it() -> None:
    source = watched()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(
            app, pilot, "w", *"scx_root", "enter", "w", "up", "tab", "space", "tab", "space", "shift+tab"
        )
        await press(app, pilot, "shift+tab", "enter")

    drive(source, steps)
    assert source.commands == [
        ("watch.add", {"expression": "scx_root"}),
        ("watch.add", {"expression": "scx_root", "length": 8, "once": True}),
    ]
    assert load_history() == ["scx_root"]


def test_a_toggle_is_told_apart_without_colour() -> None:
    before, after = (screen(watched(), *keys) for keys in (("w",), ("w", "tab", "tab", "space")))
    assert "X" not in next(line for line in before.splitlines() if "8 bytes" in line)
    assert "▐X▌ once" in after
    assert "▐ ▌ 8 bytes" in after


def test_the_dialog_walks_through_the_history_and_closes_without_asking() -> None:
    remember("jiffies")
    remember("scx_root")
    source = watched()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "w")
        seen = []
        for key in ("up", "up", "up", "down", "down"):
            await press(app, pilot, key)
            seen.append(str(app.screen.query_one("#watch-text").value))  # type: ignore[attr-defined]
        assert isinstance(app.screen, WatchDialog)
        await press(app, pilot, "escape")
        return seen

    assert drive(source, steps)[1] == ["scx_root", "jiffies", "jiffies", "scx_root", ""]
    assert source.commands == []


def test_the_history_is_bounded_and_survives_a_broken_file(tmp_path: Path) -> None:
    for number in range(MAX_HISTORY + 5):
        remember(f"x{number}")
    remember("x7")
    assert len(load_history()) == MAX_HISTORY
    assert load_history()[-2:] == [f"x{MAX_HISTORY + 4}", "x7"]
    (tmp_path / "state/ktstr-tui/watch-history").write_bytes(b"\xff\xfe")
    assert load_history() == []


def test_delete_removes_and_r_resumes_the_watch_under_the_cursor() -> None:
    source = watched("paused")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "delete")
        assert source.commands == []
        await press(app, pilot, "g", "delete")
        assert source.commands == []
        await press(app, pilot, "down", "down", "u", "backspace")
        return notes(app)

    _app, said = drive(source, steps)
    assert source.commands == [("watch.resume", {"slot": 2}), ("watch.remove", {"slot": 2})]
    assert any("Slot 0 is reserved" in text for text in said)


def test_a_refused_watch_is_told() -> None:
    source = watched()
    source.failure = Failure(
        message="this kernel has no symbol 'jifies'", hint="did you mean jiffies?", fault="user"
    )

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "w", *"jifies", "enter")
        return notes(app)

    assert drive(source, steps)[1] == ["this kernel has no symbol 'jifies' did you mean jiffies?"]


@pytest.mark.parametrize("key", ["w", "delete"])
def test_a_replay_sets_no_watches(key: str) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, key)
        return notes(app)

    said = drive(FakeSource(Story().until(20), "replay"), steps)[1]
    assert len(said) == 1
    assert "replay" in said[0]


@pytest.mark.parametrize(
    ("old", "value", "text"), [(None, 1, "0x1"), (0, 0x402, "0x0 → 0x402"), (1, None, "0x1 → unreadable")]
)
def test_values_in_words(old: int | None, value: int | None, text: str) -> None:
    assert change(old, value) == text
