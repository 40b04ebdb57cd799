"""Declares the commands that open another program on a run: drgn's prompt, gdb and lldb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.run_arguments import AsJson


def drgn(
    run_name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|SNAPSHOT]",
            help="Name of a run on this host, or a snapshot. [default: the only run]",
        ),
    ] = None,
    code: Annotated[
        str | None, typer.Option("-c", help="Run this code instead of opening the prompt.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option("--script", help="Run this file instead of opening the prompt.")
    ] = None,
) -> None:
    """Open drgn's prompt on the live memory of a run on this host, or on a snapshot."""
    from ktstr_tui.cli.drgn_prompt import drgn_command

    drgn_command(run_name, code, script)


def gdb(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|SNAPSHOT] [-- ARGUMENTS]",
            help="Name of a run, the directory of its (forwarded) sockets, or a snapshot; arguments for the debugger "
            "behind --. [default: the only run]",
        ),
    ] = None,
    lldb: Annotated[bool, typer.Option("--lldb/--gdb", help="Which debugger to start.")] = False,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start it, or only print where one can connect.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(
            "--tcp",
            metavar="PORT",
            min=0,
            max=65535,
            help="Wait on this TCP port of 127.0.0.1, 0 for any; every user of the host can connect to it.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Remove the debugger that is attached, and do nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open gdb or lldb on the guest of a run; what watches it stays. Or on a snapshot, for reading."""
    from ktstr_tui.cli.gdb import GdbOptions, gdb_command

    options = GdbOptions.parse(words or [], lldb=lldb, start=start, port=port, detach=detach, as_json=as_json)
    gdb_command(options)


def declare_debug_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (drgn, gdb):
        app.command()(command)
