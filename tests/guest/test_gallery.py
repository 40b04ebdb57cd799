"""The gallery on real kernels: every kind of ejection and sickness says on top what is the matter.

All kinds of a room run in one boot, one step after the other; what was said between two attached schedulers belongs to
the first. The kernel under test shows every kind. An older one (`OLDER`), if the cache has it, shows some of them, and
with ``KTSTR_GALLERY=all`` every kind, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ktstr_tui.backend.summary import summarize
from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.guest.kernels import cached_kernels, matches
from ktstr_tui.link.recording import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import decode_report
from ktstr_tui.model.state import RunState
from ktstr_tui.model.verdict import end_reason, exit_code
from ktstr_tui.text.cause import headline
from tests.guest.gallery import ERRORS, GALLERY, WAITS, Kind, pattern
from tests.guest.programs import program  # noqa: F401 (a fixture)
from tests.guest.runs import call, private_environment

OLDER = "6.19"
TIMEOUT_S = 1200
"""For all kinds of a room; generous, because it only matters when something is broken or the host is busy."""
SOURCES = Path(__file__).parent / "failures"
LOAD = """
name = "{name}"
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "spin"
affinity = [1]
[[workers]]
kind = "mixed"
[[workers]]
kind = "sleep"
affinity = [1]
[[workers]]
kind = "fork"
"""
STEP = """
[[steps]]
name = "{name}"
duration_ms = {duration_ms}
until = "{until}"
scheduler = {scheduler}
"""


class Shown(NamedTuple):
    """What was said of one kind, and what would have been said of a run that ended with it."""

    headlines: list[str]
    """Of the captures of ejections."""
    exit_kinds: list[str]
    reasons: list[str]
    """The first reason of each verdict on the guest."""
    alerts: list[str]
    """Those of the summary."""
    exit_code: int
    end_reason: str


class Room(NamedTuple):
    """Kinds that are shown in one boot."""

    name: str
    kinds: tuple[Kind, ...]
    kernel: str = ""
    """Release of a cached kernel; empty for the kernel under test."""


def rooms() -> Iterator[Room]:
    """What is shown."""
    yield Room("errors", ERRORS)
    yield Room("waits", WAITS)
    older = next((it.release for it in cached_kernels() if matches(it.release, OLDER)), None)
    if older is not None and os.environ.get("KTSTR_GALLERY") == "all":
        yield Room("errors", ERRORS, older)
        yield Room("waits", WAITS, older)
    elif older is not None:
        yield Room("some", tuple(kind for kind in GALLERY if kind.older), older)


def scenario(room: Room, schedulers: Sequence[str]) -> str:
    """A scenario with one step for each kind."""
    steps = (
        STEP.format(
            name=kind.name,
            duration_ms=kind.duration_ms,
            until="ejected" if kind.exit_kind else "duration",
            scheduler=json.dumps(scheduler),
        )
        + kind.workers
        for kind, scheduler in zip(room.kinds, schedulers, strict=True)
    )
    return LOAD.format(name=room.name) + "".join(steps)


def shown(events: Sequence[ev.Event]) -> Shown:
    """Fold what happened while one scheduler was attached."""
    state = RunState()
    for event in events:
        fold(state, event)
    return Shown(
        headlines=[headline(it.report) for it in state.captures if it.report.trigger == "error"],
        exit_kinds=[
            it.exit_kind_name
            for it in events
            if isinstance(it, ev.SchedulerChanged) and it.change == "ejected"
        ],
        reasons=[it.reasons[0] for it in events if isinstance(it, ev.HealthChanged) and it.reasons],
        alerts=[it["text"] for it in summarize(state)["alerts"]],
        exit_code=exit_code(state, None),
        end_reason=end_reason(state, "scenario finished"),
    )


def by_scheduler(recording: Path) -> list[Shown]:
    """What was said of each scheduler, in the order in which they attached.

    A capture is rendered after the thaw, so on a busy host its event may follow the next scheduler's: what counts is
    when the guest was stopped.
    """
    parts: list[list[ev.Event]] = []
    for event in read_recording(recording):
        if isinstance(event, ev.SchedulerChanged) and event.change == "attached":
            parts.append([])
        if len(parts) > 1 and isinstance(event, ev.CaptureTaken):
            parts[-1 if event.report.mono_ns >= parts[-1][0].mono_ns else -2].append(event)
        elif parts:
            parts[-1].append(event)
    return [shown(part) for part in parts]


def wrong(kind: Kind, it: Shown, printed: str) -> list[str]:
    """What is not said as it has to be; empty when all is well."""
    says = pattern(kind.says)
    found = []
    if it.exit_code != (1 if kind.exit_kind else 0):
        found.append(f"exit code {it.exit_code}")
    if kind.exit_kind:
        if it.exit_kinds != [kind.exit_kind] or f"was ejected: {kind.exit_kind}" not in it.end_reason:
            found.append(f"exit kinds {it.exit_kinds}, ended: {it.end_reason}")
        if [bool(says.match(line)) for line in it.headlines] != [True]:
            found.append(f"headlines {it.headlines}")
        found += [f"not printed: {line}" for line in it.headlines if line not in printed]
    else:
        if it.headlines or not any(says.match(line) for line in it.reasons):
            found.append(f"ejected {it.headlines}, reasons {it.reasons}")
        if not any(says.match(line) for line in it.alerts):
            found.append(f"in the summary {it.alerts}")
    return [f"{kind.name}: {what}; not: {kind.says}" for what in found]


@pytest.mark.parametrize("room", rooms(), ids=lambda room: f"{room.name}{room.kernel and '-'}{room.kernel}")
def test_every_kind_says_on_top_what_is_the_matter(
    room: Room,
    tmp_path: Path,
    compile_bpf: Callable[[str, str], str],
    program: Callable[..., str],  # noqa: F811
) -> None:
    def compiled(name: str) -> str:
        return compile_bpf(name, (SOURCES / f"{name}.bpf.c").read_text())

    def built(kind: Kind) -> str:
        if kind.act:
            loaded = compiled(kind.on) if kind.on else str(guest_artifacts().demos["fifo"])
            return program(loaded, kind.act, name=kind.name)
        return kind.name if kind.name.startswith("demo:") else compiled(kind.name)

    file = tmp_path / "gallery.toml"
    file.write_text(scenario(room, [built(kind) for kind in room.kinds]))
    kernel = room.kernel or os.environ.get("KTSTR_TEST_KERNEL")
    arguments = ("--scenario", str(file), "--boot-deadline", "240", *(("--kernel", kernel) if kernel else ()))
    env = private_environment(tmp_path)
    done = call("run", "--headless", "--no-seed", *arguments, env=env, timeout_s=TIMEOUT_S)
    assert done.returncode == 1, done.stdout + done.stderr
    (recording,) = (tmp_path / "state").rglob("recording.ktstr")
    said = by_scheduler(recording)
    assert len(said) == len(room.kinds), done.stdout
    assert [
        why for kind, it in zip(room.kinds, said, strict=True) for why in wrong(kind, it, done.stdout)
    ] == []
    check_files(tmp_path / "state", done.stdout)


def check_files(state: Path, printed: str) -> None:
    """The files of all captures say the same as the summary."""
    reports = [decode_report(path.read_bytes()) for path in state.rglob("captures/*.json")]
    ejections = [it for it in reports if isinstance(it, CaptureReport) and it.trigger == "error"]
    assert ejections
    assert [it.tag for it in ejections if headline(it) not in printed] == []
