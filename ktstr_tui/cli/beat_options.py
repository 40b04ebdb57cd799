"""Options of ``run`` about heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.run_choices import MAX_S
from ktstr_tui.heartbeat.config import DEFAULT_STALL_MS, BeatsConfig, parse_address


@dataclass(frozen=True, kw_only=True)
class BeatOptions:
    """The part of the command line of ``run`` that is about heartbeats."""

    silent_ms: Annotated[
        float,
        typer.Option(
            "--silent-ms",
            min=1,
            max=MAX_S * 1e3,
            help="Silence after which a heartbeat sender counts as stalled.",
        ),
    ] = DEFAULT_STALL_MS
    capture_on_stall: Annotated[
        bool,
        typer.Option(
            "--capture-on-stall/--no-capture-on-stall",
            help="Capture when a guest task stops sending heartbeats.",
        ),
    ] = False
    beats_udp: Annotated[
        str | None,
        typer.Option(
            "--beats-udp",
            help="HOST:PORT on which to receive heartbeats as UDP datagrams.",
        ),
    ] = None
    accept_network: Annotated[
        bool,
        typer.Option(
            "--accept-network/--no-accept-network",
            help="Allow --beats-udp on an address that other machines can reach.",
        ),
    ] = False
    beats_key: Annotated[
        Path | None,
        typer.Option(
            "--beats-key",
            help="File with shared keys; UDP heartbeats must be encrypted.",
        ),
    ] = None
    beats_master_key: Annotated[
        Path | None, typer.Option("--beats-master-key", help="File with master keys.")
    ] = None
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=0,
            max=65535,
            help="Loopback port for the metrics; 0 picks a free one.",
        ),
    ] = None
    observer_watchdog: Annotated[
        float | None,
        typer.Option(
            "--observer-watchdog",
            min=1,
            max=MAX_S,
            help="Abort when the observer hangs for this many seconds.",
        ),
    ] = None
    max_senders: Annotated[
        int,
        typer.Option(
            "--max-senders",
            min=1,
            max=4096,
            help="Heartbeat senders to track in each domain.",
        ),
    ] = 256

    def beats(self) -> BeatsConfig:
        """What its heartbeat observers are asked for.

        Raises:
            UsageError: ``--beats-udp`` is no address.
        """
        if self.beats_udp is not None:
            parse_address(self.beats_udp)
        return BeatsConfig(
            threshold_ms=self.silent_ms,
            capacity=self.max_senders,
            udp=self.beats_udp,
            accept_network=self.accept_network,
            shared_key_file=str(self.beats_key.absolute()) if self.beats_key else None,
            master_key_file=str(self.beats_master_key.absolute()) if self.beats_master_key else None,
            capture_on_stall=self.capture_on_stall,
            metrics_port=self.metrics_port,
            watchdog_s=self.observer_watchdog,
        )
