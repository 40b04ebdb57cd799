"""Arms of the fold: what samples tell of CPUs and of the scheduler, and what is made of it.

Histories are rings without a time of their own: one entry for every sample, None where there was nothing to read, so
that a gap is drawn as a gap. How busy a vCPU was is its thread's share of host CPU time, which takes two samples to
know, so it is None at the first. Where one thread emulates all vCPUs in turn, it is the share of the last looks at
which the CPU was not idle. In a run with a seed each vCPU's instructions are counted, but time is the sum of all: of
two that always have work each has half. There it is the share of time that the kernel's trace has of it, without its
idle task; looks are the substitute, for they come at round instants of the guest's own time, as its timers do.
"""

from __future__ import annotations

from collections.abc import Sequence

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold_edit import note_change, note_sample
from ktstr_tui.model.fold_keep import Arms, log, push, ring
from ktstr_tui.model.host import HOST_ALERT_KEY, HostStretch, pressure_words
from ktstr_tui.model.report import EXIT_CODE_RESTART, exit_kind_name
from ktstr_tui.model.sample import OFFLINE, CpuSample
from ktstr_tui.model.state import (
    MAX_ALERTS_TOLD,
    MAX_STRETCHES,
    AlertState,
    AlertTold,
    CpuState,
    RunState,
)
from ktstr_tui.model.tasks import MAX_LISTED, TaskList
from ktstr_tui.model.text import printable
from ktstr_tui.model.trace_block import MAX_KEPT_BLOCKS, MAX_KEPT_BYTES

LOOKS = 10
"""A new look at a vCPU without a thread of its own weighs one of so many: a second of them by default."""
STALL = "ERROR_STALL"
"""The exit kind that is about a task that waited."""
UNREG_KERN = "UNREG_KERN"
"""The exit kind of a scheduler that the kernel itself takes away, as it does when a CPU comes or goes."""
CHANGE_WORDS = {"process-exit": "process exited"}
"""Changes of a scheduler whose name is not a word."""


def _busy(before: CpuState, sample: CpuSample, mono_ns: int) -> float | None:
    if sample.vcpu_cpu_time_ns is None or before.latest.vcpu_cpu_time_ns is None:
        return None
    wall = mono_ns - before.last_mono_ns
    used = sample.vcpu_cpu_time_ns - before.latest.vcpu_cpu_time_ns
    return min(1.0, max(0.0, used / wall)) if wall > 0 else None


def _looked_busy(before: Sequence[float | None], sample: CpuSample) -> float | None:
    """Return how often a CPU was not idle when looked at; the newest looks weigh most. None without any."""
    last = next((share for share in reversed(before) if share is not None), None)
    if sample.unreadable is not None:
        return last
    now = float(bool(sample.nr_running) and sample.idle is not True)
    return now if last is None else last + (now - last) / LOOKS


def _in_turn(state: RunState, before: CpuState, sample: CpuSample) -> float | None:
    """How busy a vCPU was that takes turns with others."""
    rates = state.task_rates if _seeded(state) else None
    measured = None
    if rates is not None and rates.unavailable is None and sample.unreadable is None:
        measured = next((it.busy_share for it in rates.cpus if it.cpu == sample.cpu), None)
    return _looked_busy(before.busy_history, sample) if measured is None else measured


def _seeded(state: RunState) -> bool:
    return state.info is not None and state.info.seed is not None


def _measured(state: RunState, event: ev.TasksMeasured) -> None:
    state.task_rates = event.rates


def _sampled(state: RunState, event: ev.Sampled) -> None:
    sample = event.sample
    state.samples += 1
    state.retries += sample.retries
    state.torn += sample.torn
    state.read_us = sample.read_us
    state.jiffies = sample.jiffies
    if sample.guest_ns is not None:
        state.guest_ns = sample.guest_ns
    mono_ns, whole = event.mono_ns, True
    in_turn = sample.shared_cpu_time_ns is not None or (_seeded(state) and len(sample.cpus) > 1)
    for cpu in sample.cpus:
        before, unreadable = state.cpus.get(cpu.cpu), cpu.unreadable
        if before is None:
            before = state.cpus[cpu.cpu] = CpuState(latest=cpu, last_mono_ns=mono_ns)
        busy = _in_turn(state, before, cpu) if in_turn else _busy(before, cpu, mono_ns)
        before.latest = cpu
        before.last_mono_ns = mono_ns
        ring(before.nr_running_history, None if unreadable else cpu.nr_running)
        ring(before.busy_history, None if unreadable == OFFLINE else busy)
        whole = whole and (not unreadable or unreadable == OFFLINE)
    state.scheduler = sample.scheduler
    note_sample(state, event)
    if sample.scheduler.unreadable or not whole:
        state.samples_unreadable += 1
    oldest = sample.scheduler.oldest_runnable
    ring(
        state.runnable_age_history, None if sample.scheduler.unreadable else oldest.age_ms if oldest else 0.0
    )


def _listed(state: RunState, event: ev.TasksListed) -> None:
    known = state.task_list
    tasks = {} if known is None or event.fresh else dict(known.tasks)
    for pid in event.gone:
        tasks.pop(pid, None)
    for task in event.tasks:
        if task.pid in tasks or len(tasks) < MAX_LISTED:
            tasks[task.pid] = task
    state.task_list = TaskList(
        tasks=tasks,
        mono_ns=event.mono_ns,
        more=event.more if event.unreadable is None or known is None else known.more,
        read_us=event.read_us,
        unreadable=event.unreadable,
    )


def _values(state: RunState, event: ev.SchedulerValuesRead) -> None:
    state.scheduler_values_before, state.scheduler_values = state.scheduler_values, event.values


def _traced(state: RunState, event: ev.TraceRead) -> None:
    trace = state.trace
    trace.append(event.block)
    size = sum(len(it.data) for it in trace)
    while len(trace) > 1 and (size > MAX_KEPT_BYTES or len(trace) > MAX_KEPT_BLOCKS):
        size -= len(trace.pop(0).data)
        state.forgotten["trace"] = state.forgotten.get("trace", 0) + 1


def _scheduler(state: RunState, event: ev.SchedulerChanged) -> None:
    word = event.exit_kind_name or exit_kind_name(event.exit_kind)
    kind = f": {word}" if event.exit_kind is not None else ""
    detail = f" ({event.detail})" if event.detail else ""
    who = (event.name or "scheduler") + (f" ({printable(event.cgroup)})" if event.cgroup else "")
    change = f"{who} {CHANGE_WORDS.get(event.change, event.change)}{kind}"
    # What follows an exit only completes it; the reason is what stays of interest.
    if event.change in ("attached", "exiting", "ejected") or not state.last_change:
        state.last_change = change
    if event.change == "ejected":
        on_trial = event.cgroup is None and state.trial == (event.name or "")
        state.trial_ejections += on_trial
        # It may be one that the guest program has reported already.
        state.ejections += not on_trial and not state.deaths_unseen
        state.deaths_unseen = max(0, state.deaths_unseen - 1)
        state.stalls += word == STALL
        name = f'scheduler "{event.name or "?"}"'
        name = f"sub-{name} of {printable(event.cgroup)}" if event.cgroup else name
        state.last_ejection = f"{name} was ejected{kind}"
        state.ejected_sub = event.cgroup or ""
        state.ejected_by_kernel = word == UNREG_KERN
    severity: ev.Severity = "error" if event.change == "ejected" else "info"
    log(state, event, severity, "scheduler", change + detail)
    note_change(state, event)
    if event.cgroup is None:
        _try_out(state, event)
        _restart(state, event)
    elif event.change == "detached" and state.ejected_sub == event.cgroup:
        state.ejected_sub = ""
        _complete(state, event)


def _try_out(state: RunState, event: ev.SchedulerChanged) -> None:
    """Note the scheduler that somebody has attached: until the guest says how that went, it may still be refused."""
    changing = not {"attach", "replace"}.isdisjoint(state.control.open.values())
    if event.change == "attached" and state.trial is None and changing:
        state.trial = event.name or ""


def _complete(state: RunState, event: ev.SchedulerChanged) -> None:
    """Add what the kernel wrote after the ejection."""
    told = [event.message] if event.message else []
    told += [f"exit code {event.exit_code:#x}"] if event.exit_code else []
    if told:
        state.last_ejection = f"{state.last_ejection}: {printable(', '.join(told))}"


def _restart(state: RunState, event: ev.SchedulerChanged) -> None:
    """Follow a scheduler that the kernel ejects and asks to attach again."""
    if event.change == "attached":
        state.loading = ""
        if state.restart_due and state.restart_due == event.name:
            state.restarts += 1
            text = f"{event.name} attached again, as the kernel had asked"
            log(state, event, "info", "scheduler", text)
        state.restart_due = ""
        state.left_unasked = False
    elif event.change in ("exiting", "ejected"):
        state.left_unasked = event.change == "ejected"
    elif event.change == "detached" and state.left_unasked:
        if not state.ejected_sub:
            _complete(state, event)
        if (event.exit_code or 0) & EXIT_CODE_RESTART:
            state.restart_due = event.name or ""


def _health(state: RunState, event: ev.HealthChanged) -> None:
    if state.verdict_since_mono_ns:
        spent_ns = event.mono_ns - state.verdict_since_mono_ns
        state.verdict_ns[state.verdict] = state.verdict_ns.get(state.verdict, 0) + spent_ns
    state.verdict_since_mono_ns = event.mono_ns
    state.verdict = event.verdict
    state.verdict_reasons = event.reasons
    severity: ev.Severity = {"ok": "info", "stalled": "error"}.get(event.verdict, "warning")  # type: ignore[assignment]
    because = f": {'; '.join(event.reasons)}" if event.reasons else ""
    log(state, event, severity, "health", event.verdict + because)


def _stood(state: RunState, event: ev.HostStood) -> None:
    stretch = HostStretch(
        start_ns=event.start_ns, end_ns=event.end_ns, reason=event.reason, pressure=event.pressure
    )
    push(state, "host_stood", state.host_stood, stretch, MAX_STRETCHES)
    if HOST_ALERT_KEY in state.alerts:
        return  # the alert tells of all its stretches, which may be many
    length = f"{(event.end_ns - event.start_ns) / 1e9:.1f} s"
    text = f"the guest got no CPU for {length}: {event.reason} ({pressure_words(event.pressure)})"
    log(state, event, "warning", "host", text)


def _alert(state: RunState, event: ev.AlertRaised) -> None:
    standing = state.alerts.get(event.key)
    if standing is None:
        if event.kind != "silence":  # the events of heartbeats log it already
            log(state, event, event.severity, "alert", event.text)
        if event.kind == "stall":
            state.stalls += 1
    _told(state, event, standing is None)
    state.alerts[event.key] = AlertState(
        key=event.key,
        kind=event.kind,
        severity=event.severity,
        text=printable(event.text),
        since_mono_ns=standing.since_mono_ns if standing else event.mono_ns,
        cpu=event.cpu,
        pid=event.pid,
        capture=event.capture,
    )


def _told(state: RunState, event: ev.AlertRaised, is_new: bool) -> None:
    """Keep what an alert said for the summary of the run: the newest text of its worst severity."""
    before = state.alerts_told.get(event.key)
    if before is None:
        if len(state.alerts_told) >= MAX_ALERTS_TOLD:
            state.forgotten["alerts_told"] = state.forgotten.get("alerts_told", 0) + 1
            return
        before = AlertTold(
            key=event.key, kind=event.kind, severity=event.severity, text=printable(event.text), count=0
        )
    is_worst = before.severity != "error" or event.severity == "error"
    state.alerts_told[event.key] = AlertTold(
        key=event.key,
        kind=event.kind,
        severity=event.severity if is_worst else before.severity,
        text=printable(event.text) if is_worst else before.text,
        count=before.count + is_new,
    )


def _alert_cleared(state: RunState, event: ev.AlertCleared) -> None:
    gone = state.alerts.pop(event.key, None)
    if gone is not None and event.kind != "silence":  # the events of heartbeats log it already
        log(state, event, "info", "alert", f"cleared: {gone.text}")


ARMS: Arms = {
    ev.Sampled: _sampled,
    ev.TasksMeasured: _measured,
    ev.TasksListed: _listed,
    ev.TraceRead: _traced,
    ev.SchedulerValuesRead: _values,
    ev.SchedulerChanged: _scheduler,
    ev.HealthChanged: _health,
    ev.HostStood: _stood,
    ev.AlertRaised: _alert,
    ev.AlertCleared: _alert_cleared,
}
