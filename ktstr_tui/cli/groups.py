"""The commands that have commands below them, each in a module of its own that is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import typer

GROUPS: Final[Mapping[str, str]] = {
    "audit": "audit",
    "automation": "automation",
    "config": "config",
    "kernel": "kernel",
    "op": "kernel_op",
    "operator": "operator",
    "recording": "recording",
    "runs": "runs",
    "scheduler": "scheduler",
    "snapshot": "snapshot",
    "watch": "watch",
}
"""Modules of this room, whose ``app`` has the commands."""


def add_group(program: typer.Typer, name: str) -> None:
    """Load a group and add it to the program."""
    program.add_typer(import_module(f"ktstr_tui.cli.{GROUPS[name]}").app, name=name)
