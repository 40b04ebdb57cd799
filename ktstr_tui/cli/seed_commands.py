"""Declares the commands on runs with a seed: each again, many of them, two of them, one as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.options import from_options
from ktstr_tui.cli.rerun import RerunOptions

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON on standard output.")]


@from_options(RerunOptions)
def rerun(options: RerunOptions) -> None:
    """Run a run with a seed again, the same to the byte, and look at it more closely."""
    from ktstr_tui.cli.rerun import rerun_command

    rerun_command(options)


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTIONS OF RUN]", help="Options of run, the same for all seeds."),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A..B", help="Seeds to run, one run each.")
    ] = "1..20",
    until: Annotated[
        str,
        typer.Option(
            "--until", help="Stop at the first seed that is ejected, or has an alert; none for all seeds."
        ),
    ] = "ejected",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=256, help="Runs at once; each takes a CPU.")
    ] = 1,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", metavar="FILE", help="Keep what came of each seed here, and continue from there."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run many seeds until one of them ejects the scheduler."""
    from ktstr_tui.cli.search import parse_seeds, search_command

    search_command(parse_seeds(seeds), words or (), until=until, jobs=jobs, results=results, as_json=as_json)


def compare(
    one: Annotated[str, typer.Argument(help="Name or directory of a run with a seed, or a bundle of one.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Print where two runs with a seed begin to differ; host clocks aside."""
    from ktstr_tui.cli.compare_runs import compare_command

    compare_command(one, other, as_json)


def bundle(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or directory of a run with a seed.")],
    file: Annotated[
        Path | None, typer.Argument(help="File to make. [default: the run's directory's name]")
    ] = None,
) -> None:
    """Pack a run with a seed into one file, to run it again on another machine."""
    from ktstr_tui.cli.rerun import bundle_command

    bundle_command(run_name, file)


def declare_seed_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (rerun, compare, bundle):
        app.command()(command)
    # What it does not know are options of run.
    app.command(context_settings={"ignore_unknown_options": True})(search)
