"""``ktstr-tui doctor``: check this host and suggest fixes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from ktstr_tui.model.errors import EXIT_HOST
from ktstr_tui.model.text import printable
from ktstr_tui.text.output import print_json, print_line

if TYPE_CHECKING:
    from ktstr_tui.cli.doctor_checks import Row

_STYLES = {"ok": "green", "degraded": "yellow", "missing": "bold red"}


def doctor_command(as_json: bool) -> None:
    """Print the table.

    Raises:
        SystemExit: With `EXIT_HOST` when something is missing without which nothing runs.
    """
    from ktstr_tui.cli.doctor_checks import all_rows

    rows: list[Row] = []
    if as_json:
        rows = list(all_rows())
        print_json({"rows": msgspec.to_builtins(rows), "usable": _usable(rows)})
    else:
        rows = _print_table()
    if not _usable(rows):
        raise SystemExit(EXIT_HOST)


def _usable(rows: list[Row]) -> bool:
    return not any(row.needed and row.status == "missing" for row in rows)


def _print_table() -> list[Row]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ktstr_tui.cli.doctor_checks import all_rows

    if not sys.stdout.isatty():
        return _print_lines(list(all_rows()))
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what", "state", "found", "next step"):
        table.add_column(heading, overflow="fold")
    with console.status("checking this host (boots a guest to see whether KVM works)"):
        rows = list(all_rows())
    for row in rows:
        # Text, not str: what programs and files say is no markup.
        state = Text(row.status, style=_STYLES[row.status])
        table.add_row(Text(row.name), state, Text(printable(row.detail)), Text(printable(row.next_step)))
    console.print(table)
    return rows


def _print_lines(rows: list[Row]) -> list[Row]:
    """Print a row to a line, however long: what reads them is a program, such as grep."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        then = f"; next: {row.next_step}" if row.next_step else ""
        print_line(f"{row.name:{width}}  {row.status:8}  {row.detail}{then}")
    return rows
