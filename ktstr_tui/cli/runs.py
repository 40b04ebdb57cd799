"""``ktstr-tui runs``: the runs on disk, how much they take, and removing them."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.cli.stored_recording import complete_run
from ktstr_tui.guest.paths import state_dir
from ktstr_tui.link.stored_runs import StoredRuns, end_of, facts_of
from ktstr_tui.text.output import print_json, print_line

app = Commands(no_args_is_help=True, help="List, keep and remove runs that are on disk.")
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run as `runs list` names it, its directory, or its name.",
        autocompletion=complete_run,
    ),
]


@app.command("list")
def list_runs(as_json: AsJson = False) -> None:
    """List the runs on disk, the newest last, with what they take, how they ended and what was removed so far.

    A run is open (in progress, or being read), ended, ejected, inconclusive, failed, or killed (its recording has no
    end); JSON has that as "end".
    """
    from ktstr_tui.text.stored_lines import stored_lines

    runs = _runs()
    found, removed, limit_bytes = runs.all(), runs.removed_so_far(), _limit_mib(None) << 20
    ends = {it.id: end_of(it) for it in found}
    if as_json:
        print_json(
            {
                "runs": [{**msgspec.to_builtins(it), "end": ends[it.id]} for it in found],
                "disk_bytes": sum(it.disk_bytes for it in found),
                "limit_bytes": limit_bytes,
                "removed": msgspec.to_builtins(removed),
            }
        )
        return
    for line in stored_lines(found, removed, limit_bytes, ends):
        print_line(line)


@app.command()
def show(run: Run, as_json: AsJson = False) -> None:
    """Print what a run was, how it ended and what it left; of several with one name, the newest."""
    from ktstr_tui.text.stored_lines import fact_lines

    found = _runs().find(run)[-1]
    facts = facts_of(found)
    if as_json:
        print_json({**msgspec.to_builtins(found), **msgspec.to_builtins(facts)})
        return
    for line in fact_lines(found, facts):
        print_line(line)


@app.command()
def rm(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs as `runs list` names them.", autocompletion=complete_run),
    ],
    as_json: AsJson = False,
) -> None:
    """Remove runs with their recordings and captures; refused for runs that are open or marked to be kept."""
    stored = _runs()
    # Whoever names three, one of them wrongly, loses none.
    chosen = [stored.find_one(word) for word in dict.fromkeys(runs)]
    for it in chosen:
        stored.remove(it)
    _print_removed([it.id for it in chosen], sum(it.disk_bytes for it in chosen), as_json)


@app.command()
def prune(
    limit: Annotated[
        str | None,
        typer.Option("--limit", metavar="SIZE", help="Disk that all runs may take. [default: as for run]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--remove", help="Only say which runs would be removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the oldest runs that are neither open nor marked to be kept, until the rest takes no more than a limit."""
    from ktstr_tui.text.stored_lines import pruned_line

    limit_mib = _limit_mib(limit)
    stored = _runs()
    # Without a limit everything fits.
    total = sum(it.disk_bytes for it in stored.all())
    pruned = stored.prune(limit_mib << 20 if limit_mib or limit else total, dry_run=dry_run)
    if as_json:
        print_json(msgspec.to_builtins(pruned))
    else:
        print_line(pruned_line(pruned))


@app.command()
def keep(
    run: Run,
    undo: Annotated[bool, typer.Option("--undo/--mark", help="Remove the mark.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mark a run to be kept: nothing removes it until the mark is removed."""
    stored = _runs()
    found = stored.find(run)[-1]
    stored.keep(found, not undo)
    if as_json:
        print_json({"id": found.id, "kept": not undo})
    else:
        print_line(f"{found.id} {'may be removed' if undo else 'is kept'}")


def _print_removed(ids: list[str], disk_bytes: int, as_json: bool) -> None:
    from ktstr_tui.text.words import size

    if as_json:
        print_json({"removed": ids, "disk_bytes": disk_bytes})
        return
    for it in ids:
        print_line(f"removed {it}")
    print_line(f"{size(disk_bytes)} of disk are free again")


def _limit_mib(given: str | None) -> int:
    """The limit that is given, or that of the configuration file, or the default."""
    from ktstr_tui.cli.config_file import read_config
    from ktstr_tui.cli.disk_options import DiskOptions

    default = DiskOptions().runs_limit
    words = given if given is not None else read_config().run.get("runs-limit", default)
    return DiskOptions(runs_limit=words).runs_limit_mib()


def _runs() -> StoredRuns:
    return StoredRuns(state_dir() / "runs")
