"""What the state keeps of a CPU that is down."""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.sample import OFFLINE, CpuSample, Sample, SchedulerSample
from ktstr_tui.model.state import RunState


def test_a_cpu_that_is_offline_is_not_one_that_could_not_be_read() -> None:
    up = CpuSample(cpu=0, nr_running=1, idle=False, vcpu_cpu_time_ns=5)
    down = CpuSample(cpu=1, unreadable=OFFLINE, vcpu_cpu_time_ns=5)
    state = RunState()
    for seq, shared_ns in enumerate((None, 9), 1):
        sample = Sample(cpus=(up, down), scheduler=SchedulerSample(), shared_cpu_time_ns=shared_ns)
        fold(state, ev.Sampled(sample=sample, seq=seq, mono_ns=seq))
    assert (state.samples, state.samples_unreadable) == (2, 0)
    assert state.cpus[1].busy_history == [None, None]
