"""``ktstr-tui snapshot``: list, check, compare, keep and remove the snapshots of guests on this host."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, Theme
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.model.text import counted
from ktstr_tui.text.lines import clean
from ktstr_tui.text.output import print_json, print_line, say

if TYPE_CHECKING:
    from ktstr_tui.memory.find import Found
    from ktstr_tui.memory.store import SnapshotStore

app = Commands(no_args_is_help=True, help="List, check, compare, keep and remove snapshots.")
_NAMED = "Name of a snapshot, RUN/NAME, a .snap file, or DIRECTORY/NAME with a run's (forwarded) sockets."
Name = Annotated[str, typer.Argument(metavar="SNAPSHOT", help=_NAMED)]
MIB = 1 << 20
NONE = "no snapshot there; ktstr-tui capture --memory takes one"


@app.command("list")
def list_snapshots(
    place: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIRECTORY]", help="Of a run's (forwarded) sockets: list those where that run is."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the snapshots of all runs on this host, those of a run together, oldest first."""
    rows = _rows_here() if place is None else _rows_there(place)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_line(
            f"{clean(row['run'])}/{clean(row['name'])}{'  kept' if row['kept'] else ''}  {_about(row)}"
        )
    if not rows:
        say(NONE)


def _rows_there(place: Path) -> list[dict[str, Any]]:
    from ktstr_tui.memory.remote import list_remote, socket_of

    socket = socket_of(place)
    if socket is None:
        raise UsageError(
            f"{place} is not the directory of a run's sockets",
            "without one, snapshots of this host are listed",
        )
    listing = list_remote(socket)
    rows: list[dict[str, Any]] = []
    for it in listing.snapshots:
        row: dict[str, Any] = {"name": it.name, "run": listing.run, "kept": it.kept}
        if it.info is None:
            row["problem"] = it.problem
        else:
            row["info"] = msgspec.to_builtins(it.info)
        rows.append(row)
    return rows


def _rows_here() -> list[dict[str, Any]]:
    from ktstr_tui.memory.find import all_snapshots

    rows: list[dict[str, Any]] = []
    for found in all_snapshots():
        row: dict[str, Any] = {"name": found.name, "run": found.run, "kept": found.store.is_kept(found.name)}
        try:
            row["info"] = msgspec.to_builtins(found.store.read(found.name).info)
        except KtstrError as error:
            row["problem"] = error.message
        rows.append(row)
    return rows


def _about(row: dict[str, Any]) -> str:
    info = row.get("info")
    if info is None:
        return f"damaged: {clean(row['problem'])}"
    machine = info["machine"]
    size = f"{machine['memory_bytes'] // MIB} MiB"
    return clean(
        f"{info['reason']}, {info['scheduler'] or 'no scheduler'}, {machine['kernel']}, {machine['topology']}, "
        f"{size}, paused {info['pause_us'] / 1000:.1f} ms, {info['taken_wall']}"
    )


@app.command("open")
def open_snapshot(
    name: Name,
    theme: Theme = None,
) -> None:
    """Open the screen on a snapshot: its CPUs, tasks, queues and stacks, as of a frozen guest."""
    from ktstr_tui.cli.snapshot_open import open_command

    open_command(name, theme)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what a snapshot is of, and what it takes."""
    from ktstr_tui.memory.find import find_snapshot
    from ktstr_tui.memory.remote import RemoteStore

    found = find_snapshot(name)
    snapshot = found.store.read(found.name)
    pages = sum(blob.pages - blob.zero_pages for blob in snapshot.memory)
    data = {
        **msgspec.to_builtins(snapshot.info),
        "path": str(found.path),
        "kept": found.store.is_kept(found.name),
        "pages": pages,
        "state_bytes": snapshot.state.size_bytes,
        "elapsed_ms": None if snapshot.elapsed_ns is None else snapshot.elapsed_ns / 1e6,
        "store_bytes": found.store.size_bytes(),
    }
    if isinstance(found.store, RemoteStore):
        data["pages_here"] = found.store.here(snapshot)
    if as_json:
        print_json(data)
        return
    machine = data.pop("machine")
    for key, value in {**data, **machine}.items():
        print_line(f"{key:<15} {clean(str(value))}")


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SNAPSHOT]...", help="Which; all if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte of snapshots and say which are damaged."""
    from ktstr_tui.memory.find import all_snapshots, find_snapshot

    found = [find_snapshot(it) for it in names] if names else all_snapshots()
    verdicts = [(it.run, it.store.verify([it.name])[0]) for it in found]
    if as_json:
        print_json([{"run": run, **msgspec.to_builtins(verdict)} for run, verdict in verdicts])
    else:
        for run, verdict in verdicts:
            what = f"damaged: {clean('; '.join(verdict.damage[:3]))}" if verdict.damage else "whole"
            print_line(f"{clean(run)}/{clean(verdict.name)}  {counted(verdict.pages, 'page')}  {what}")
        if not verdicts:
            say(NONE)
    damaged = [verdict.name for _, verdict in verdicts if verdict.damage]
    if damaged:
        raise HostError(f"damaged: {', '.join(damaged)}", "ktstr-tui snapshot rm removes them")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=f"The earlier one. {_NAMED}")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The later one, in the same words.")],
    as_json: AsJson = False,
) -> None:
    """Compare two snapshots: how much of the memory differs, and what changed between their captures."""
    from ktstr_tui.cli.travelled import say_travelled
    from ktstr_tui.memory.explore import difference
    from ktstr_tui.memory.find import find_snapshot
    from ktstr_tui.text.lines import text_of
    from ktstr_tui.text.report_diff import diff_lines

    old, new = find_snapshot(before), find_snapshot(after)
    found = difference(old, new)
    say_travelled(old, new)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    print_line(f"{found.changed_pages} of {found.pages} pages differ")
    for line in diff_lines(found.captures, 100):
        print_line(text_of(line))


@app.command()
def keep(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Keep it no longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Protect a snapshot from being removed when the disk limit is reached."""
    from ktstr_tui.memory.find import find_here

    found = find_here(name)
    found.store.keep(found.name, kept=not undo)
    if as_json:
        print_json({"run": found.run, "name": found.name, "kept": not undo})
    else:
        print_line(f"{clean(found.run)}/{clean(found.name)} {'may be removed' if undo else 'is kept'}")


@app.command("rm")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="SNAPSHOT...", help="Which.")], as_json: AsJson = False
) -> None:
    """Remove snapshots, kept ones too, and give back the disk space that only they took."""
    from ktstr_tui.memory.find import find_here

    removed: list[Found] = []
    problems: list[str] = []
    for it in {(it.run, it.name): it for it in [find_here(name) for name in names]}.values():
        try:
            it.store.remove(it.name)
            removed.append(it)
        except KtstrError as error:
            problems.append(error.message)
    freed, kept = _collect({it.store.directory: it.store for it in removed}.values())
    problems += kept
    if as_json:
        listed = [f"{it.run}/{it.name}" for it in removed]
        print_json({"removed": listed, "freed_bytes": freed, "problems": problems})
    elif removed:
        print_line(f"removed {', '.join(clean(it.name) for it in removed)}; freed {freed / MIB:.1f} MiB")
    _require_no(problems)


def _collect(stores: Iterable[SnapshotStore]) -> tuple[int, list[str]]:
    """Give back disk space in some stores; returns how many bytes that was, and why some could not give any."""
    freed, problems = 0, []
    for store in stores:
        try:
            freed += store.collect()
        except KtstrError as error:
            problems.append(error.message)
    return freed, problems


def _require_no(problems: list[str]) -> None:
    if problems:
        raise HostError(
            f"not all could be done: {'; '.join(problems)}",
            "when there is room for the pages that stay, and no other command writes there: ktstr-tui snapshot gc",
        )


@app.command()
def gc(as_json: AsJson = False) -> None:
    """Give back the disk space of pages that no snapshot names."""
    from ktstr_tui.memory.find import stores

    freed, problems = _collect(stores())
    if as_json:
        print_json({"freed_bytes": freed, "problems": problems})
    else:
        print_line(f"freed {freed / MIB:.1f} MiB")
    _require_no(problems)


@app.command()
def export(
    name: Name,
    out: Annotated[
        Path, typer.Argument(help="File to write, for its owner alone (mode 0600); must not be there yet.")
    ],
    raw: Annotated[
        bool,
        typer.Option("--raw/--vmcore", help="Write memory alone, in place of a crash dump for drgn."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a snapshot as a crash dump that drgn opens, or its memory as a raw image; zeros are holes."""
    from ktstr_tui.cli.travelled import say_travelled
    from ktstr_tui.memory.explore import export_raw
    from ktstr_tui.memory.find import find_snapshot
    from ktstr_tui.memory.vmcore import export_vmcore

    found = find_snapshot(name)
    written = (export_raw if raw else export_vmcore)(found, out)
    say_travelled(found)
    if as_json:
        print_json({"path": str(out.absolute()), "data_bytes": written})
    else:
        print_line(f"{out}: {written / MIB:.1f} MiB of data")
