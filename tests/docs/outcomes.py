"""Every kind of run with its exit code, verdict and words: a table for docs/reference.md, and cases for a test."""

from __future__ import annotations

from typing import NamedTuple

from ktstr_tui.model import errors
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.host import HostPressure
from ktstr_tui.model.kinds import RunVerdict
from ktstr_tui.model.report import EXIT_CODE_RESTART, CaptureReport
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.model.state import RunState
from ktstr_tui.model.verdict import end_reason, exit_code
from tests.docs.markdown import code, table

_S = 1_000_000_000


class Case(NamedTuple):
    """One kind of run: what happened in it and what is said of it."""

    kind: str
    exit_code: int
    verdict: RunVerdict
    words: str
    """Part of the summary's ``end_reason``."""
    events: tuple[ev.Event, ...] = ()
    error: errors.KtstrError | None = None
    not_attached: str = ""


def _change(word: ev.SchedulerChange, kind: int | None = None, name: str = "", code: int = 0) -> ev.Event:
    message = "cpu 1 going offline" if code else None
    return ev.SchedulerChanged(
        change=word, name="mine", exit_kind=kind, exit_kind_name=name, exit_code=code, message=message
    )


def _ejected(kind: int, name: str) -> tuple[ev.Event, ...]:
    return (_OK, _change("attached"), _change("ejected", kind, name))


def _capture() -> ev.Event:
    task = RunnableTask(pid=7, comm="spin", age_ms=3000.0, cpu=0)
    report = CaptureReport(tag="error-001", trigger="error", exit_kind=1026, mono_ns=60 * _S, stalled=task)
    return ev.CaptureTaken(report=report)


_OK = ev.HealthChanged(verdict="ok", mono_ns=_S)
_BAD = ev.HealthChanged(verdict="degraded", mono_ns=2 * _S)
_QUIET = HostPressure(steal=0.0, cpu=0.02, memory=0.0)
_STOOD = ev.HostStood(start_ns=57 * _S, end_ns=60 * _S, reason="QEMU was stopped", pressure=_QUIET)
_STALL = (*_ejected(1026, "ERROR_STALL"), _capture())
_RESTART = (*_ejected(66, "UNREG_KERN"), _change("detached", code=EXIT_CODE_RESTART))
OUTCOMES = (
    Case("the scenario ended, all was well", 0, "ok", "scenario finished", (_OK,)),
    Case("ended by a person, a signal or `--duration`", 0, "ok", "scenario finished", (_OK,)),
    Case("degraded or stalled for most of the time", 0, "degraded", "scenario finished", (_OK, _BAD)),
    Case("never sampled (`--sample-hz 0`)", 0, "inconclusive", "scenario finished"),
    Case("the scenario ended its scheduler", 0, "ok", "", (_OK, _change("attached"), _change("exiting", 64))),
    Case(
        "ejected (UNREG_KERN), attached again as the kernel had asked",
        0,
        "ok",
        "1 restart that the kernel had asked for",
        (*_RESTART, _change("attached")),
    ),
    Case("asked by the kernel to attach again, and did not", 1, "ejected", "going offline", _RESTART),
    Case("a task waited for too long", 1, "ejected", "was ejected: ERROR_STALL", _STALL),
    Case("an error of the scheduler", 1, "ejected", "was ejected: ERROR", _ejected(1024, "ERROR")),
    Case("`scx_bpf_error()`", 1, "ejected", "was ejected: ERROR_BPF", _ejected(1025, "ERROR_BPF")),
    Case("`scx_bpf_exit()`", 1, "ejected", "was ejected: UNREG_BPF", _ejected(65, "UNREG_BPF")),
    Case(
        "ejected, which only the guest program noticed",
        1,
        "ejected",
        "reported by the guest alone",
        (_OK, ev.LifecycleChanged(phase="SchedulerDied", reason="mine: runnable task stall")),
    ),
    Case("SysRq-S", 1, "ejected", "was ejected: SYSRQ", _ejected(67, "SYSRQ")),
    Case("its parent went", 1, "ejected", "was ejected: PARENT", _ejected(68, "PARENT")),
    Case("its program crashed or ended by itself", 1, "ejected", "was ejected: UNREG", _ejected(64, "UNREG")),
    Case(
        "a task waited for too long, but the host stood still meanwhile",
        5,
        "inconclusive",
        "inconclusive: the host gave the guest no CPU for 3.0 s of the 3.0 s wait: QEMU was stopped",
        (*_STALL, _STOOD),
    ),
    Case(
        "a scheduler was still being loaded at the end of `--duration`",
        5,
        "inconclusive",
        "mine was still being loaded and had not attached",
        (),
        None,
        "mine",
    ),
    Case("the scheduler was not accepted", 2, "failed", "", (), errors.SchedulerRejectedError("refused")),
    Case("this host cannot run the guest", 3, "failed", "", (), errors.HostError("no QEMU")),
    Case("the guest panicked, hung, or never came up", 4, "failed", "", (_OK,), errors.GuestError("panic")),
    Case(
        "the guest failed after an ejection", 4, "failed", "ERROR_STALL", _STALL, errors.GuestError("panic")
    ),
    Case("a defect of this program", 70, "failed", "", (), errors.InternalError("defect")),
)


def ended(case: Case) -> RunState:
    """The state at the end of such a run."""
    state = RunState()
    for event in case.events:
        fold(state, event)
    error = case.error
    reason = error.message if error else "scenario finished"
    fold(
        state,
        ev.RunEnded(
            exit_code=exit_code(state, error.exit_code if error else None, case.not_attached),
            reason=end_reason(state, reason, case.not_attached),
            fault=error.fault if error else "",
            not_attached=case.not_attached,
            mono_ns=61 * _S,
        ),
    )
    return state


def outcomes() -> str:
    """The table: what a test has proved of `OUTCOMES`."""
    rows = ((case.kind, str(case.exit_code), code(case.verdict), _words(case)) for case in OUTCOMES)
    return table(("what happened", "exit code", "`verdict`", "`end_reason` says"), rows)


def _words(case: Case) -> str:
    found = ended(case).ended
    return found.reason if found is not None else ""
