"""Arms of the fold: what is done to the guest: watchpoints, freezes, captures, writes to its kernel.

A slot is known by its number alone and may be used again; what it was hit by stays with the slot until it is removed,
and in ``hits`` for longer. A capture of a tag that is there already takes its place.
"""

from __future__ import annotations

import msgspec

from ktstr_tui.model import events as ev
from ktstr_tui.model.cause import ejecting_wait_ms
from ktstr_tui.model.facts import KernelOpPlace
from ktstr_tui.model.fold_keep import Arms, log, push
from ktstr_tui.model.report import of_ejection
from ktstr_tui.model.state import (
    MAX_CAPTURES,
    MAX_HITS,
    MAX_STRETCHES,
    CaptureState,
    Hit,
    RunState,
    Stretch,
    WatchpointState,
)
from ktstr_tui.model.text import counted, runnable_tasks

_ENTRIES_TOLD = 4
"""Of a kernel operation, in the log."""


def _watchpoint(state: RunState, event: ev.WatchpointChanged) -> None:
    if event.state == "removed":
        state.watchpoints.pop(event.slot, None)
    else:
        before = state.watchpoints.get(event.slot)
        if before is not None and before.expression != event.expression:
            # A slot that is used again belongs to another watch; slot 0 follows the scheduler from word to word.
            del state.watchpoints[event.slot]
        slot = state.watchpoints.setdefault(
            event.slot, WatchpointState(slot=event.slot, expression=event.expression)
        )
        slot.length_bytes, slot.budget_per_s = event.length_bytes, event.budget_per_s
        slot.once, slot.capture = event.once, event.capture
        slot.expression = event.expression
        slot.address = event.address
        slot.state = event.state
        slot.detail = event.detail
    if event.slot or event.state in ("paused", "failed"):
        bad = event.state in ("paused", "failed")
        text = f"slot {event.slot} {event.expression} {event.state} {event.detail}".rstrip()
        log(state, event, "warning" if bad else "info", "watch", text)


def _hit(state: RunState, event: ev.WatchpointHit) -> None:
    slot = state.watchpoints.setdefault(
        event.slot, WatchpointState(slot=event.slot, expression=event.expression, state="armed")
    )
    slot.hits += 1
    slot.unchanged += event.value is not None and event.value == event.old
    slot.last_value = event.value
    slot.last_old = event.old
    slot.last_vcpu = event.vcpu
    slot.last_writer = event.writer
    slot.last_arguments = event.arguments
    slot.untold += event.untold
    hit = Hit(
        mono_ns=event.mono_ns,
        slot=event.slot,
        expression=event.expression,
        vcpu=event.vcpu,
        value=event.value,
        old=event.old,
        capture=event.capture,
        writer=event.writer,
        stack=event.stack,
        arguments=event.arguments,
    )
    push(state, "hits", state.hits, hit, MAX_HITS)


def _kernel_op(state: RunState, event: ev.KernelOpDone) -> None:
    if event.ok:
        state.kernel_writes += 1
    else:
        state.kernel_writes_refused += 1
    targets = ", ".join(f"{it.target}{_change(it)}" for it in event.entries[:_ENTRIES_TOLD])
    if len(event.entries) > _ENTRIES_TOLD:
        targets += f" and {len(event.entries) - _ENTRIES_TOLD} more"
    outcome = "" if event.ok else f"; refused: {event.reason}"
    log(state, event, "warning", "write", f"{event.who} ({event.mode}): {targets}{outcome}")


def _change(place: KernelOpPlace) -> str:
    if place.before is None:
        return ""
    if isinstance(place.before, str):
        return f" ({counted(place.size_bytes or 0, 'byte')})"
    before = place.before if place.before_text is None else place.before_text
    after = place.after if place.after_text is None else place.after_text
    return f" {before} → {'unreadable' if after is None else after}"


def _frozen(state: RunState, event: ev.Frozen) -> None:
    state.frozen, state.frozen_for = event.reason, event.viewer
    state.frozen_in_debugger, state.frozen_since_mono_ns = event.debugger, event.mono_ns
    where = " in a debugger" if event.debugger else ""
    log(state, event, "warning", "freeze", f"guest frozen by {event.reason}{where}")


def _thawed(state: RunState, event: ev.Thawed) -> None:
    if state.frozen is not None:
        since_ns = state.frozen_since_mono_ns
        state.step_frozen_ns += max(0, event.mono_ns - since_ns)
        # What is made of two looks or reports is by the time in between in which the guest could do something.
        if state.workers:
            state.workers_mono_ns += max(0, event.mono_ns - max(since_ns, state.workers_mono_ns))
        for cpu in state.cpus.values():
            cpu.last_mono_ns += max(0, event.mono_ns - max(since_ns, cpu.last_mono_ns))
    state.frozen, state.frozen_for, state.frozen_in_debugger = None, "", False
    state.last_pause = event.pause
    log(state, event, "info", "freeze", f"guest thawed after {event.pause.total_us / 1000:.1f} ms")


def _debugger(state: RunState, event: ev.DebuggerChanged) -> None:
    state.debugger_stops, state.watches_restored = event.forwarded, event.restored
    state.debugger_back = event.what if event.step == "went_back" else ""
    match event.step:
        case "waiting":
            text = f"a debugger of {event.who} may connect to {event.where}"
        case "attached":
            state.debugger = event.who
            text = f"{event.who} attached a debugger"
        case "went_back":
            text = f"the debugger of {event.who} went back: {event.what}"
        case "came_back":
            text = f"the debugger of {event.who} is back at the present"
        case "wrote":
            text = f"the debugger of {event.who} wrote {event.what}"
        case "refused":
            text = f"the debugger of {event.who} was refused to write {event.what}"
        case "left":
            state.debugger = ""
            text = f"no debugger of {event.who} any more: {event.what}"
    bad = event.step in ("attached", "wrote", "refused")
    log(state, event, "warning" if bad else "info", "debugger", text)


def _capture(state: RunState, event: ev.CaptureTaken) -> None:
    report = event.report
    state.captures[:] = [kept for kept in state.captures if kept.report.tag != report.tag]
    entry = CaptureState(
        report=report, path=event.path, unsaved=event.unsaved, seq=event.seq, degraded=event.degraded
    )
    push(state, "captures", state.captures, entry, MAX_CAPTURES)
    if report.pause is not None:
        state.last_pause = report.pause
    waited_ms = ejecting_wait_ms(report)
    if waited_ms is not None:
        wait = Stretch(start_ns=report.mono_ns - int(waited_ms * 1e6), end_ns=report.mono_ns)
        push(state, "stall_waits", state.stall_waits, wait, MAX_STRETCHES)
    if report.is_placeholder:
        reason = next(iter(report.unavailable.values()), "unknown reason")
        log(state, event, "error", "capture", f"{report.tag} failed: {reason}")
        return
    pause = f", paused {report.pause.total_us / 1000:.1f} ms" if report.pause else ""
    text = f"{report.tag} ({report.trigger}): {runnable_tasks(len(report.tasks), report.lacks)}{pause}"
    log(state, event, "error" if of_ejection(report) else "info", "capture", text)
    if event.degraded is not None:
        log(state, event, "warning", "capture", f"{report.tag} is incomplete: {event.degraded.reason}")


def _snapshot(state: RunState, event: ev.SnapshotStored) -> None:
    if event.problem:
        what = event.name or f"{event.tag}: no snapshot"
        log(state, event, "error", "snapshot", f"{what}: {event.problem}")
    if not event.name:
        return
    for index, entry in enumerate(state.captures):
        if entry.report.tag == event.tag:
            state.captures[index] = msgspec.structs.replace(entry, snapshot=event.name)
    pages = f"{counted(event.pages, 'page')}, {event.new_pages} new ({event.new_bytes / (1 << 20):.1f} MiB of disk)"
    log(state, event, "info", "snapshot", f"{event.name}: {pages}, written in {event.took_ms:.0f} ms")
    if event.evicted:
        gone = ", ".join(event.evicted)
        log(state, event, "warning", "snapshot", f"over the limit of disk: removed {gone}")


def _dual(state: RunState, event: ev.DualSaved) -> None:
    mine = (event.early_tag, event.late_tag)
    for index, entry in enumerate(state.captures):
        if entry.report.tag in mine:
            state.captures[index] = msgspec.structs.replace(
                entry, dual_path=event.path, dual_outcome=event.outcome
            )
    log(state, event, "info", "capture", f"{event.tag}: early and late, {event.outcome}, in {event.path}")


ARMS: Arms = {
    ev.WatchpointChanged: _watchpoint,
    ev.WatchpointHit: _hit,
    ev.KernelOpDone: _kernel_op,
    ev.DebuggerChanged: _debugger,
    ev.Frozen: _frozen,
    ev.Thawed: _thawed,
    ev.CaptureTaken: _capture,
    ev.SnapshotStored: _snapshot,
    ev.DualSaved: _dual,
}
