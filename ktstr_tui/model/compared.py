"""How far a run with a seed was the same as an earlier one, in words."""

from __future__ import annotations

from ktstr_tui.model.events import RunCompared
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import counted


def compared_words(it: RunCompared) -> str:
    """Say how far it was, and no more: what came after the last checkpoint that both have was not compared."""
    if not it.kept:
        return f"not compared with {it.run}: this run ended before its first checkpoint"
    if it.left:
        upto = f" up to {_time(it)}" if it.identical else ""
        return f"identical to {it.run}{upto} for {_many(it.identical)}, then not: {it.left}"
    many = _many(it.identical)
    if it.kept == it.run_kept:
        return f"identical to {it.run} in all {many}, up to {_time(it)}"
    if it.kept < it.run_kept:
        return f"identical to {it.run} as far as this run went: {many} of {it.run_kept}, up to {_time(it)}"
    return (
        f"identical to {it.run} as far as that one went: {many}, up to {_time(it)}; this run kept {it.kept}"
    )


def again_words(state: RunState) -> str:
    """What one may expect of having a run with a seed again; one that was cut short goes on then."""
    ended = state.ended
    if ended is None or not (ended.early or ended.fault):
        return "again, the same to the byte"
    ran_ms = (ended.mono_ns - state.started_mono_ns) / 1e6 - state.frozen_total_ms
    return f"again, the same to the byte up to this end at {ran_ms / 1e3:.3f} s"


def _many(checkpoints: int) -> str:
    return counted(checkpoints, "checkpoint")


def _time(it: RunCompared) -> str:
    return f"{it.until_ms / 1e3:.3f} s"
