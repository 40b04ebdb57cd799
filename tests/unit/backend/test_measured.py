"""Figures of a run, and their spread over seeds."""

from __future__ import annotations

from ktstr_tui.backend.measured import Measured, measure
from ktstr_tui.cli.compare_seeds import Spread, spread, spreads_of
from ktstr_tui.model import events as ev
from ktstr_tui.model.facts import WorkerProgress
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample

SECOND = 1_000_000_000


def reported(at_s: int, **done: int) -> ev.WorkersReported:
    workers = tuple(WorkerProgress(100 + n, comm, it) for n, (comm, it) in enumerate(done.items()))
    return ev.WorkersReported(workers=workers, mono_ns=at_s * SECOND)


def sampled(at_s: int, switches: int, age_ms: float) -> ev.Sampled:
    oldest = RunnableTask(pid=1, comm="a", age_ms=age_ms, cpu=0)
    sample = Sample(
        cpus=(CpuSample(cpu=0, nr_switches=switches), CpuSample(cpu=1, nr_switches=0)),
        scheduler=SchedulerSample(name="x", oldest_runnable=oldest),
        guest_ns=at_s * SECOND,
    )
    return ev.Sampled(sample=sample, mono_ns=at_s * SECOND)


def test_figures_are_per_guest_second() -> None:
    step = ev.StepStarted(index=0, name="one", scheduler="x", mono_ns=10 * SECOND)
    found = measure(
        [
            reported(9, early=5),
            step,
            sampled(10, 100, 3.0),
            reported(11, spin=10, slow=1),
            sampled(11, 400, 40.0),
            reported(14, spin=40, slow=1),
            ev.SchedulerChanged(change="ejected", mono_ns=14 * SECOND),
            sampled(14, 500, 7.0),
        ]
    )
    assert found == Measured(
        work_per_s={"slow": 0.25, "spin": 10.0}, ejections=1, worst_wait_ms=40.0, switches_per_s=100.0
    )
    assert found.figures()["all work/s"] == 10.25


def test_what_was_not_measured_is_not_zero() -> None:
    found = measure([])
    assert (found.worst_wait_ms, found.switches_per_s, found.figures()["all work/s"]) == (None, None, None)
    assert spread([None, None]) is None
    assert spread([None, 4.0, 1.0, 2.0]) == Spread(2.0, 1.0, 4.0)


def test_a_worker_that_one_seed_lacks_is_spread_over_the_others() -> None:
    both = [
        Measured(work_per_s={"spin": 2.0}, ejections=0, worst_wait_ms=1.0, switches_per_s=5.0),
        Measured(work_per_s={}, ejections=1, worst_wait_ms=None, switches_per_s=None),
    ]
    assert spreads_of(both)["spin work/s"] == Spread(2.0, 2.0, 2.0)
    assert spreads_of(both)["ejections"] == Spread(0.5, 0.0, 1.0)
