"""``capture``, ``freeze``, ``thaw``, ``end``: one command to one run, its answer as text or JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ktstr_tui.cli.attach import find_run
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import print_json


def ask_run(run_name: str | None, name: str, **args: object) -> dict[str, Any]:
    """Ask a run for ``name`` and return the result.

    Raises:
        KtstrError: There is no such run, it does not answer, or it refuses.
    """
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> dict[str, Any]:
        async with Viewer(place) as viewer:
            return (await viewer.command(name, **args)).raise_for_error().result

    return asyncio.run(ask(find_run(run_name)))


def capture_command(run_name: str | None, tag: str | None, as_json: bool) -> None:
    """Stop the guest for an instant and print its state.

    Raises:
        KtstrError: The command failed.
        GuestError: The guest was stopped but could not be read.
    """
    result = ask_run(run_name, "capture", tag=tag)
    report = result.get("report", {})
    if as_json:
        print_json(result)
    if report.get("is_placeholder"):
        reason = next(iter(report.get("unavailable", {}).values()), "unknown reason")
        raise GuestError(f"capture {report.get('tag')} failed: {reason}")
    if as_json:
        return
    pause = report.get("pause") or {}
    paused = f"{pause['total_us'] / 1000:.1f} ms" if pause else "unknown"
    print(f"{report.get('tag')}: {counted(len(report.get('tasks', ())), 'runnable task')}, paused {paused}")
    if result.get("path"):
        print(result["path"])


def freeze_command(run_name: str | None, as_json: bool) -> None:
    """Stop the guest until it is thawed.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, "freeze", "guest frozen", "the guest was already frozen", as_json)


def thaw_command(run_name: str | None, as_json: bool) -> None:
    """Let a frozen guest run again.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, "thaw", "guest thawed", "the guest was not frozen", as_json)


def end_command(run_name: str | None, as_json: bool) -> None:
    """End a run in good order.

    Raises:
        KtstrError: The command failed.
    """
    _change(run_name, "end", "the run is ending", "the run was already ending", as_json)


def _change(run_name: str | None, name: str, done: str, nothing: str, as_json: bool) -> None:
    result = ask_run(run_name, name)
    if as_json:
        print_json(result)
    else:
        print(done if result.get("changed", True) else nothing)
