"""The words that options of ``run`` choose between, and what those of the recorder mean together."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ktstr_tui.guest.recorder import RecorderConfig, TraceMode, check_recorder

MAX_S = 1e6
"""The longest time that an option takes, in seconds; infinity is none."""


class Accel(StrEnum):
    """Choices of ``--accel``."""

    auto = "auto"
    kvm = "kvm"
    tcg = "tcg"


class ViewersMay(StrEnum):
    """Choices of ``--viewers``."""

    control = "control"
    observe = "observe"


class TraceChoice(StrEnum):
    """Choices of ``--trace``."""

    sched = "sched"
    scx = "scx"
    off = "off"


class OnExitChoice(StrEnum):
    """Choices of ``--on-exit``."""

    end = "end"
    keep = "keep"


RecordTrace = Annotated[
    bool,
    typer.Option(
        "--record-trace/--no-record-trace",
        help="Keep what the guest's kernel records in the recording too, so that a replay has its timeline.",
    ),
]


BpfStats = Annotated[
    bool,
    typer.Option(
        "--bpf-stats/--no-bpf-stats",
        help="Let the guest's kernel count runs of BPF programs and their time, which makes each a little slower.",
    ),
]


def recorder_of(trace: TraceChoice, names: str, buffer: str | None) -> RecorderConfig:
    """Return what the guest's kernel is to record of itself.

    Args:
        trace: ``--trace``.
        names: ``--trace-events``, separated by commas.
        buffer: ``--trace-buffer``.

    Raises:
        UsageError: It is nothing that a kernel understands.
    """
    from ktstr_tui.cli.memory_size import parse_buffer_kib

    mode: TraceMode = trace.value
    events = tuple(filter(None, (name.strip() for name in names.split(","))))
    size_kib = None if buffer is None else parse_buffer_kib(buffer)
    return check_recorder(RecorderConfig(mode=mode, events=events, buffer_kib=size_kib))
