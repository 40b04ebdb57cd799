"""Events as lines: what a terminal gets to see."""

from __future__ import annotations

import json

import pytest

from ktstr_tui.cli.events import EventPrinter
from ktstr_tui.model.events import OutputText, WatchpointHit
from ktstr_tui.model.report import RunningTask
from ktstr_tui.text.output import print_json

NASTY = "a\x1b[2J\x9b2J\x85\x7f b"


def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    EventPrinter(as_json=True).print([OutputText(stream="stdout", text=NASTY, seq=1)])
    print_json({"comm": NASTY})
    out = capsys.readouterr().out
    assert not {*out} & {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"}
    line, rest = out.split("\n", 1)
    assert json.loads(line)["text"] == NASTY
    assert json.loads(rest) == {"comm": NASTY}


def test_a_hit_of_a_watch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    writer = RunningTask(cpu=1, pid=7, comm="spin\x1b", sched_class="ext")
    hits = [
        WatchpointHit(slot=1, expression="jiffies", vcpu=1, value=0x11, old=0x10, writer=writer, seq=1),
        WatchpointHit(slot=2, expression="panic_timeout", vcpu=None, seq=2),
    ]
    EventPrinter(as_json=False).print(hits)
    first, second = capsys.readouterr().out.splitlines()
    assert "slot 1: jiffies: 0x10 -> 0x11 by spin" in first
    assert first.endswith("[7] on CPU 1")
    assert "\x1b" not in first
    assert second.endswith("slot 2: panic_timeout: ? -> ?")
