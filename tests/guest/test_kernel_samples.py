"""Samples of a kernel with a real scheduler, against drgn's own reading of the same memory."""

from __future__ import annotations

import pytest
import trio
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr

from ktstr_tui.kernel.view import KernelView
from tests.guest.kernel_run import Run, Running

pytestmark = pytest.mark.guest

SHARED_DSQ = 7


def check_sample(run: Run) -> None:
    """A sample of the standing guest against drgn, member by member."""
    view = run.view
    sample, prog = run.reader.sample(), view.prog
    assert (sample.retries, sample.torn) == (0, 0)
    assert sample.jiffies == prog["jiffies"].value_()
    waiting = 0
    for cpu in sample.cpus:
        rq = per_cpu(prog["runqueues"], cpu.cpu)
        assert cpu.curr_pid == rq.curr.pid.value_()
        assert cpu.curr_comm == rq.curr.comm.string_().decode()
        assert cpu.curr_class is not None
        assert rq.curr.sched_class.value_() == prog.symbol(f"{cpu.curr_class}_sched_class").address
        assert cpu.idle == (rq.curr == rq.idle)
        assert cpu.nr_running == rq.nr_running.value_()
        assert cpu.scx_nr_running == rq.scx.nr_running.value_()
        assert cpu.scx_flags == rq.scx.flags.value_()
        assert cpu.local_dsq_nr == rq.scx.local_dsq.nr.value_()
        assert cpu.rq_clock_ns == rq.clock.value_()
        head = rq.scx.runnable_list.address_of_()
        waiting += len(list(list_for_each_entry("struct task_struct", head, "scx.runnable_node")))
    sched = prog["scx_root"]
    assert sample.scheduler.name == sched.ops.name.string_().decode()
    assert sample.scheduler.exit_kind == sched.exit_kind.counter.value_()
    assert sample.scheduler.nr_runnable == waiting
    assert sample.scheduler.watchdog_timeout_ms == sched.ops.timeout_ms.value_()
    user = {dsq.id: dsq.nr for dsq in sample.scheduler.dsqs if not dsq.id >> 63}
    assert set(user) == {SHARED_DSQ}
    counters = sample.scheduler.event_counters
    assert counters is not None
    stats = [per_cpu_stats(view, cpu) for cpu in range(view.nr_cpus)]
    assert counters == {name: sum(one[name] for one in stats) for name in stats[0]}


def per_cpu_stats(view: KernelView, cpu: int) -> dict[str, int]:
    """The event counters of one CPU as drgn reads them."""
    found = per_cpu_ptr(view.prog["scx_root"].pcpu, cpu).event_stats
    return {
        member.name: getattr(found, member.name).value_() for member in found.type_.members if member.name
    }


async def test_samples_of_a_standing_guest_equal_drgn(running: Running) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        for _ in range(5):
            await run.machine.gdb.stop()
            check_sample(run)
            await run.machine.gdb.resume()
            await trio.sleep(0.05)


async def test_samples_of_a_running_guest_are_never_nonsense(running: Running) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        clocks = [0, 0]
        whole = 0
        for _ in range(500):
            sample = run.reader.sample()
            for cpu in sample.cpus:
                if cpu.unreadable is not None:
                    assert cpu.unreadable.startswith("torn")
                    continue
                assert cpu.curr_comm is not None
                assert cpu.curr_comm.isprintable()
                assert cpu.curr_class in ("ext", "fair", "rt", "dl", "stop", "idle")
                assert cpu.idle == (cpu.curr_class == "idle")
                assert cpu.rq_clock_ns is not None
                assert cpu.rq_clock_ns >= clocks[cpu.cpu]
                clocks[cpu.cpu] = cpu.rq_clock_ns
                whole += 1
            scheduler = sample.scheduler
            assert scheduler.name == "fifo" or scheduler.unreadable is not None
            if scheduler.oldest_runnable is not None:
                assert 0 <= scheduler.oldest_runnable.age_ms < 60_000
                assert scheduler.oldest_runnable.comm.isprintable()
            await trio.sleep(0.002)
        assert whole > 900
        statistics = run.reader.statistics()
        assert statistics.samples >= 500
        assert statistics.torn <= statistics.samples // 10
