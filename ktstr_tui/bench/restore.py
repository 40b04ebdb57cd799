"""``bench restore``: how soon a guest runs again from a snapshot, and answers.

Told apart are, in milliseconds: starting the program (an interpreter that loads all that ``restore`` loads), looking up
what the snapshot names (its kernel, this host's QEMU), and from the moment at which the snapshot is opened on: it is
open, the pager stands, QEMU has loaded the state, memory is readable by type, the guest runs, the first typed question
(all runnable tasks with their ages) is answered. Memory is loaded when it is touched, or filled before, in turns. The
floors are an interpreter that does nothing, a QEMU that only comes up, and a plain copy of the memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.lazily import open_lazily, watch_pager
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.prepare import Prepared, prepare
from ktstr_tui.backend.prepare_restore import config_of
from ktstr_tui.backend.restoring import Origin
from ktstr_tui.bench.guest import live_guest, summary
from ktstr_tui.bench.snapshots import CONFIG, SETTLE_S, floors, snapshot
from ktstr_tui.guest.qemu_program import find_qemu
from ktstr_tui.kernel.scx_helpers import scx_runnable_tasks, scx_task_age_ms
from ktstr_tui.model.events import Event
from ktstr_tui.model.snapshot_events import GuestRestored
from ktstr_tui.text.output import say

GOAL_RUNNING_MS: Final = 150.0
GOAL_ANSWER_MS: Final = 150.0
GOAL_LOADED_SHARE: Final = 0.05
_PROGRAM: Final = "import ktstr_tui.cli.main, ktstr_tui.cli.run, ktstr_tui.backend.session"


class _Times:
    """What each round took, by phase."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def hear(self, event: Event) -> None:
        if not isinstance(event, GuestRestored) or event.phase in ("loading", "resident"):
            return
        name = "opened" if event.phase == "filling" else event.phase
        self.add(f"{name}_ms", event.took_ms)
        if event.phase == "running":
            self.add("running_loaded_share", event.pages / max(1, event.pages + event.pages_left))

    def summary(self) -> dict[str, dict[str, float]]:
        return {name: summary(values) for name, values in self.values.items()}


def bench_restore(rounds: int) -> dict[str, Any]:
    """Measure the way from a snapshot to a guest that runs and answers."""
    return trio.run(_bench, rounds)


async def _bench(rounds: int) -> dict[str, Any]:
    async with live_guest(CONFIG, await prepare(CONFIG, say)) as (guest, stream):
        await trio.sleep(SETTLE_S)
        least: dict[str, Any] = await trio.to_thread.run_sync(floors, guest.machine.ram_fds)
        stored, _ = await snapshot(guest, stream)
    path = Path(stored.path)
    start, lazy, eager = _Times(), _Times(), _Times()
    for number in range(rounds):
        start.add("interpreter_ms", await trio.to_thread.run_sync(_time_of, "pass"))
        start.add("program_ms", await trio.to_thread.run_sync(_time_of, _PROGRAM))
        start.add("bare_qemu_ms", await trio.to_thread.run_sync(_time_of_qemu))
        began_s = time.perf_counter()
        config = config_of(path)
        prepared = await prepare(config, say)
        start.add("looked_up_ms", (time.perf_counter() - began_s) * 1e3)
        for times, lazily in ((lazy, True), (eager, False)):
            await _restore(path, config, prepared, times, lazily=lazily)
        say(f"round {number + 1} of {rounds}")
    begun, found, whole = start.summary(), lazy.summary(), eager.summary()
    return {
        "pages": stored.pages,
        "program": {name: begun[name] for name in ("program_ms", "interpreter_ms", "looked_up_ms")},
        "lazy": found,
        "goal_running_ms": GOAL_RUNNING_MS,
        "running_met": found["running_ms"]["p50"] <= GOAL_RUNNING_MS,
        "goal_answer_ms": GOAL_ANSWER_MS,
        "goal_loaded_share": GOAL_LOADED_SHARE,
        "loaded_share_met": found["running_loaded_share"]["p50"] < GOAL_LOADED_SHARE,
        "running_of_bare_qemu": found["running_ms"]["p50"] / begun["bare_qemu_ms"]["p50"],
        "eager": whole,
        "fill_of_plain_copy": whole["filled_ms"]["p50"] / least["plain_copy_ms"],
        "floors": {**least, "bare_qemu_ms": begun["bare_qemu_ms"]},
    }


async def _restore(path: Path, config: RunConfig, prepared: Prepared, times: _Times, *, lazily: bool) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ktstr-bench-") as directory,
        closing(Origin(path, Path(directory), times.hear)) as origin,
    ):
        async with open_lazily(origin, str(path), times.hear, Path(directory), wanted=lazily):
            times.add("pager_ms", _since_ms(origin))
            async with (
                live_guest(config, prepared, origin) as (guest, _stream),
                trio.open_nursery() as nursery,
            ):
                watch: Callable[..., Any] = watch_pager
                nursery.start_soon(watch, origin, guest.machine, RunEnd(), times.hear, origin.tell)
                _answer(guest, origin, times)
                nursery.cancel_scope.cancel()


def _answer(guest: LiveGuest, origin: Origin, times: _Times) -> None:
    """All runnable tasks with their ages: the first question to a restored guest."""
    view = guest.view
    assert view is not None
    began_s = time.perf_counter()
    for task in scx_runnable_tasks(view.prog):
        scx_task_age_ms(task)
    times.add("first_answer_ms", (time.perf_counter() - began_s) * 1e3)
    times.add("answered_ms", _since_ms(origin))


def _since_ms(origin: Origin) -> float:
    return (time.monotonic_ns() - origin.began_ns) / 1e6


def _time_of(program: str) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return (time.perf_counter() - began_s) * 1e3


def _time_of_qemu() -> float:
    """Milliseconds until a QEMU of the same kind and without a guest says who it is."""
    words = [
        "-machine",
        "q35",
        "-accel",
        "tcg",
        "-m",
        "512",
        "-S",
        "-nodefaults",
        "-display",
        "none",
        "-qmp",
        "stdio",
    ]
    program, began_s = find_qemu(), time.perf_counter()
    with subprocess.Popen([program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout is not None
        qemu.stdout.readline()
        taken_ms = (time.perf_counter() - began_s) * 1e3
        qemu.kill()
    return taken_ms
