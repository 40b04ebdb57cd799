"""Arms of the fold: changes of the scheduler while the run lasts, and how it did before and after.

A period begins with the write that attaches a scheduler and ends with the one by which it leaves, both seen before the
guest answers that it has taken a new one. So at that answer the health of the scheduler before is known.
"""

from __future__ import annotations

from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.edit import MAX_CHANGES, MAX_MARKS, BuildState, Change, Health, Period
from ktstr_tui.model.fold_keep import Arms, log, ring
from ktstr_tui.model.scheduler_swap import SwapAttached, SwapFailed, SwapRejected, SwapTimedOut
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import printable


def note_sample(state: RunState, event: ev.Sampled) -> None:
    """Add a sample to the period of the scheduler that is loaded."""
    period, sample = state.edit.period, event.sample
    if period is None or sample.scheduler.unreadable or sample.scheduler.name is None:
        return
    oldest = sample.scheduler.oldest_runnable
    ring(state.waits_ms, oldest.age_ms if oldest else 0.0)
    counts = [cpu.nr_switches for cpu in sample.cpus if not cpu.is_offline]
    known = [count for count in counts if count is not None]
    last = period.last
    if sample.guest_ns is not None and known and len(known) == len(counts):
        last = (sample.guest_ns, sum(known))
    first = last if period.first is None else period.first
    period = replace(period, samples=period.samples + 1, first=first, last=last)
    state.edit = replace(state.edit, period=period)


def note_change(state: RunState, event: ev.SchedulerChanged) -> None:
    """Begin or end a period."""
    if event.cgroup is not None:
        return
    _close(state)
    if event.change == "attached":
        period = Period(
            scheduler=printable(event.name or "?"),
            ejections_before=state.ejections,
            stalls_before=state.stalls,
        )
        state.edit = replace(state.edit, period=period)


def _close(state: RunState) -> None:
    health = health_now(state)
    if health is not None:
        state.edit = replace(state.edit, period=None, closed=health)
        state.waits_ms = []


def health_now(state: RunState) -> Health | None:
    """How the scheduler that is loaded does; None when none is."""
    period = state.edit.period
    return None if period is None else period.health(state.waits_ms, state.ejections, state.stalls)


def newest_taken(state: RunState) -> Change | None:
    """The newest change of the scheduler that was taken."""
    return next((it for it in reversed(state.edit.changes) if it.outcome == "attached"), None)


def after_of(state: RunState, change: Change) -> Health | None:
    """How the scheduler of a change did, or does if it is the newest."""
    if change.after is not None or change is not newest_taken(state):
        return change.after
    return health_now(state) or state.edit.closed


def _build(state: RunState, event: ev.BuildChanged) -> None:
    before, known = state.edit, state.edit.build
    since = event.mono_ns
    if known is not None and known.number == event.build:
        since = known.since_mono_ns
    build = BuildState(
        number=event.build,
        phase=event.phase,
        command=printable(event.command),
        since_mono_ns=since,
        duration_ms=event.duration_ms,
        headline=printable(event.headline),
        log=tuple(map(printable, event.log)),
        path=event.path,
    )
    failed = event.phase == "failed"
    state.edit = replace(before, build=build, builds_failed=before.builds_failed + failed)
    log(state, event, "error" if failed else "info", "edit", _build_words(event))


def _build_words(event: ev.BuildChanged) -> str:
    took = f" after {event.duration_ms / 1e3:.1f} s" if event.duration_ms is not None else ""
    what = f"build {event.build} {event.phase}{took}"
    if event.phase == "started":
        of = f" ({', '.join(event.files)} saved)" if event.files else ""
        return f"{what}{of}: {event.command}"
    return f"{what}: {event.headline}" if event.headline else what


def note_swap(state: RunState, event: ev.SchedulerSwapped) -> None:
    """Keep what became of a new scheduler, and how the one before it did."""
    if event.op == "detach":
        return
    outcome, attached = event.outcome, isinstance(event.outcome, SwapAttached)
    headline, kept = "", tuple[str, ...]()
    if isinstance(outcome, SwapRejected | SwapFailed):
        headline, kept = printable(outcome.reason), tuple(map(printable, outcome.log))
    elif isinstance(outcome, SwapTimedOut):
        headline = "no answer from the guest"
    if attached:
        _end_newest(state)
        mark(state)
    change = Change(
        mono_ns=event.mono_ns,
        name=printable(event.name or event.replaces),
        outcome=outcome.result,
        headline=headline,
        log=kept,
        before=state.edit.closed if attached else None,
    )
    _add(state, change)


def _end_newest(state: RunState) -> None:
    """The scheduler before this one is the one of the newest change that was taken."""
    changes = state.edit.changes
    at = next((at for at in range(len(changes) - 1, -1, -1) if changes[at].outcome == "attached"), None)
    if at is not None and changes[at].after is None:
        ended = replace(changes[at], after=state.edit.closed)
        state.edit = replace(state.edit, changes=(*changes[:at], ended, *changes[at + 1 :]))


def _add(state: RunState, change: Change) -> None:
    before = state.edit
    state.edit = replace(
        before,
        changes=(*before.changes[-MAX_CHANGES + 1 :], change),
        changes_total=before.changes_total + 1,
        refused=before.refused + (change.outcome not in ("attached", "stored")),
    )


def _loaded(state: RunState, event: ev.BuildLoaded) -> None:
    changes, name = state.edit.changes, printable(event.name)
    known = changes[-1] if changes and changes[-1].build is None and not event.reason else None
    change = known or Change(
        mono_ns=event.mono_ns, name=name, outcome=event.result, headline=printable(event.reason)
    )
    change = replace(change, build=event.build, since_save_ms=event.since_save_ms, build_ms=event.build_ms)
    if known is None:
        _add(state, change)
    else:
        state.edit = replace(state.edit, changes=(*changes[:-1], change))
    taken = change.outcome in ("attached", "stored")
    log(state, event, "info" if taken else "error", "edit", change_words(change))


def mark(state: RunState) -> None:
    """Mark this moment on the time axis of the samples."""
    state.marks.append(state.samples)
    del state.marks[:-MAX_MARKS]


def change_words(change: Change) -> str:
    """A change of the scheduler as a line."""
    of = f" of build {change.build}" if change.build else ""
    took = "" if change.since_save_ms is None else f", {change.since_save_ms / 1e3:.1f} s after the save"
    match change.outcome:
        case "attached":
            return f"{change.name}{of} is loaded{took}"
        case "stored":
            return f"{change.name}{of} is loaded with the next step that needs it"
    why = f": {change.headline}" if change.headline else ""
    return f"{change.name}{of} was {'refused' if change.outcome == 'rejected' else 'not loaded'}{why}"


def _restarted(state: RunState, event: ev.GuestRestarted) -> None:
    _close(state)
    fresh = RunState()
    for name in _OF_ONE_BOOT:
        setattr(state, name, getattr(fresh, name))
    state.edit = replace(state.edit, boots=event.boot)
    mark(state)
    log(state, event, "info", "run", f"boot {event.boot}: {event.reason}")


_OF_ONE_BOOT = (
    "guest_ns", "phase", "boot_making", "boot_ms", "from_saved_boot", "typed_ms", "hz", "lifecycle", "lifecycle_reason",
    "step", "loading",
    "loading_since_mono_ns", "step_frozen_ns", "scenario_elapsed_ms", "workers", "worker_rates",
    "workers_mono_ns", "cpus", "scheduler", "task_rates", "task_list", "trace", "left_unasked", "restart_due",
    "ejected_sub", "jiffies",
    "verdict", "verdict_reasons", "verdict_since_mono_ns", "alerts", "not_attached", "watchpoints", "frozen",
    "frozen_for", "debugger",
    "frozen_since_mono_ns", "beats", "frames", "partial", "conclusion",
)  # fmt: skip
"""What a new boot begins afresh; captures, logs, histories and counts of the run stay."""

ARMS: Arms = {
    ev.BuildChanged: _build,
    ev.BuildLoaded: _loaded,
    ev.GuestRestarted: _restarted,
}
