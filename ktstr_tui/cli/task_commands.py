"""Declares the command that lists tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from ktstr_tui.cli.run_arguments import AsJson, RunName


def tasks(
    run_name: RunName = None,
    sort: Annotated[
        str, typer.Option("--sort", help="Column to sort by, such as run, age, p99 or pid.")
    ] = "run",
    only: Annotated[
        str, typer.Option("--filter", help="Regular expression; ! before it lists the others.")
    ] = "",
    reverse: Annotated[bool, typer.Option("--reverse/--no-reverse", help="Reverse the order.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the kernel's tasks: state, class, queue, age; run time, switches and waits of the last second.

    age is how long a task has been runnable; p50, p99 and max are how long it took from runnable to running.
    """
    from ktstr_tui.cli.tasks import tasks_command

    tasks_command(run_name, sort, only, reverse, as_json)
