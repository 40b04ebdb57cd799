"""Declares the commands that take captures and compare them."""

from __future__ import annotations

from typing import Annotated

import typer

from ktstr_tui.cli.options import from_options
from ktstr_tui.cli.restore import RestoreOptions
from ktstr_tui.cli.run_arguments import AsJson, RunName


def capture(
    run_name: RunName = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Name of the capture.")] = None,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory/--no-memory",
            help="Keep the guest's memory too, as a snapshot that can be explored and restored.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the guest for an instant and capture its scheduler state."""
    from ktstr_tui.cli.control import capture_command

    capture_command(run_name, tag, as_json, memory=memory)


def capture_diff(
    before: Annotated[str, typer.Argument(help="The earlier capture: a tag, or a JSON file.")],
    after: Annotated[
        str | None,
        typer.Argument(
            help="The later capture. Leave it out for a dual report, or to compare with the early capture."
        ),
    ] = None,
    run_name: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Run that owns the tags: one in progress, or on disk by its name or directory.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what changed between two captures, or between the two of a dual report."""
    from ktstr_tui.cli.capture_diff import capture_diff_command

    capture_diff_command(before, after, run_name, as_json)


@from_options(RestoreOptions)
def restore(options: RestoreOptions) -> None:
    """Start a guest from a snapshot, again and again; it does not repeat history exactly, as rerun does."""
    from ktstr_tui.cli.restore import restore_command

    restore_command(options)


def declare_capture_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(capture)
    app.command("capture-diff")(capture_diff)
    app.command()(restore)
