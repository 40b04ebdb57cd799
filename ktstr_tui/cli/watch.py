"""``ktstr-tui watch``: who writes to a kernel variable? Set watchpoints on a run, list and remove them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, RunName
from ktstr_tui.model.commands import (
    HITS_PER_S,
    AddWatch,
    Changed,
    ListWatches,
    RemoveWatch,
    ResumeWatch,
    WatchAdded,
    WatchList,
)
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import Argument
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import print_json, print_line
from ktstr_tui.text.words import call

app = Commands(
    no_args_is_help=True, help="Watch writes to a kernel variable or calls of a function, and show by whom."
)

Slot = Annotated[int, typer.Argument(help="The slot, as watch list shows it.")]


@app.command()
def add(
    expression: Annotated[
        str,
        typer.Argument(
            help="jiffies, runqueues@1.nr_running, 'scx_root->exit_kind', 0x…; call:FUNCTION in a run with a seed."
        ),
    ],
    run_name: RunName = None,
    length: Annotated[
        int, typer.Option("--length", help="Bytes to watch, 4 or 8; any number in a run with a seed.")
    ] = 4,
    once: Annotated[bool, typer.Option("--once", help="Remove the watch after its first hit.")] = False,
    capture: Annotated[bool, typer.Option("--capture", help="Take a capture at every hit.")] = False,
    budget: Annotated[
        int,
        typer.Option(
            "--budget", help="Hits per second above which the watch is paused, or calls are only counted."
        ),
    ] = HITS_PER_S,
    as_json: AsJson = False,
) -> None:
    """Watch writes to the object of a C expression, or calls of a function; wait while a pointer is NULL."""
    from ktstr_tui.cli.control import ask_run

    asked = AddWatch(expression=expression, length=length, once=once, capture=capture, budget=budget)
    added = ask_run(run_name, asked, WatchAdded)
    if as_json:
        print_json(msgspec.to_builtins(added))
        return
    print_watch(added.watch or {"slot": added.slot, "expression": expression, "state": "gone"})


@app.command("list")
def list_watches(run_name: RunName = None, as_json: AsJson = False) -> None:
    """List the slots, with their hits. Slot 0 is reserved by ktstr-tui."""
    from ktstr_tui.cli.control import ask_run

    watches = ask_run(run_name, ListWatches(), WatchList).watches
    if as_json:
        print_json(watches)
        return
    for watch in watches:
        print_watch(watch)


@app.command()
def remove(slot: Slot, run_name: RunName = None, as_json: AsJson = False) -> None:
    """Remove a watch."""
    _change(run_name, RemoveWatch(slot=slot), "removed", "no watch", as_json)


@app.command()
def resume(slot: Slot, run_name: RunName = None, as_json: AsJson = False) -> None:
    """Resume a watch that was paused because of too many hits."""
    _change(run_name, ResumeWatch(slot=slot), "armed again", "no paused watch", as_json)


def _change(
    run_name: str | None, request: RemoveWatch | ResumeWatch, done: str, nothing: str, as_json: bool
) -> None:
    from ktstr_tui.cli.control import ask_run

    answer = ask_run(run_name, request, Changed)
    if as_json:
        print_json(msgspec.to_builtins(answer))
    elif answer.changed:
        print_line(f"slot {request.slot} {done}")
    else:
        raise UsageError(f"there is {nothing} in slot {request.slot}", "ktstr-tui watch list")


def print_watch(watch: dict[str, Any]) -> None:
    """One slot in one line, two when there is something to say about its last hit."""
    address = f" at {watch['address']:#x}" if watch.get("address") else ""
    hits = watch.get("hits", 0)
    unchanged = f", {watch['unchanged']} of them unchanged" if watch.get("unchanged") else ""
    detail = f" ({watch['detail']})" if watch.get("detail") else ""
    if watch.get("untold"):
        unchanged += f", {counted(watch['untold'], 'call')} not shown"
    line = f"{watch['slot']}  {watch['state']:<8} {watch['expression']}{address}  {counted(hits, 'hit')}"
    print_line(line + unchanged + detail)
    if hits:
        print_line(f"   last     {last_hit(watch)}")


def last_hit(watch: dict[str, Any]) -> str:
    """What the last hit wrote, and who did it."""
    value, old, writer = watch.get("last_value"), watch.get("last_old"), watch.get("last_writer")
    words = "unreadable" if value is None else f"{value:#x}"
    if watch.get("last_arguments") is not None:
        words = call(msgspec.convert(watch["last_arguments"], tuple[Argument, ...]))
    if old is not None:
        words = f"{old:#x} → {words}"
    if writer is not None:
        return f"{words} by {writer['comm']}[{writer['pid']}] on CPU {writer['cpu']}"
    vcpu = watch.get("last_vcpu")
    return words if vcpu is None else f"{words} on CPU {vcpu}"
