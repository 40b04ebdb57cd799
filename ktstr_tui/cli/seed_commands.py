"""Declares the commands on runs with a seed: each again, many of them, two of them, one as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.options import from_options
from ktstr_tui.cli.rerun import RerunOptions
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.model.errors import UsageError


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
            "--until",
            metavar="CONDITION",
            help="Stop at the first seed that is ejected, has an alert, or meets 'elapsed_ms < 3000'; none for all.",
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
    from ktstr_tui.cli.cells import parse_seeds
    from ktstr_tui.cli.search import search_command

    search_command(parse_seeds(seeds), words or (), until=until, jobs=jobs, results=results, as_json=as_json)


def compare(
    one: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A run with a seed (name, directory, bundle); with --seeds a scheduler or kernel.",
        ),
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTIONS OF RUN]", help="With --seeds: options of run, the same for both."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="A..B", help="Run both with these seeds and compare their figures."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="What A and B are with --seeds: scheduler or kernel.")
    ] = "scheduler",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=256, help="Runs at once; each takes a CPU.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Print where two runs with a seed begin to differ; or, with --seeds, how two schedulers do over many seeds."""
    if seeds is not None:
        from ktstr_tui.cli.cells import parse_seeds
        from ktstr_tui.cli.compare_seeds import compare_seeds_command

        sides = (one, other)
        compare_seeds_command(sides, parse_seeds(seeds), words or (), by=by, jobs=jobs, as_json=as_json)
        return
    if words:
        raise UsageError(f"{words[0]!r} is one argument too many", "give --seeds A..B to run two schedulers")
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
    for command in (rerun, bundle):
        app.command()(command)
    # What they do not know are options of run.
    for command in (search, compare):
        app.command(context_settings={"ignore_unknown_options": True})(command)
