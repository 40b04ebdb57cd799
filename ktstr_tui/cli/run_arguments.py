"""Arguments that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

RunName = Annotated[
    str | None,
    typer.Argument(
        help="Name of a run, or the directory of its (forwarded) sockets. [default: the only run]"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON on standard output.")]
