"""The words that options of ``run`` choose between."""

from __future__ import annotations

from enum import StrEnum


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
