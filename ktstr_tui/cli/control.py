"""``capture``, ``freeze``, ``thaw``, ``end``: one command to one run, its answer as text or JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

import msgspec

from ktstr_tui.cli.attach import find_run, own_key
from ktstr_tui.model.commands import (
    Capture,
    Captured,
    Changed,
    End,
    Freeze,
    Rebuild,
    Request,
    RestartGuest,
    Thaw,
)
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.text import runnable_tasks
from ktstr_tui.text.output import print_json, print_line, say

_Answer = TypeVar("_Answer")


def ask_run(run_name: str | None, request: Request, kind: type[_Answer]) -> _Answer:
    """Make a request of a run and return the answer.

    Args:
        run_name: The run; None for the only one that is in progress.
        request: What to ask.
        kind: The type that answers this request.

    Raises:
        KtstrError: There is no such run, it does not answer, it refuses, or it answers with something else.
    """
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> _Answer:
        async with Viewer(place, signer=own_key()) as viewer:
            return (await viewer.command(request)).answer(kind)

    return asyncio.run(ask(find_run(run_name)))


def capture_command(run_name: str | None, tag: str | None, as_json: bool, *, memory: bool = False) -> None:
    """Stop the guest for an instant and print its state; keep its memory too if that is asked for.

    Raises:
        KtstrError: The command failed, the guest was stopped but could not be read, or the capture could not be
            saved; then it is printed all the same.
    """
    from ktstr_tui.link.viewer import Viewer

    try:
        request = Capture(tag=tag, memory=memory)
    except ValueError as problem:
        raise UsageError(f"--tag: {problem}", "name the capture with letters, digits and the like") from None

    async def ask(place: Path) -> tuple[Captured, CaptureReport | None]:
        async with Viewer(place, signer=own_key()) as viewer:
            captured = (await viewer.command(request)).answer(Captured)
            if as_json:
                await viewer.connect()
            kept = (it.report for it in viewer.state.captures if it.report.tag == captured.tag)
            return captured, next(kept, None)

    captured, report = asyncio.run(ask(find_run(run_name)))
    if tag and captured.tag != tag:
        say(f"the tag {tag} was used before: this capture is {captured.tag}")
    if as_json:
        print_json(
            {
                "report": msgspec.to_builtins(report),
                "path": captured.path or None,
                "tag": captured.tag,
                "snapshot": msgspec.to_builtins(captured.snapshot),
            }
        )
        _require_saved(captured)
        return
    paused = "unknown" if captured.pause_us is None else f"{captured.pause_us / 1000:.1f} ms"
    print_line(f"{captured.tag}: {runnable_tasks(captured.tasks, captured.lacks)}, paused {paused}")
    _require_saved(captured)
    print_line(captured.path)
    kept = captured.snapshot
    if kept is not None and kept.name:
        print_line(f"snapshot {kept.name}: {kept.new_bytes / (1 << 20):.1f} MiB of disk")
        for name in kept.evicted:
            say(f"removed snapshot {name}: together they were over the limit")


def _require_saved(captured: Captured) -> None:
    """Return when there is a file of the capture, and a snapshot if there was to be one.

    Raises:
        HostError: One of them is missing.
    """
    kept = captured.snapshot
    if kept is not None and not kept.name:
        raise HostError(
            f"capture {captured.tag} was taken without the guest's memory: {kept.problem}",
            "its report is there; ktstr-tui snapshot list shows what takes the space",
        )
    if not captured.path:
        why = captured.unsaved or "the run does not say why"
        raise HostError(
            f"capture {captured.tag} was taken but not saved: {why}",
            "free some space on the run's host; ktstr-tui capture --json prints a capture whole",
        )


def freeze_command(run_name: str | None, as_json: bool) -> None:
    """Freeze the guest until it is thawed.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, Freeze(), "guest frozen", "the guest was already frozen", as_json)


def thaw_command(run_name: str | None, as_json: bool) -> None:
    """Thaw a frozen guest.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, Thaw(), "guest thawed", "the guest was not frozen", as_json)


def end_command(run_name: str | None, as_json: bool) -> None:
    """Shut a run down cleanly.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, End(), "the run is ending", "the run was already ending", as_json)


def rebuild_command(run_name: str | None, cancel: bool, as_json: bool) -> None:
    """Build the scheduler and load it into the running guest, or give up the build that is in progress.

    Raises:
        KtstrError: The command failed.
    """
    if cancel:
        _change(run_name, Rebuild(cancel=True), "build cancelled", "nothing was being built", as_json)
    else:
        _change(run_name, Rebuild(), "a build is due", "a build was due already", as_json)


def restart_command(run_name: str | None, as_json: bool) -> None:
    """Boot the guest again within the same run.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, RestartGuest(), "the guest boots again", "the run was already ending", as_json)


def _change(run_name: str | None, request: Request, done: str, nothing: str, as_json: bool) -> None:
    answer = ask_run(run_name, request, Changed)
    if as_json:
        print_json(msgspec.to_builtins(answer))
    else:
        print_line(done if answer.changed else nothing)
