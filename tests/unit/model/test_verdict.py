"""Exit code, verdict and last words of every kind of run: the table of docs/reference.md is made from these."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.cause import ejecting_wait_ms, shown_wait_ms
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import EXIT_CODE_RESTART, CaptureReport, SchedulerReport
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.model.state import RunState
from ktstr_tui.model.verdict import end_reason, exit_code, run_verdict
from tests.docs.outcomes import OUTCOMES, Case, ended
from tests.unit.model.test_fold import INFO

S = 1_000_000_000


@pytest.mark.parametrize("case", OUTCOMES, ids=lambda case: case.kind)
def test_every_kind_of_run_has_its_exit_code_verdict_and_words(case: Case) -> None:
    state = ended(case)
    assert state.ended is not None
    assert (state.ended.exit_code, run_verdict(state)) == (case.exit_code, case.verdict)
    assert case.words in state.ended.reason


def test_only_ejections_have_exit_code_1() -> None:
    assert {case.verdict for case in OUTCOMES if case.exit_code == 1} == {"ejected"}
    assert {case.exit_code for case in OUTCOMES} == {0, 1, 2, 3, 4, 5, 70}


def health(*said: tuple[int, ev.Verdict]) -> RunState:
    state = RunState()
    for at_s, verdict in said:
        fold(state, ev.HealthChanged(verdict=verdict, mono_ns=at_s * S))
    return state


def test_the_last_word_of_a_guest_that_goes_away_is_not_the_verdict() -> None:
    state = health((1, "ok"), (60, "stalled"))
    fold(state, ev.RunEnded(exit_code=0, reason="x", mono_ns=61 * S))
    assert state.verdict == "stalled"
    assert run_verdict(state) == "ok"


def test_a_run_that_was_degraded_for_most_of_the_time_is_degraded() -> None:
    state = health((1, "ok"), (10, "degraded"), (40, "ok"))
    fold(state, ev.RunEnded(exit_code=0, reason="x", mono_ns=50 * S))
    assert run_verdict(state) == "degraded"


def ejected_after(wait_s: float, *stood: tuple[float, float]) -> RunState:
    state = RunState()
    for start_s, end_s in stood:
        fold(state, ev.HostStood(start_ns=int(start_s * S), end_ns=int(end_s * S), reason="QEMU was stopped"))
    fold(state, ev.SchedulerChanged(change="ejected", name="x", exit_kind=1026, exit_kind_name="ERROR_STALL"))
    task = RunnableTask(pid=7, comm="spin", age_ms=wait_s * 1e3, cpu=0)
    report = CaptureReport(tag="error-001", trigger="error", exit_kind=1026, mono_ns=100 * S, stalled=task)
    fold(state, ev.CaptureTaken(report=report))
    return state


@pytest.mark.parametrize(
    ("stood", "code"),
    [
        ((), 1),
        (((96.0, 99.0),), 5),
        (((97.0, 98.0), (99.0, 99.9)), 1),
        (((90.0, 98.5),), 5),
        (((10.0, 60.0),), 1),
        (((99.9, 130.0),), 1),
    ],
)
def test_a_wait_in_which_the_host_stood_still_says_nothing_of_the_scheduler(
    stood: tuple[tuple[float, float], ...], code: int
) -> None:
    state = ejected_after(4.0, *stood)
    assert exit_code(state, None) == code
    words = end_reason(state, "scenario finished")
    ejected = 'scheduler "x" was ejected: ERROR_STALL'
    assert words.startswith("inconclusive: the host gave the guest no CPU for " if code == 5 else ejected)
    assert words.endswith(f"{ejected} (scenario finished)")
    assert state.stalls == 1


STALL_WAITS = [
    ("spin[7] failed to run for 5.314s", 5314.0),
    ("watchdog failed to check in for 4.100s", 4100.0),
    ("soft lockup - CPU 1 stuck for 22s", 22_000.0),
    (None, 3000.0),
    ("words of a kernel to come", 3000.0),
]


@pytest.mark.parametrize(("message", "waited_ms"), STALL_WAITS)
def test_the_wait_behind_an_ejection_is_the_kernels_own_if_it_names_one(
    message: str | None, waited_ms: float
) -> None:
    it = SchedulerReport(exit_kind=1026, message=message, watchdog_timeout_ms=3000.0)
    report = CaptureReport(tag="x", trigger="error", exit_kind=1026, scheduler=it)
    assert ejecting_wait_ms(report) == shown_wait_ms(report) == waited_ms
    error = replace(report, exit_kind=1025)
    assert ejecting_wait_ms(error) == (waited_ms if message and "for" in message.split() else None)
    waiting = replace(
        report, trigger="early", exit_kind=0, stalled=RunnableTask(pid=7, comm="spin", age_ms=40.0, cpu=0)
    )
    assert (ejecting_wait_ms(waiting), shown_wait_ms(waiting)) == (None, 40.0)


def test_a_watchdog_that_could_not_run_on_an_idle_guest_is_no_fault_of_the_scheduler() -> None:
    """No task waits in such a capture."""
    state = RunState()
    fold(state, ev.SchedulerChanged(change="ejected", name="x", exit_kind=1026, exit_kind_name="ERROR_STALL"))
    it = SchedulerReport(exit_kind=1026, message="watchdog failed to check in for 6.000s")
    report = CaptureReport(tag="error-001", trigger="error", exit_kind=1026, mono_ns=9 * S, scheduler=it)
    fold(state, ev.CaptureTaken(report=report))
    assert exit_code(state, None) == 1
    fold(state, ev.HostStood(start_ns=4 * S, end_ns=8 * S, reason="QEMU was stopped"))
    assert exit_code(state, None) == 5


DIED = ev.LifecycleChanged(phase="SchedulerDied", reason="x: runnable task stall")
EJECTED = ev.SchedulerChanged(change="ejected", name="x", exit_kind=1026, exit_kind_name="ERROR_STALL")


@pytest.mark.parametrize(
    ("events", "ejections"),
    [
        ((DIED,), 1),
        ((EJECTED, DIED), 1),
        ((DIED, EJECTED), 1),
        ((EJECTED, DIED, DIED), 2),
        ((DIED, EJECTED, DIED), 2),
        ((DIED, DIED, EJECTED), 2),
    ],
    ids=["not seen", "seen first", "seen late", "second one not seen", "first one not seen", "one seen late"],
)
def test_an_ejection_that_only_the_guest_reports_is_one(events: tuple[ev.Event, ...], ejections: int) -> None:
    state = RunState()
    for event in events:
        fold(state, event)
    assert (state.ejections, exit_code(state, None)) == (ejections, 1)


def test_an_ejection_without_a_capture_says_who_reported_it() -> None:
    state = fold(RunState(), DIED)
    words = "a scheduler was ejected: x: runnable task stall (reported by the guest alone, without a capture)"
    assert end_reason(state, "done") == f"{words} (done)"


def test_a_guest_that_was_given_no_scheduler_can_lose_none() -> None:
    state = fold(fold(RunState(), ev.RunStarted(info=replace(INFO, schedulers=()))), DIED)
    assert (state.ejections, state.lifecycle, exit_code(state, None)) == (0, None, 0)
    assert "was given none" in state.log[-1].text


def left(code: int, *then: ev.Event) -> RunState:
    state = RunState()
    life = (
        ev.SchedulerChanged(change="attached", name="x"),
        ev.SchedulerChanged(change="ejected", name="x", exit_kind=66, exit_kind_name="UNREG_KERN"),
        ev.SchedulerChanged(change="detached", name="x", exit_code=code, message="cpu 1 going offline"),
    )
    for event in (*life, *then):
        fold(state, event)
    return state


AGAIN = ev.SchedulerChanged(change="attached", name="x")


def test_a_restart_that_the_kernel_asked_for_is_counted_and_no_failure() -> None:
    state = left(EXIT_CODE_RESTART | 1 << 32, AGAIN)
    assert (state.ejections, state.restarts, exit_code(state, None)) == (1, 1, 0)
    assert state.last_ejection == (
        'scheduler "x" was ejected: UNREG_KERN: cpu 1 going offline, exit code 0x1000100000000'
    )
    assert end_reason(state, "done") == "1 restart that the kernel had asked for (done)"


@pytest.mark.parametrize(
    "state",
    [
        left(0, AGAIN),
        left(EXIT_CODE_RESTART),
        left(EXIT_CODE_RESTART, ev.SchedulerChanged(change="attached", name="y")),
        left(EXIT_CODE_RESTART, ev.LifecycleChanged(phase="SchedulerDied"), AGAIN),
    ],
    ids=["not asked for", "did not come back", "another one", "started by the scenario"],
)
def test_other_ejections_are_failures(state: RunState) -> None:
    assert (state.ejections, state.restarts, exit_code(state, None)) == (1, 0, 1)
    assert "cpu 1 going offline" in end_reason(state, "done")


def test_a_program_that_crashed_is_in_the_reason_and_so_is_the_number_of_ejections() -> None:
    crashed = "fifo: the scheduler's program died of signal 11 (Segmentation fault)"
    died = ev.LifecycleChanged(phase="SchedulerDied", reason=crashed)
    one = left(0, died)
    assert end_reason(one, "done") == (
        f'scheduler "x" was ejected: UNREG_KERN: cpu 1 going offline; {crashed} (done)'
    )
    ejected = ev.SchedulerChanged(change="ejected", name="y", exit_kind=64, exit_kind_name="UNREG")
    two = left(0, died, AGAIN, ejected)
    assert end_reason(two, "done") == '2 ejections, the last: scheduler "y" was ejected: UNREG (done)'
    # What the guest program says of other ends is the kernel's message once more.
    other = left(0, ev.LifecycleChanged(phase="SchedulerDied", reason="bad.bpf.o: sched_ext: bad: broken"))
    assert "broken" not in end_reason(other, "done")
