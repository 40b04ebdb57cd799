"""`status` for people and for programs: losses in words, workers, the guest program's last word."""

from __future__ import annotations

from ktstr_tui.cli.status import status_lines
from ktstr_tui.link.status import status_of
from ktstr_tui.model.facts import WorkerProgress
from ktstr_tui.model.sample import OFFLINE, CpuSample
from ktstr_tui.model.state import CpuState, RunState, StepState


def test_losses_are_named_for_programs_and_in_words_for_people() -> None:
    status = status_of(RunState(drops={"authority.commands-refused": 2, "sampler.failed": 0}))
    assert status["drops"] == {"authority.commands-refused": 2, "sampler.failed": 0}
    lines = status_lines(status)
    assert [line for line in lines if line.startswith("dropped")] == [
        "dropped    commands refused: no control, or automation is held: 2"
    ]
    assert "dropped    nothing" in status_lines(status_of(RunState()))


def test_workers_and_the_guests_last_word_are_printed() -> None:
    state = RunState(
        workers=(WorkerProgress(4, "spin-0", 99), WorkerProgress(5, "spin-1", 7)),
        worker_rates={4: 12.4},
        lifecycle="SchedulerDied",
        lifecycle_reason="killed by SIGSEGV",
    )
    status = status_of(state)
    assert [worker["iterations_per_s"] for worker in status["workers"]] == [12.4, None]
    lines = status_lines(status)
    assert "guest      scheduler died: killed by SIGSEGV" in lines
    assert "worker     spin-0[4]: 12 iterations/s, 99 in total" in lines
    assert "worker     spin-1[5]: rate unknown, 7 in total" in lines


def test_a_guest_whose_scenario_runs_is_not_starting() -> None:
    state = RunState(lifecycle="PayloadStarting")
    assert "guest      workload starting" in status_lines(status_of(state))
    state.step = StepState(index=0, name="steady", scheduler="none", started_mono_ns=1)
    assert not [line for line in status_lines(status_of(state)) if line.startswith("guest")]


def test_a_cpu_that_is_offline_is_not_unreadable() -> None:
    reasons = {0: "torn: rq->curr changed", 1: OFFLINE}
    cpus = {
        it: CpuState(latest=CpuSample(cpu=it, unreadable=why), last_mono_ns=1) for it, why in reasons.items()
    }
    assert [line for line in status_lines(status_of(RunState(cpus=cpus))) if line.startswith("CPU")] == [
        "CPU 0      unreadable: torn: rq->curr changed",
        "CPU 1      offline",
    ]
