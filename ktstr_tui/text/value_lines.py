"""The scheduler's programs and variables as lines, and as the object that programs read."""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.scheduler_values import (
    BpfVariable,
    SchedulerValues,
    program_rates,
    variable_rates,
)
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, fit, spread, text_of, wrap

NOT_COUNTED = "not counted: start the run with --bpf-stats"
NOT_READ = "no scheduler is loaded, or its variables are not read, or not yet"
PRINTED_WIDTH = 76


def value_lines(state: RunState, width: int) -> list[Line]:
    """Programs with runs a second and the time of each, variables with how fast they change; nothing without any."""
    values = state.scheduler_values
    if values is None:
        return []
    lines = [*_programs(values, state.scheduler_values_before, width)]
    lines += _variables(values, state.scheduler_values_before, width)
    if values.unreadable is not None:
        lines += [[(it, "warn")] for it in wrap(f"unreadable: {clean(values.unreadable)}", width)]
    return [[], *lines] if lines else []


def printed_values(state: RunState) -> list[str]:
    """The same for a terminal without a screen."""
    lines = [text_of(it).rstrip() for it in value_lines(state, PRINTED_WIDTH)]
    return lines[1:] or [NOT_READ]


def values_json(state: RunState) -> dict[str, Any]:
    """The same as an object: what was read, with rates per second of the guest; None for a rate that is not known."""
    values, before = state.scheduler_values or SchedulerValues(), state.scheduler_values_before
    rates, changes = program_rates(values, before), variable_rates(values, before)
    known = before is not None and values.clock_ms > before.clock_ms
    programs, variables = list[dict[str, Any]](), list[dict[str, Any]]()
    for program in values.programs:
        rate = rates.get(program.id)
        programs.append(
            {
                **{name: getattr(program, name) for name in program.__struct_fields__},
                "runs_per_s": rate and rate.runs_per_s,
                "run_ns_each": rate and rate.run_ns,
                "cpu_share": rate and rate.cpu_share,
            }
        )
    for it in values.variables:
        steady = 0.0 if known and type(it.value) is int else None
        row = {name: getattr(it, name) for name in it.__struct_fields__}
        variables.append({**row, "per_s": changes.get((it.map_id, it.name), steady)})
    return {**msgspec.to_builtins(values), "programs": programs, "variables": variables}


def _programs(values: SchedulerValues, before: SchedulerValues | None, width: int) -> list[Line]:
    if not values.programs:
        return []
    if not values.counted:
        why = NOT_COUNTED if values.counted is False else "not counted by this kernel"
        many = counted(len(values.programs) + values.more_programs, "BPF program")
        return [[(many, "head")], *([(it, "dim")] for it in wrap(f"run times are {why}", width))]
    rates = program_rates(values, before)
    lines = [spread([("BPF program", "head")], [(f"{'runs/s':>7}{'each':>9}{'cpu %':>7}", "head")], width)]
    for program in values.programs:
        rate = rates.get(program.id)
        role = "" if rate is not None and rate.runs_per_s else "dim"
        runs = ABSENT if rate is None else words.number(round(rate.runs_per_s))
        each = ABSENT if rate is None or rate.run_ns is None else words.microseconds(rate.run_ns / 1e3)
        share = ABSENT if rate is None else f"{rate.cpu_share * 100:.1f}"
        right: Line = [(f"{runs:>7}{each:>9}{share:>7}", role)]
        lines.append(spread([(cut(clean(program.name), max(4, width - 24)), role)], right, width))
        if program.misses:
            lines.append([(cut(f"  {counted(program.misses, 'run')} missed", width), "warn")])
    return [*lines, *_more(values.more_programs, "program", width)]


def _variables(values: SchedulerValues, before: SchedulerValues | None, width: int) -> list[Line]:
    rates = variable_rates(values, before)
    lines: list[Line] = []
    section = None
    for it in values.variables:
        if (it.map_id, it.section) != section:
            section = (it.map_id, it.section)
            lines.append(
                spread([(cut(clean(it.section), width - 16), "head")], [(f"value{'/s':>9}", "head")], width)
            )
        lines.append(_variable(it, rates.get((it.map_id, it.name)), width))
    return [
        *([[]] if lines and values.programs else []),
        *lines,
        *_more(values.more_variables, "variable", width),
    ]


def _variable(it: BpfVariable, rate: float | None, width: int) -> Line:
    change = f"{_signed(rate):>9}" if type(it.value) is int else ""
    name = cut(clean(it.name) or ABSENT, max(4, width - 20))
    value = cut(clean(_in_words(it.value)), max(1, width - len(name) - len(change) - 1))
    return spread(
        [(name, "dim")], [(value, ""), (fit(change, len(change)), "strong" if rate else "dim")], width
    )


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return words.number(value)
    return ABSENT if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _signed(rate: float | None) -> str:
    if not rate:
        return ""
    shown = words.number(round(rate)) if abs(rate) >= 10 else f"{rate:.1f}"
    return shown if rate < 0 else f"+{shown}"


def _more(count: int, noun: str, width: int) -> list[Line]:
    return [[(cut(f"… {counted(count, f'other {noun}')}", width), "warn")]] if count else []
