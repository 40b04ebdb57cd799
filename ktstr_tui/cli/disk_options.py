"""Options of ``run`` about the disk that runs take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ktstr_tui.backend.config import DEFAULT_RUNS_LIMIT_MIB, DEFAULT_SNAPSHOTS_LIMIT_MIB


@dataclass(frozen=True, kw_only=True)
class DiskOptions:
    """The part of the command line of ``run`` that is about disk."""

    runs_limit: Annotated[
        str,
        typer.Option(
            "--runs-limit",
            metavar="SIZE",
            help="Disk for the data of all runs: at the start of a run the oldest without the mark of `runs keep` are "
            "removed until the rest fits; 0 for no limit.",
        ),
    ] = f"{DEFAULT_RUNS_LIMIT_MIB >> 10}G"
    snapshots_limit: Annotated[
        str,
        typer.Option(
            "--snapshots-limit",
            metavar="SIZE",
            help="Disk for the snapshots of this run: after each the oldest without the mark of `snapshot keep` are "
            "removed until the rest fits, never the newest; 0 for no limit.",
        ),
    ] = f"{DEFAULT_SNAPSHOTS_LIMIT_MIB >> 10}G"

    def runs_limit_mib(self) -> int:
        """Disk for the data of all runs in MiB; 0 for no limit.

        Raises:
            UsageError: It is not a size.
        """
        from ktstr_tui.cli.memory_size import parse_disk_mib

        return parse_disk_mib(self.runs_limit)

    def snapshots_limit_mib(self) -> int:
        """Disk for the snapshots of the run in MiB; 0 for no limit.

        Raises:
            UsageError: It is not a size.
        """
        from ktstr_tui.cli.memory_size import parse_disk_mib

        return parse_disk_mib(self.snapshots_limit)
