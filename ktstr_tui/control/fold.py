"""How the control loop folds events into its state; one that no decision rests on only moves its number on.

The loop's own events come back with all others. What they say of a tick was folded at that tick already (see `tick`),
so here only what happened outside of it counts: what became of actions, who asked for what, holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ktstr_tui.control import backoff
from ktstr_tui.control.fold_actions import ACTION_ARMS
from ktstr_tui.control.phases import advance
from ktstr_tui.control.state import EarlyFacts, GuestFacts, LoadFacts, LoopState, SchedulerFacts
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold_run import LOADING_MARK
from ktstr_tui.model.plan import EARLY_SHARE, available_ms, periodic_boundaries_ms
from ktstr_tui.model.scheduler_swap import SwapRejected
from ktstr_tui.model.text import printable, runnable_for, shorten

_LINE_CHARACTERS = 120
_PARTIAL_CHARACTERS = 4096
MAX_SCHEDULERS = 16
"""Schedulers whose crashes are remembered."""


def fold(state: LoopState, event: ev.Event) -> None:
    """Apply ``event`` to ``state`` in place."""
    if event.seq:
        state.folded_seq = event.seq
    arm = _ARMS.get(type(event))
    if arm is not None:
        arm(state, event)


def fold_tick(state: LoopState, event: ev.Ticked, reads: Iterable[ev.ProbeRead | ev.ProbeFailed]) -> None:
    """Apply a tick, and what probes read for it, before anything is decided."""
    state.tick, state.now_ns = event.tick, event.now_ns
    state.frozen_ns, state.scenario_ns = event.frozen_ns, event.scenario_ns
    if state.hold is not None and state.hold.until_ns <= event.now_ns:
        state.hold = None
    state.cooldown = {kind: at for kind, at in state.cooldown.items() if at > event.now_ns}
    fold_probes(state, reads)
    advance(state)


def fold_probes(state: LoopState, reads: Iterable[ev.ProbeRead | ev.ProbeFailed]) -> None:
    """Merge what the probes of one tick read: a later one overwrites an earlier one's value of the same name.

    A value that no probe gave any more goes only when every probe answered and gave something, because a probe that
    failed, or saw nothing for once, has not seen that something is gone.
    """
    reads = list(reads)
    failed = [it for it in reads if isinstance(it, ev.ProbeFailed)]
    seen = [it for it in reads if isinstance(it, ev.ProbeRead)]
    for failure in failed:
        state.broken_probes[failure.probe] = failure.reason
    for read in seen:
        state.broken_probes.pop(read.probe, None)
        for name, values in state.probes.items():
            if name != read.probe:
                for key in read.values.keys() & values.keys():
                    del values[key]
        state.probes.setdefault(read.probe, {}).update(read.values)
    if seen and not failed and any(read.values for read in seen):
        for read in seen:
            kept = {key: value for key, value in state.probes[read.probe].items() if key in read.values}
            state.probes[read.probe] = kept


def _loop_started(state: LoopState, event: ev.LoopStarted) -> None:
    state.run_epoch_id, state.plan = event.run_epoch_id, event.plan


def _ready(state: LoopState, event: ev.GuestReady) -> None:
    state.guest.ready_ns, state.guest.ready_frozen_ns = event.mono_ns, state.frozen_ns


def _typed(state: LoopState, event: ev.KernelTyped) -> None:
    state.guest.typed = True


def _ended(state: LoopState, event: ev.RunEnded) -> None:
    state.guest.over = True


def _frozen(state: LoopState, event: ev.Frozen) -> None:
    guest = state.guest
    guest.frozen, guest.frozen_since_ns = event.reason, event.mono_ns
    guest.attended_ns = event.mono_ns
    guest.frozen_for, guest.freezer_gone = event.viewer, False
    guest.in_debugger = event.debugger


def _thawed(state: LoopState, event: ev.Thawed) -> None:
    state.guest.frozen, state.guest.frozen_for = None, ""


def _beat(state: LoopState, event: ev.BackendBeat) -> None:
    state.guest.viewers, state.guest.freezer_gone = event.viewers, event.freezer_gone
    if event.viewers:
        state.guest.attended_ns = event.mono_ns


def _scenario(state: LoopState, event: ev.ScenarioChanged) -> None:
    if event.state == "ended":
        state.periodic.closed = True
    elif event.state == "started":
        plan, guest = state.plan, state.guest
        gone_ms = None if guest.ready_ns is None else (event.mono_ns - guest.ready_ns) / 1e6
        avail_ms = available_ms(plan.scenario_ms, plan.duration_s, gone_ms)
        state.periodic.due_ms = periodic_boundaries_ms(avail_ms, plan.periodic)


def _output(state: LoopState, event: ev.OutputText) -> None:
    if event.stream != "sched_log":
        return
    load = state.load
    *lines, rest = (load.partial + printable(event.text)).split("\n")
    load.partial = rest[-_PARTIAL_CHARACTERS:]
    for line in lines:
        marked = LOADING_MARK.fullmatch(line)
        if marked and marked[1] == "begin":
            state.load = load = LoadFacts(
                name=marked[2], since_ns=event.mono_ns, idle_ns=state.frozen_ns, partial=load.partial
            )
            state.loaded = marked[2]
        elif marked:
            load.name = ""
        elif line.strip() and not line.startswith("--- "):
            load.line = shorten(line.strip(), _LINE_CHARACTERS)


def _step(state: LoopState, event: ev.StepStarted) -> None:
    state.load.name = ""


def _swapped(state: LoopState, event: ev.SchedulerSwapped) -> None:
    state.load.name = ""
    if event.op == "replace" and isinstance(event.outcome, SwapRejected):
        # What was ejected meanwhile is the one that the kernel refused, and not the one that is attached again.
        for facts in state.schedulers.values():
            backoff.reset(facts)


def _host_stood(state: LoopState, event: ev.HostStood) -> None:
    # Taken off the begin of the stretch that counts, as if the guest had stood less before it.
    state.load.idle_ns -= max(0, event.end_ns - max(event.start_ns, state.load.since_ns))


def _lifecycle(state: LoopState, event: ev.LifecycleChanged) -> None:
    if event.phase in ("SchedulerDied", "SchedulerNotAttached"):
        state.load.name = ""


def _sampled(state: LoopState, event: ev.Sampled) -> None:
    seen = event.sample.scheduler
    state.load.enabling = seen.state == "enabling"
    if not state.plan.early or seen.name is None or seen.unreadable is not None:
        return
    early = state.early
    if (seen.name, seen.enable_seq) != (early.scheduler, early.enable_seq):
        state.early = early = EarlyFacts(scheduler=seen.name, enable_seq=seen.enable_seq)
    elif seen.is_leaving(early.sub):
        state.early = early = EarlyFacts(
            scheduler=early.scheduler, enable_seq=early.enable_seq, threshold_ms=early.threshold_ms
        )
    timeout_ms = seen.oldest_timeout_ms
    if timeout_ms:
        early.threshold_ms = EARLY_SHARE * float(timeout_ms)
    oldest = seen.oldest_runnable
    if oldest is None or early.asked or early.threshold_ms is None or seen.exit_kind:
        return
    if oldest.age_ms > early.threshold_ms and not seen.is_leaving(oldest.sub):
        early.sub = oldest.sub
        waits = runnable_for(oldest.comm, oldest.pid, oldest.age_ms)
        early.due = f"{waits}, past {early.threshold_ms / 1000:g} s"


def _scheduler(state: LoopState, event: ev.SchedulerChanged) -> None:
    if event.cgroup is not None:
        return
    if event.change in ("exiting", "ejected", "detached"):
        state.early.due = ""
    name = state.loaded or event.name or ""
    if event.change == "attached":
        state.load.name = ""
    if not name or (name not in state.schedulers and len(state.schedulers) >= MAX_SCHEDULERS):
        return
    facts = state.schedulers.setdefault(name, SchedulerFacts())
    if event.change == "attached":
        facts.attached_ns = event.mono_ns
    elif event.change == "ejected":
        backoff.crashed(facts, event.mono_ns)
    elif event.change in ("exiting", "detached"):
        facts.attached_ns = None


def _restarted(state: LoopState, event: ev.GuestRestarted) -> None:
    state.guest = GuestFacts(viewers=state.guest.viewers, attended_ns=event.mono_ns)
    state.load, state.early = LoadFacts(), EarlyFacts()


_ARMS: dict[type, Callable[[LoopState, Any], None]] = {
    ev.LoopStarted: _loop_started,
    ev.GuestReady: _ready,
    ev.KernelTyped: _typed,
    ev.RunEnded: _ended,
    ev.Frozen: _frozen,
    ev.Thawed: _thawed,
    ev.BackendBeat: _beat,
    ev.ScenarioChanged: _scenario,
    ev.OutputText: _output,
    ev.StepStarted: _step,
    ev.HostStood: _host_stood,
    ev.SchedulerSwapped: _swapped,
    ev.LifecycleChanged: _lifecycle,
    ev.Sampled: _sampled,
    ev.SchedulerChanged: _scheduler,
    ev.GuestRestarted: _restarted,
    **ACTION_ARMS,
}
