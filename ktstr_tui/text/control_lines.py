"""The control loop in words: what it waits for, what holds it, and what came to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.model.control_state import ControlState
from ktstr_tui.model.text import counted

_SHARES = ("steal", "psi.cpu", "psi.memory", "psi.io", "free_share")


def control_sentence(control: ControlState, now_ns: int) -> str:
    """What a person must know before anything else of the loop; empty when there is nothing.

    Args:
        control: The loop.
        now_ns: Host monotonic time of the newest event.
    """
    if control.hold is not None:
        left_s = max(0.0, (control.hold.until_ns - now_ns) / 1e9)
        why = f": {control.hold.reason}" if control.hold.reason else ""
        return f"Automation is held by {control.hold.by} for {left_s:.0f} s more{why}."
    for name, backoff in sorted(control.backoffs.items()):
        if backoff.held or backoff.until_ns > now_ns:
            return f"{name} is left alone: {backoff.reason}."
    if control.phase not in ("active", "maintenance", "entering"):
        return f"Automation is {control.phase}: {control.phase_reason}." if control.phase_reason else ""
    return ""


def control_lines(control: ControlState, now_ns: int) -> Iterator[tuple[str, str]]:
    """Names and values of the loop for a pane; nothing before it began."""
    if control.run_epoch_id is None:
        return
    counts = control.counts
    yield "phase", control.phase
    yield "ticks", str(control.ticks)
    ends = ("done", "failed", "gated", "dropped")
    told = [f"{counts[how]} {how}" for how in ends if counts.get(how)]
    yield "actions", ", ".join([f"{counts.get('emitted', 0)} emitted", *told, f"{len(control.open)} open"])
    if control.open:
        yield "open", ", ".join(f"{kind} {id_}" for id_, kind in list(control.open.items())[:8])
    if sentence := control_sentence(control, now_ns):
        yield "held", sentence
    if control.backpressure:
        yield "behind", "many actions wait, fewer samples are taken"
    if control.events_lost:
        yield "lost", counted(control.events_lost, "event")
    if control.refused:
        yield "refused", counted(control.refused, "command")
    for failure in control.failures[-3:]:
        yield failure.disposition, f"{failure.kind}: {failure.reason}"
    for name, values in control.probes.items():
        if name in control.broken_probes:
            continue
        shown = [f"{key} {_number(key, value)}" for key, value in list(values.items())[:8]]
        yield name, ", ".join(shown)
    for name, reason in control.broken_probes.items():
        yield name, f"not read: {reason}"


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if key in _SHARES or key.endswith((".cpu", ".waited")):
        return f"{value:.0%}"
    return f"{value:.0f}"
