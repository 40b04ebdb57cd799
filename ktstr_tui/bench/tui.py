"""How fast the screen is with much on it: 64 CPUs, 2,000 tasks, a trace of 100,000 events a second.

The screen is ``ktstr-tui attach`` in a terminal of this bench, on a made-up run that a process of its own publishes.
Keys are pressed whose effect is told by words that nothing else paints. An empty app of Textual, which answers a key
with a word, is measured in the same way before: nobody who uses Textual can be faster. Both have been started once, so
that Python's compiled files are there, whatever the environment says of writing them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ktstr_tui.bench.feed import CPUS, TASKS, TRACE_EVENTS
from ktstr_tui.bench.guest import summary
from ktstr_tui.bench.terminal import Terminal
from ktstr_tui.text.output import say

SECONDS: Final = 10.0
"""Of keys, by default; the goals are for 60."""
SIZE: Final = (120, 40)
KEY_EVERY_S: Final = 0.25
SETTLE_S: Final = 1.0
GOAL_KEY_MS: Final = 100.0
GOAL_CPU_SHARE: Final = 0.40
GOAL_ATTACH_MS: Final = 500.0
SCREEN_WORDS: Final = ("worker-0[1000]", "nr_runnable")
"""They stand in the panes of CPUs and of the scheduler."""
_KEYS: Final = (("4", "No events yet."), ("9", "allowed"), ("?", "─ Keys ─"))
"""The log, the tasks and the help, each with words that the others lack."""
_BELOW_HELP: Final = "─ 2 scheduler"
"""Hidden by the help, and not painted again while it is open, as what changes is beside it."""
_EMPTY_APP: Final = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    presses = 0
    def compose(self):
        yield Static("pressed 0 times")
    def on_key(self, event):
        self.presses += 1
        self.query_one(Static).update(f"pressed {self.presses} times")
Empty().run()
"""


def bench_tui(seconds: float | None) -> dict[str, Any]:
    """Measure the empty app, then the screen.

    Args:
        seconds: How long keys are pressed at the screen.
    """
    seconds = SECONDS if seconds is None else seconds
    with tempfile.TemporaryDirectory(prefix="kb") as name:
        env = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": name, "XDG_CONFIG_HOME": name}
        for unwanted in ("NO_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE"):
            env.pop(unwanted, None)
        env["PYTHONPYCACHEPREFIX"] = str(Path(name, "compiled"))
        words, empty = [sys.executable, "-c", _EMPTY_APP], ("pressed 0 times",)
        _start(words, empty, env)
        with Terminal(words, SIZE, env) as terminal:
            floor = _measure(terminal, empty, min(seconds, SECONDS), _press_empty(terminal))
        say(f"an empty app: {floor['key_ms']['p50']:.0f} ms from key to paint")
        with _made_up_run(Path(name)):
            words = [sys.executable, "-m", "ktstr_tui", "attach", name, "--read-only"]
            _start(words, SCREEN_WORDS, env)
            with Terminal(words, SIZE, env) as terminal:
                screen = _measure(terminal, SCREEN_WORDS, seconds, _press_screen(terminal))
    key, cpu, attach = screen["key_ms"]["p99"], screen["cpu_share"], screen["first_paint_ms"]
    return {
        "bench": "tui",
        "cpus": CPUS,
        "tasks": TASKS,
        "trace_events_per_s": TRACE_EVENTS,
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "seconds": seconds,
        **screen,
        "baseline": "an empty app of Textual in the same terminal, before",
        "floor": floor,
        "key_ratio": screen["key_ms"]["p50"] / floor["key_ms"]["p50"],
        "first_paint_ratio": attach / floor["first_paint_ms"],
        "goal_key_p99_ms": GOAL_KEY_MS,
        "goal_cpu_share": GOAL_CPU_SHARE,
        "goal_first_paint_ms": GOAL_ATTACH_MS,
        "key_met": key <= GOAL_KEY_MS,
        "cpu_met": cpu <= GOAL_CPU_SHARE,
        "first_paint_met": attach <= GOAL_ATTACH_MS,
    }


def _measure(
    terminal: Terminal, first: tuple[str, ...], seconds: float, press: Callable[[], float]
) -> dict[str, Any]:
    first_paint_ms = terminal.wait_for(*first)
    first_cpu_s = terminal.cpu_s()
    terminal.rest(SETTLE_S)
    keys, memory, cpu_s, start = list[float](), terminal.resident_bytes(), terminal.cpu_s(), time.monotonic()
    painted = terminal.painted_bytes
    while (passed := time.monotonic() - start) < seconds or not keys:
        keys.append(press())
        terminal.rest(KEY_EVERY_S)
    return {
        "first_paint_ms": first_paint_ms,
        "first_paint_cpu_ms": first_cpu_s * 1e3,
        "keys": len(keys),
        "key_ms": summary(keys),
        "cpu_share": (terminal.cpu_s() - cpu_s) / passed,
        "resident_bytes": memory,
        "grown_bytes_per_minute": (terminal.resident_bytes() - memory) * 60 / passed,
        "painted_bytes_per_s": (terminal.painted_bytes - painted) / passed,
    }


def _start(words: list[str], first: tuple[str, ...], env: dict[str, str]) -> None:
    with Terminal(words, SIZE, env) as terminal:
        terminal.wait_for(*first)


def _press_empty(terminal: Terminal) -> Callable[[], float]:
    presses = 0

    def press() -> float:
        nonlocal presses
        presses += 1
        # Only what differs is painted again, which may begin with the number.
        return terminal.press("x", f"{presses} times")

    return press


def _press_screen(terminal: Terminal) -> Callable[[], float]:
    presses = 0

    def press() -> float:
        nonlocal presses
        key, words = _KEYS[presses % len(_KEYS)]
        presses += 1
        spent_ms = terminal.press(key, words)
        if key == "?":
            terminal.press("\x1b", _BELOW_HELP)
        return spent_ms

    return press


@contextmanager
def _made_up_run(place: Path) -> Iterator[None]:
    words = [sys.executable, "-m", "ktstr_tui.bench.feed", str(place)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as feed:
        try:
            assert feed.stdout is not None
            feed.stdout.readline()
            yield
        finally:
            feed.kill()
