"""What a scheduler says of itself while it runs: its variables, and how often and how long its BPF programs ran.

A look gives all of it, about once a second. Counters only grow, so whoever wants to know how it is now takes the
difference of two looks; the time between them is the guest's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ktstr_tui.model.event_base import RunEvent

MAX_VARIABLES: Final = 128
"""That are read; how many more there are is counted."""
MAX_PROGRAMS: Final = 64
MAX_VALUE_CHARACTERS: Final = 120


class BpfProgram(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One BPF program of the scheduler."""

    id: int
    name: str
    """As the kernel keeps it: its first 15 characters."""
    runs: int | None = None
    """How often it has run since the kernel counts; None while it does not."""
    run_ns: int | None = None
    """How long these took together."""
    misses: int | None = None
    """Runs that were refused because the program was running on that CPU already."""


class BpfVariable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One global variable of the scheduler."""

    map_id: int
    section: str
    """``.bss``, ``.data``, ``.rodata``, …"""
    name: str
    value: int | float | bool | str | None = None
    """A number, or the text of anything else, cut to `MAX_VALUE_CHARACTERS`."""


class SchedulerValues(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    clock_ms: float = 0.0
    """The guest's time of the look, from its jiffies."""
    counted: bool | None = None
    """Whether the kernel counts runs of BPF programs (``kernel.bpf_stats_enabled``); None when that is not known."""
    programs: tuple[BpfProgram, ...] = ()
    more_programs: int = 0
    variables: tuple[BpfVariable, ...] = ()
    more_variables: int = 0
    read_us: float = 0.0
    """Host time that it took."""
    unreadable: str | None = None
    """Why something of it could not be read."""


class SchedulerValuesRead(RunEvent, frozen=True, tag="scheduler-values"):
    """The scheduler's variables and programs were read."""

    values: SchedulerValues


class ProgramRate(NamedTuple):
    """How a program fares at the moment."""

    runs_per_s: float
    run_ns: float | None
    """Of one run, on average; None when there was none."""
    cpu_share: float
    """Of one CPU."""


def program_rates(now: SchedulerValues, before: SchedulerValues | None) -> dict[int, ProgramRate]:
    """How programs fared between two looks, by id; nothing of those that are new or not counted."""
    found: dict[int, ProgramRate] = {}
    span_ms = now.clock_ms - before.clock_ms if before is not None else 0.0
    old = {it.id: it for it in before.programs} if before is not None else {}
    for program in now.programs if span_ms > 0 else ():
        was = old.get(program.id)
        if was is None or None in (program.runs, program.run_ns, was.runs, was.run_ns):
            continue
        runs = max(0, (program.runs or 0) - (was.runs or 0))
        run_ns = max(0, (program.run_ns or 0) - (was.run_ns or 0))
        found[program.id] = ProgramRate(
            runs * 1e3 / span_ms, run_ns / runs if runs else None, run_ns / 1e6 / span_ms
        )
    return found


def variable_rates(now: SchedulerValues, before: SchedulerValues | None) -> dict[tuple[int, str], float]:
    """How fast integers changed between two looks, per second, by map and name; only those that changed."""
    span_ms = now.clock_ms - before.clock_ms if before is not None else 0.0
    old = {(it.map_id, it.name): it.value for it in before.variables} if before is not None else {}
    found: dict[tuple[int, str], float] = {}
    for it in now.variables if span_ms > 0 else ():
        was = old.get((it.map_id, it.name))
        if type(it.value) is int and type(was) is int and it.value != was:
            found[it.map_id, it.name] = (it.value - was) * 1e3 / span_ms
    return found
