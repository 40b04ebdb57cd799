"""Arms of the fold: how far the run has come, what it says, and what its program counts.

Output comes in pieces that end anywhere. A line is whole only when its newline has come; what came before that waits,
by stream, in ``partial``. A line without an end is cut into lines of bounded length, so that what waits is bounded.
"""

from __future__ import annotations

import re

from ktstr_tui.model import events as ev
from ktstr_tui.model.compared import compared_words
from ktstr_tui.model.fold_keep import Arms, log, push
from ktstr_tui.model.kinds import GuestPhase
from ktstr_tui.model.state import MAX_LINE_CHARS, MAX_LOG_LINES, Ending, LogLine, RunState, StepState
from ktstr_tui.model.text import counted, printable

LOADING_MARK = re.compile(r"--- (begin|end) (.*?)(?:: exit code -?\d+)? ---")
"""What the guest program writes into a scheduler's log when it starts its program, and when that has ended."""

PHASE_WORDS: dict[GuestPhase, str] = {
    "InitStarted": "init started",
    "PayloadStarting": "workload starting",
    "SchedulerDied": "scheduler died",
    "SchedulerNotAttached": "scheduler did not attach",
}
"""Phases of the guest program, as the log names them."""
_OF_SIGNAL = "died of signal"
"""The guest program says so of a scheduler's program that crashed."""


def _run_started(state: RunState, event: ev.RunStarted) -> None:
    state.info = event.info
    state.kernel_release = event.info.kernel
    state.started_mono_ns = event.mono_ns
    state.restored_from = event.info.restored_from
    info = event.info
    text = f"{info.name}: {info.kernel} on {info.accelerator_reason or info.accelerator}, {info.topology}"
    log(state, event, "info", "run", text)


def _guest_ready(state: RunState, event: ev.GuestReady) -> None:
    state.phase = "up"
    state.boot_ms = event.boot_ms
    state.from_saved_boot = event.from_saved_boot
    how = ", from a saved boot" if event.from_saved_boot else ""
    log(state, event, "info", "guest", f"up after {event.boot_ms:.0f} ms{how}")


def _restored(state: RunState, event: ev.GuestRestored) -> None:
    state.restored_from = event.snapshot
    words = {
        "filling": f"restoring {event.snapshot}: {counted(event.pages_left, 'page')} of memory to fill",
        "filled": f"{counted(event.pages, 'page')} of memory filled",
        "loaded": "QEMU has loaded its state",
        "typed": "its memory is readable by type",
        "frozen": "the guest is restored and stays frozen until it is thawed",
        "loading": f"{counted(event.pages_left, 'page')} of memory left to load",
        "resident": "all memory is loaded",
        "running": "it runs; it does not repeat history exactly, as a rerun of a run with a seed does",
    }
    log(state, event, "info", "restore", f"{words[event.phase]} ({event.took_ms:.0f} ms)")


def _kernel_typed(state: RunState, event: ev.KernelTyped) -> None:
    state.kernel_release = event.release
    state.hz = event.hz
    state.typed_ms = event.typed_ms
    text = f"BTF loaded: {event.btf_types} types in {event.typed_ms:.0f} ms, HZ {event.hz}"
    log(state, event, "info", "kernel", text)


def _lifecycle(state: RunState, event: ev.LifecycleChanged) -> None:
    if event.phase == "SchedulerDied" and state.info is not None and state.info.schedulers == ():
        log(
            state,
            event,
            "warning",
            "guest",
            "the guest claims that a scheduler was ejected, and was given none",
        )
        return
    state.lifecycle = event.phase
    if event.phase in ("SchedulerDied", "SchedulerNotAttached"):
        state.loading = ""
    state.lifecycle_reason = event.reason
    if event.phase == "SchedulerDied":
        _died(state, event)
        if state.left_unasked and _OF_SIGNAL in event.reason:
            state.last_ejection = f"{state.last_ejection}; {printable(event.reason)}"
    bad = event.phase in ("SchedulerDied", "SchedulerNotAttached")
    name = PHASE_WORDS[event.phase]
    text = f"{name}: {event.reason}" if event.reason else name
    log(state, event, "error" if bad else "info", "guest", text)


def _died(state: RunState, event: ev.LifecycleChanged) -> None:
    """Count an ejection that only the guest program has noticed; the kernel's memory may still show it later."""
    state.restart_due = ""  # the guest program waited, and it did not attach again
    state.deaths += 1
    if state.deaths > state.ejections - state.restarts:
        state.ejections += 1
        state.deaths_unseen += 1
        reason = f": {printable(event.reason)}" if event.reason else ""
        state.last_ejection = (
            f"a scheduler was ejected{reason} (reported by the guest alone, without a capture)"
        )


def _scenario(state: RunState, event: ev.ScenarioChanged) -> None:
    state.scenario_elapsed_ms = event.elapsed_ms
    if event.total_iterations:
        state.total_iterations = event.total_iterations
    state.phase = "finished" if event.state == "ended" else "running"
    log(state, event, "info", "scenario", event.state)


def _step(state: RunState, event: ev.StepStarted) -> None:
    state.phase = "running"
    state.loading = ""  # a step begins when its scheduler has attached
    state.step = StepState(
        index=event.index,
        name=event.name,
        scheduler=event.scheduler,
        started_mono_ns=event.mono_ns,
        elapsed_ms=event.elapsed_ms,
    )
    state.step_frozen_ns = 0
    state.scenario_elapsed_ms = event.elapsed_ms
    state.total_iterations = event.total_iterations
    of = f"/{len(state.info.steps)}" if state.info is not None and event.index < len(state.info.steps) else ""
    workers = counted(event.worker_count, "worker")
    text = f"step {event.index + 1}{of} {event.name}: scheduler {event.scheduler}, {workers}"
    log(state, event, "info", "scenario", text)


def _frames(state: RunState, event: ev.FramesCounted) -> None:
    state.frames = event.counters


def _drops(state: RunState, event: ev.DropsCounted) -> None:
    state.drops = dict(event.drops)


def _output(state: RunState, event: ev.OutputText) -> None:
    text = state.partial.pop(event.stream, "") + printable(event.text)
    *lines, rest = text.split("\n")
    if len(rest) > MAX_LINE_CHARS:
        full = len(rest) // MAX_LINE_CHARS * MAX_LINE_CHARS
        lines, rest = [*lines, rest[:full]], rest[full:]
    if rest:
        state.partial[event.stream] = rest
    for line in lines:
        if event.stream == "sched_log" and (marked := LOADING_MARK.fullmatch(line)):
            state.loading = marked[2] if marked[1] == "begin" else ""
            state.loading_since_mono_ns = event.mono_ns
        for start in range(0, max(1, len(line)), MAX_LINE_CHARS):
            entry = LogLine(event.mono_ns, "info", event.stream, line[start : start + MAX_LINE_CHARS])
            push(state, "output", state.output, entry, MAX_LOG_LINES)


def _workers(state: RunState, event: ev.WorkersReported) -> None:
    before = {worker.pid: worker.iterations for worker in state.workers}
    seconds = (event.mono_ns - state.workers_mono_ns) / 1e9
    state.worker_rates = {
        worker.pid: (worker.iterations - before[worker.pid]) / seconds
        for worker in event.workers
        if seconds > 0 and worker.iterations >= before.get(worker.pid, worker.iterations + 1)
    }
    state.workers = event.workers
    state.workers_mono_ns = event.mono_ns


def _logged(state: RunState, event: ev.Logged) -> None:
    log(state, event, event.severity, event.source, event.text)


def _beat(state: RunState, event: ev.BackendBeat) -> None:
    state.samples_missed = event.samples_missed
    state.frozen_total_ms = event.frozen_total_ms
    state.viewers = event.viewers


def _concluded(state: RunState, event: ev.RunConcluded) -> None:
    state.conclusion = event
    if event.results:
        kinds = ", ".join(f"{count} {kind}" for kind, count in event.results.items())
        where = f", kept in {event.results_path}" if event.results_path else ""
        log(state, event, "info", "guest", f"results: {kinds}{where}")


def _boot_making(state: RunState, event: ev.BootMaking) -> None:
    state.boot_making = event


def _compared(state: RunState, event: ev.RunCompared) -> None:
    state.compared = event
    log(state, event, "info", "seed", compared_words(event))


def _ended(state: RunState, event: ev.RunEnded) -> None:
    state.not_attached = event.not_attached
    state.phase = "ended"
    state.frozen, state.frozen_for, state.loading, state.debugger = None, "", "", ""
    state.ended = Ending(
        exit_code=event.exit_code,
        reason=printable(event.reason),
        fault=event.fault,
        hint=event.hint,
        console_tail=tuple(printable(line) for line in event.console_tail),
        mono_ns=event.mono_ns,
        early=event.early,
    )
    severity: ev.Severity = "info" if event.exit_code == 0 else "error"
    log(state, event, severity, "run", f"ended with exit code {event.exit_code}: {event.reason}")


ARMS: Arms = {
    ev.RunStarted: _run_started,
    ev.GuestReady: _guest_ready,
    ev.KernelTyped: _kernel_typed,
    ev.GuestRestored: _restored,
    ev.LifecycleChanged: _lifecycle,
    ev.ScenarioChanged: _scenario,
    ev.StepStarted: _step,
    ev.FramesCounted: _frames,
    ev.DropsCounted: _drops,
    ev.OutputText: _output,
    ev.WorkersReported: _workers,
    ev.Logged: _logged,
    ev.BackendBeat: _beat,
    ev.RunConcluded: _concluded,
    ev.BootMaking: _boot_making,
    ev.RunCompared: _compared,
    ev.RunEnded: _ended,
}
