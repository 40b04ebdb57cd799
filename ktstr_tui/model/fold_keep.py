"""How the arms of the fold keep things: every history is bounded, and what it forgets is counted.

The bound belongs to the state and not to the screen, because a run may last for days and a viewer may come late: what
it is sent then is one state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ktstr_tui.model import events as ev
from ktstr_tui.model.state import MAX_HISTORY, MAX_LINE_CHARS, MAX_LOG_LINES, LogLine, RunState
from ktstr_tui.model.text import counted, printable

Arms: TypeAlias = dict[type, Callable[[RunState, Any], None]]
_T = TypeVar("_T")


def push(state: RunState, name: str, items: list[_T], item: _T, limit: int) -> None:
    """Append to a history that keeps the newest ``limit``; what is forgotten is counted under ``name``."""
    items.append(item)
    excess = len(items) - limit
    if excess > 0:
        del items[:excess]
        state.forgotten[name] = state.forgotten.get(name, 0) + excess


def ring(items: list[_T], item: _T) -> None:
    """Append to a history for drawing; what falls out of it is not missed."""
    items.append(item)
    if len(items) > MAX_HISTORY:
        del items[0]


def log(state: RunState, event: ev.Event, severity: ev.Severity, source: str, text: str) -> None:
    """Append a line to the log, made printable and cut to a bounded length."""
    text = printable(text)
    if len(text) > MAX_LINE_CHARS:
        text = f"{text[:MAX_LINE_CHARS]}… ({counted(len(text) - MAX_LINE_CHARS, 'character')} more)"
    push(state, "log", state.log, LogLine(event.mono_ns, severity, source, text), MAX_LOG_LINES)
