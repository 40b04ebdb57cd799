"""A state that stays as it is, while the one that it was taken of goes on."""

from __future__ import annotations

import copy

from ktstr_tui.model.state import RunState


def still(state: RunState) -> RunState:
    """A copy of ``state`` that the fold no longer changes.

    Events, captures and log lines are immutable, so only the containers that the fold changes are copied.
    """
    twin = copy.copy(state)
    for name in state.__struct_fields__:
        value = getattr(state, name)
        if isinstance(value, (list, dict)):
            setattr(twin, name, value.copy())
    for number, cpu in state.cpus.items():
        own = twin.cpus[number] = copy.copy(cpu)
        own.nr_running_history = list(cpu.nr_running_history)
        own.busy_history = list(cpu.busy_history)
    for slot, watch in state.watchpoints.items():
        twin.watchpoints[slot] = copy.copy(watch)
    return twin
