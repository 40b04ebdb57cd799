"""What the loop does without being asked: captures, alerts, a freeze that nobody looks after, crash loops."""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.control import backoff
from ktstr_tui.control.state import LoopState
from ktstr_tui.model import control as ct
from ktstr_tui.model.kinds import AlertKind
from ktstr_tui.model.plan import periodic_tag
from ktstr_tui.model.text import counted

ATTACH_ALERT_S = 10.0
"""How long a scheduler may take to attach before it is an alert."""
FROZEN_ALERT_S = 60.0
"""How long a freeze may last before it is an alert."""
AHEAD_MS = 100.0
"""A periodic capture is decided on this long before it is due, so that it is taken on time between two ticks."""
LESS_SAMPLES = 4
"""While the executor is behind, only one sample in so many is taken."""


def captures(state: LoopState) -> Iterator[ct.Action]:
    """The early capture, and the periodic one that is due on the scenario's clock."""
    if state.early.due and not state.early.asked:
        yield ct.TakeCapture(trigger="early", detail=state.early.due)
    facts = state.periodic
    index = facts.next
    if facts.closed or index >= len(facts.due_ms) or state.scenario_ns is None or not state.guest.typed:
        return
    if _in_flight(state, ct.TakeCapture, "periodic"):
        return
    due_ms = facts.due_ms[index]
    if state.scenario_ns / 1e6 + AHEAD_MS >= due_ms:
        yield ct.TakeCapture(
            trigger="periodic",
            detail=f"{index + 1} of {len(facts.due_ms)}, due at {due_ms / 1000:.3f} s",
            tag=periodic_tag(index),
            index=index,
            due_ms=due_ms,
        )


def freeze_limit(state: LoopState) -> Iterator[ct.Action]:
    """Let a guest run again that stands while no viewer is attached, or for a viewer that is gone."""
    guest, limit_s = state.guest, state.plan.freeze_limit_s
    if guest.frozen is None or guest.in_debugger or _in_flight(state, ct.ThawGuest):
        return
    if guest.frozen_for and guest.freezer_gone:
        yield ct.ThawGuest(reason=f"frozen by {guest.frozen}, who is gone")
        return
    if limit_s is None or guest.viewers:
        return
    if state.now_ns - guest.attended_ns >= limit_s * 1e9:
        yield ct.ThawGuest(reason=f"frozen by {guest.frozen}, and no viewer was attached for {limit_s:g} s")


def alerts(state: LoopState) -> Iterator[ct.Action]:
    """Raise and clear what is to be looked at; the same text is raised once."""
    for key, kind, text in (
        ("attach", "attach", _attach_text(state)),
        ("frozen", "frozen", _frozen_text(state)),
    ):
        alert: AlertKind = kind  # type: ignore[assignment]
        if text and state.alerts.get(key) != text:
            yield ct.RaiseAlert(key=key, alert=alert, text=text)
        elif not text and key in state.alerts:
            yield ct.ClearAlert(key=key, alert=alert)


def schedulers(state: LoopState) -> Iterator[ct.Action]:
    """Forget old crashes; attach again what crashed when its time has come, and say how long that takes."""
    for name, facts in sorted(state.schedulers.items()):
        if backoff.is_stable(facts, state.now_ns):
            yield ct.ResetBackoff(name=name)
        if not state.plan.keep_attached or name != state.loaded or facts.attached_ns is not None:
            continue
        if not facts.crashes or state.load.name or _in_flight(state, ct.AttachScheduler):
            continue
        if backoff.may_attach(facts, state.now_ns):
            yield ct.AttachScheduler(name=name)
        elif facts.told_ns != facts.until_ns:
            yield backoff.told(name, facts)


def sampling(state: LoopState) -> Iterator[ct.Action]:
    """Sample less while the executor is behind."""
    planned = state.plan.sample_hz
    if not planned or not state.guest.typed:
        return
    wanted = planned / LESS_SAMPLES if state.backpressure else planned
    now = planned if state.sampling_hz is None else state.sampling_hz
    if wanted != now:
        yield ct.AdjustSampling(hz=wanted)


def _in_flight(state: LoopState, kind: type, trigger: str = "") -> bool:
    return any(
        isinstance(it.action, kind) and (not trigger or getattr(it.action, "trigger", "") == trigger)
        for it in state.in_flight.values()
    )


def _attach_text(state: LoopState) -> str:
    load = state.load
    if not load.name:
        return ""
    waited_s = (state.now_ns - load.since_ns - (state.frozen_ns - load.idle_ns)) / 1e9
    if waited_s < ATTACH_ALERT_S:
        return ""
    text = f"{load.name} was started {waited_s:.0f} s ago and has not attached: {_what_for(state)}"
    return f"{text}; last line of its log: {load.line}" if load.line else text


def _what_for(state: LoopState) -> str:
    if state.load.enabling:
        return "the kernel is enabling it"
    if state.load.name.startswith("demo:") or state.load.name.endswith((".bpf.o", ".o")):
        return "libbpf loads it and the kernel verifies its programs"
    return "its program has not asked the kernel to enable it; the kernel may be verifying its BPF programs"


def _frozen_text(state: LoopState) -> str:
    guest, limit_s = state.guest, state.plan.freeze_limit_s
    if guest.frozen is None or state.now_ns - guest.frozen_since_ns < FROZEN_ALERT_S * 1e9:
        return ""
    text = f"frozen by {guest.frozen} for more than {FROZEN_ALERT_S:g} s"
    if guest.in_debugger:
        return f"{text}, in the debugger; detach it: ktstr-tui gdb {state.plan.name} --detach"
    if limit_s is not None:
        viewers = counted(guest.viewers, "viewer")
        text += f"; thawed after {limit_s:g} s without a viewer ({viewers} now)"
    return f"{text}; any viewer may: ktstr-tui thaw {state.plan.name}"
