"""What is made of two looks or two reports is by the time in which the guest could do something."""

from __future__ import annotations

import msgspec
import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.model.facts import WorkerProgress
from ktstr_tui.model.fold import fold
from ktstr_tui.model.rates import CpuRate, TaskRates
from ktstr_tui.model.report import Pause
from ktstr_tui.model.sample import CpuSample, Sample, SchedulerSample
from ktstr_tui.model.state import RunState
from tests.unit.model.test_fold import INFO

MS = 1_000_000
THAWED = ev.Thawed(reason="asked", pause=Pause(total_us=1.0))


def told(*events: tuple[int, ev.Event], state: RunState | None = None) -> RunState:
    """Fold events, each with its time in milliseconds."""
    state = state or RunState()
    for at_ms, event in events:
        fold(state, msgspec.structs.replace(event, seq=state.seq + 1, mono_ns=at_ms * MS))
    return state


def reported(iterations: int) -> ev.WorkersReported:
    return ev.WorkersReported(workers=(WorkerProgress(4, "spin", iterations),))


def looked(*cpus: CpuSample) -> ev.Sampled:
    return ev.Sampled(sample=Sample(cpus=cpus, scheduler=SchedulerSample()))


def used(time_ms: int) -> ev.Sampled:
    return looked(CpuSample(cpu=0, nr_running=1, vcpu_cpu_time_ns=time_ms * MS))


@pytest.mark.parametrize("thawed_ms", [500, 9_500])
def test_time_frozen_counts_neither_for_workers_nor_for_cpus(thawed_ms: int) -> None:
    state = told(
        (0, reported(0)),
        (0, used(0)),
        (250, ev.Frozen(reason="asked")),
        (thawed_ms, THAWED),
        (thawed_ms + 750, reported(100)),
        (thawed_ms + 750, used(900)),
    )
    assert state.worker_rates == {4: 100.0}, "250 ms before and 750 ms after"
    assert state.cpus[0].busy_history == [None, 0.9]


def test_a_look_at_a_frozen_guest_counts_what_came_after_the_thaw() -> None:
    state = told(
        (0, ev.Frozen(reason="asked")), (400, used(0)), (1_000, THAWED), (1_100, used(50)), (1_200, used(150))
    )
    assert state.cpus[0].busy_history == [None, 0.5, 1.0]


def seeded() -> RunState:
    return told((0, ev.RunStarted(info=msgspec.structs.replace(INFO, seed=7))))


def test_vcpus_of_a_run_with_a_seed_are_as_busy_as_the_kernel_says() -> None:
    # Two that always have work execute half of the instructions each.
    half = [CpuSample(cpu=cpu, nr_running=2, idle=False, vcpu_cpu_time_ns=50 * MS) for cpu in (0, 1)]
    state = told((100, looked(*half)), state=seeded())
    assert [it.busy_history for it in state.cpus.values()] == [[1.0], [1.0]], "by looking"
    rates = TaskRates(span_ms=1000.0, cpus=(CpuRate(cpu=0, busy_share=0.75), CpuRate(cpu=1)))
    told((200, ev.TasksMeasured(rates=rates)), (200, looked(*half)), state=state)
    assert [it.busy_history[-1] for it in state.cpus.values()] == [0.75, 1.0]
    told((300, ev.TasksMeasured(rates=TaskRates(unavailable="no trace"))), (300, looked(*half)), state=state)
    assert state.cpus[0].busy_history[-1] == pytest.approx(0.775), "by looking again"


def test_the_only_vcpu_of_a_run_with_a_seed_is_as_busy_as_it_executed() -> None:
    state = told((0, used(0)), (100, used(60)), state=seeded())
    assert state.cpus[0].busy_history == [None, 0.6]
