"""Every kind of run with its exit code, verdict and words: a table for docs/reference.md, and cases for a test."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ktstr_tui.backend.guestwatch import stuck_error
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.model import end_words, errors
from ktstr_tui.model import events as ev
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.fold import fold
from ktstr_tui.model.host import HostPressure
from ktstr_tui.model.kinds import RunVerdict
from ktstr_tui.model.report import EXIT_CODE_RESTART, CaptureReport
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.model.state import RunState
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
    """What ended the run; None when it ended as asked."""
    not_attached: str = ""
    """The scheduler that the scenario waited for when the time was over."""
    asked: Asked | None = None
    """Who asked for the end; None for the scenario."""


class Asked(NamedTuple):
    """An end that somebody asked for."""

    reason: str
    out_of_time: bool = False


def _change(
    word: ev.SchedulerChange,
    kind: int | None = None,
    name: str = "",
    code: int = 0,
    cgroup: str | None = None,
) -> ev.Event:
    message = "cpu 1 going offline" if code else None
    return ev.SchedulerChanged(
        change=word,
        name="mine" if cgroup is None else "below",
        exit_kind=kind,
        exit_kind_name=name,
        exit_code=code,
        message=message,
        cgroup=cgroup,
    )


def _ejected(kind: int, name: str) -> tuple[ev.Event, ...]:
    return (_OK, _change("attached"), _change("ejected", kind, name))


def _sub_ejected(kind: int, name: str) -> tuple[ev.Event, ...]:
    below = (_change("attached", cgroup="/db"), _change("ejected", kind, name, cgroup="/db"))
    return (_OK, _change("attached"), *below)


def _capture() -> ev.Event:
    task = RunnableTask(pid=7, comm="spin", age_ms=3000.0, cpu=0)
    report = CaptureReport(tag="error-001", trigger="error", exit_kind=1026, mono_ns=60 * _S, stalled=task)
    return ev.CaptureTaken(report=report)


_INFO = RunInfo(
    name="run",
    run_id="0",
    kernel="7.2",
    kernel_path="vmlinuz",
    accelerator="kvm",
    accelerator_reason="",
    topology="1n1l2c1t",
    memory_bytes=1 << 29,
    scenario="steady",
    scheduler="mine",
)
_STARTED = ev.RunStarted(info=_INFO)
_OK = ev.HealthChanged(verdict="ok", mono_ns=_S)
_BAD = ev.HealthChanged(verdict="degraded", mono_ns=2 * _S)
_QUIET = HostPressure(steal=0.0, cpu=0.02, memory=0.0)
_STOOD = ev.HostStood(start_ns=57 * _S, end_ns=60 * _S, reason="QEMU was stopped", pressure=_QUIET)
_TIME = Asked(end_words.duration_reached(90), out_of_time=True)
_VIEWER, _SCREEN = Asked(end_words.ended_by_viewer("ada@host")), Asked(end_words.ended_by_signal(""))
_SIGNAL, _UNSEEN = Asked(end_words.ended_by_signal("SIGTERM")), Asked(end_words.SCREEN_GONE)
_STALL = (*_ejected(1026, "ERROR_STALL"), _capture())
_RESTART = (*_ejected(66, "UNREG_KERN"), _change("detached", code=EXIT_CODE_RESTART))
OUTCOMES = (
    Case("the scenario ended, all was well", 0, "ok", "scenario finished", (_OK,)),
    Case("`--duration` was over", 0, "ok", "duration of 90 s reached", (_OK,), asked=_TIME),
    Case("a person or program ended it", 0, "ok", "ended by ada@host", (_OK,), asked=_VIEWER),
    Case("ended on its screen", 0, "ok", "ended from the screen", (_OK,), asked=_SCREEN),
    Case("ended by a signal", 0, "ok", "ended by SIGTERM", (_OK,), asked=_SIGNAL),
    Case("its screen was killed, with `--on-exit end`", 0, "ok", "its screen is gone", (_OK,), asked=_UNSEEN),
    Case("degraded or stalled for most of the time", 0, "degraded", "scenario finished", (_OK, _BAD)),
    Case("never sampled (`--hz 0`)", 0, "inconclusive", "scenario finished"),
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
    Case(
        "a sub-scheduler was ejected, its parent goes on",
        1,
        "ejected",
        'sub-scheduler "below" of /db was ejected: ERROR_STALL',
        _sub_ejected(1026, "ERROR_STALL"),
    ),
    Case("its parent went", 1, "ejected", "was ejected: PARENT", _sub_ejected(68, "PARENT")),
    Case(
        "several ejections",
        1,
        "ejected",
        "2 ejections, the last: ",
        (*_ejected(1024, "ERROR"), *_ejected(65, "UNREG_BPF")),
    ),
    Case(
        "ejected, then `--duration` was over",
        1,
        "ejected",
        "(duration of 90 s reached)",
        _ejected(1025, "ERROR_BPF"),
        asked=_TIME,
    ),
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
        not_attached="mine",
        asked=_TIME,
    ),
    Case(
        "`--duration` was over before the first sample",
        5,
        "inconclusive",
        "inconclusive: no sample was taken",
        (_STARTED,),
        asked=_TIME,
    ),
    Case("the scheduler was not accepted", 2, "failed", "", (), errors.SchedulerRejectedError("refused")),
    Case("this host cannot run the guest", 3, "failed", "", (), errors.HostError("no QEMU")),
    Case(
        "QEMU was stopped, or hung, in a run with a seed",
        3,
        "failed",
        "the guest has executed nothing for 30 s",
        (_OK,),
        stuck_error("stopped", 30.0, (), answers=False),
    ),
    Case("the guest panicked, hung, or never came up", 4, "failed", "", (_OK,), errors.GuestError("panic")),
    Case(
        "the guest failed after an ejection", 4, "failed", "ERROR_STALL", _STALL, errors.GuestError("panic")
    ),
    Case("a defect of this program", 70, "failed", "", (), errors.InternalError("defect")),
)


def ended(case: Case) -> RunState:
    """The state at the end of such a run, which `RunEnd` says."""
    state = RunState()
    for event in case.events:
        fold(state, event)
    end = RunEnd(lambda: case.not_attached)
    if case.error is not None:
        end.set(case.error.message, case.error)
    elif case.asked is not None:
        end.stop(case.asked.reason, out_of_time=case.asked.out_of_time)
    else:
        end.set(end_words.SCENARIO_FINISHED)
    assert end.outcome is not None
    fold(state, replace(end.outcome.told(state), mono_ns=61 * _S))
    return state


def outcomes() -> str:
    """The table: what a test has proved of `OUTCOMES`."""
    rows = ((case.kind, str(case.exit_code), code(case.verdict), _words(case)) for case in OUTCOMES)
    return table(("what happened", "exit code", "`verdict`", "`end_reason` says"), rows)


def _words(case: Case) -> str:
    found = ended(case).ended
    return found.reason if found is not None else ""
