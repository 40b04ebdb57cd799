"""Arguments and options that several commands have, with the same words in all of them."""

from __future__ import annotations

from typing import Annotated

import typer

RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="Name of a run, or the directory of its (forwarded) sockets. [default: the only run]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON on standard output.")]
Headless = Annotated[
    bool, typer.Option("--headless/--no-headless", help="Run without a screen; print how to attach.")
]
NewName = Annotated[str | None, typer.Option("--name", help="Name of the run. [default: the scenario's]")]
OfRun = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        metavar="RUN",
        help="Name of a run, or the directory of its sockets. [default: the only run]",
    ),
]
Theme = Annotated[
    str | None,
    typer.Option(
        "--theme",
        metavar="NAME",
        help="Theme of the screen. [default: the configuration file's, or the last choice]",
    ),
]
