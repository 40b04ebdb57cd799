"""Samples of a kernel in made-up memory: what is seen, and what damaged memory costs."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.sampler import SampleReader
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET
from tests.unit.kernel.tiny import EXT_CLASS, NODE, RUNNABLE, SCHED, TABLE
from tests.unit.kernel.whole import JIFFIES, WholeKernel

WILD = 0xFFFF_8880_7000_0000
"""An address of the direct map behind all memory."""


def busy() -> tuple[WholeKernel, list[int]]:
    """Two tasks wait in a queue of a scheduler, on CPU 0."""
    kernel = WholeKernel()
    tasks = [kernel.sleeper(8, pid=42, comm="w/0"), kernel.sleeper(9, pid=43, comm="w/1")]
    kernel.scheduler()
    kernel.runnable(0, tasks)
    queue = kernel.queue(0, number=7, nr=2, tasks=tasks)
    kernel.hash_table([[queue]], elements=1)
    for task in tasks:
        kernel.memory.put(task + 0x80, queue)
    return kernel, tasks


def test_a_sample_has_all_cpus_and_the_scheduler() -> None:
    kernel, _ = busy()
    kernel.memory.put(kernel.rq(1) + 8, 5_000)
    reader = SampleReader(kernel.open())
    sample = reader.sample({1: 99})
    assert [(cpu.cpu, cpu.curr_comm, cpu.idle) for cpu in sample.cpus] == [
        (0, "swapper/0", True),
        (1, "swapper/1", True),
    ]
    assert [cpu.vcpu_cpu_time_ns for cpu in sample.cpus] == [None, 99]
    assert (sample.guest_ns, sample.jiffies) == (5_000, JIFFIES)
    found = sample.scheduler
    assert (found.name, found.state, found.enable_seq, found.exit_kind) == ("made_up", "enabled", 7, 0)
    assert found.watchdog_timeout_ms == 3000
    assert [(dsq.label, dsq.nr) for dsq in found.dsqs] == [("0x7", 2)]
    assert found.nr_runnable == 2
    assert found.oldest_runnable is not None
    assert (found.oldest_runnable.pid, found.oldest_runnable.age_ms, found.oldest_runnable.dsq) == (
        42,
        1000.0,
        "0x7",
    )
    assert (reader.nr_cpus, reader.statistics().samples, reader.statistics().torn) == (2, 1, 0)


def test_a_task_that_runs_is_not_the_oldest_that_waits() -> None:
    kernel, tasks = busy()
    kernel.memory.put(tasks[0] + 32, 1, 4)
    found = SampleReader(kernel.open()).sample().scheduler
    assert found.oldest_runnable is not None
    assert (found.oldest_runnable.pid, found.nr_runnable) == (43, 2)


def test_a_task_that_the_bpf_scheduler_holds_is_told_from_one_in_no_queue() -> None:
    kernel, tasks = busy()
    reader = SampleReader(kernel.open())
    for task in tasks:
        kernel.memory.put(task + 0x80, 0)
    assert reader.sample().scheduler.oldest_runnable.place == "in no DSQ"  # type: ignore[union-attr]
    kernel.memory.put(tasks[0] + 0x80 + 0x60, 2 | 77 << 2)
    oldest = reader.sample().scheduler.oldest_runnable
    assert oldest is not None
    assert (oldest.pid, oldest.held) == (42, True)
    assert oldest.place == "held by the BPF scheduler, in no DSQ"


def test_without_a_scheduler_there_is_its_state_alone() -> None:
    found = SampleReader(WholeKernel().open()).sample().scheduler
    assert (found.name, found.state, found.dsqs, found.unreadable) == (None, "enabling", (), None)


def test_a_cpu_that_is_down_is_said_to_be_offline() -> None:
    kernel = WholeKernel()
    kernel.memory.put(IMAGE + 0x1200, 0b01)
    cpus = SampleReader(kernel.open()).sample().cpus
    assert [cpu.unreadable for cpu in cpus] == [None, "offline"]


@pytest.mark.parametrize("curr", [0, 0x1000, WILD])
def test_a_wild_current_task_costs_its_cpu_alone(curr: int) -> None:
    kernel, _ = busy()
    kernel.memory.put(kernel.rq(1) + 16, curr)
    reader = SampleReader(kernel.open())
    sample = reader.sample()
    assert sample.cpus[0].unreadable is None
    assert (sample.cpus[1].unreadable or "").startswith("torn: ")
    assert sample.scheduler.unreadable is None
    assert (sample.torn, sample.retries) == (1, 2)
    assert (reader.statistics().torn, reader.statistics().retries) == (1, 2)


def damaged_list(kernel: WholeKernel, tasks: list[int]) -> None:
    kernel.memory.put(tasks[1] + NODE, tasks[0] + NODE)


def list_out_of_memory(kernel: WholeKernel, _tasks: list[int]) -> None:
    kernel.memory.put(kernel.rq(0) + RUNNABLE, WILD)


def chain_in_a_circle(kernel: WholeKernel, _tasks: list[int]) -> None:
    queue = PAGE_OFFSET + 0x70000
    kernel.memory.put(queue + 32, queue + 32)


def table_out_of_memory(kernel: WholeKernel, _tasks: list[int]) -> None:
    kernel.memory.put(SCHED + 40, WILD)


def table_that_grew(kernel: WholeKernel, _tasks: list[int]) -> None:
    kernel.memory.put(TABLE, 0xFFFF_FFFF, 4)


def root_out_of_memory(kernel: WholeKernel, _tasks: list[int]) -> None:
    kernel.memory.put(IMAGE + 0x1300, WILD)


def queue_out_of_memory(kernel: WholeKernel, tasks: list[int]) -> None:
    kernel.memory.put(tasks[0] + 0x80, WILD)


def wait_in_the_future(kernel: WholeKernel, tasks: list[int]) -> None:
    kernel.memory.put(tasks[0] + 0x88, JIFFIES + 100_000)


DAMAGE = (
    *(damaged_list, list_out_of_memory, chain_in_a_circle, table_out_of_memory),
    *(table_that_grew, root_out_of_memory, queue_out_of_memory, wait_in_the_future),
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_to_the_scheduler_is_told_as_torn_and_costs_no_cpu(damage: object) -> None:
    kernel, tasks = busy()
    assert callable(damage)
    damage(kernel, tasks)
    sample = SampleReader(kernel.open()).sample()
    assert (sample.scheduler.unreadable or "").startswith("torn: ")
    assert sample.torn == 1
    assert [cpu.unreadable for cpu in sample.cpus] == [None, None]


def test_a_scheduler_that_goes_at_any_read_is_seen_whole_or_not_at_all() -> None:
    kernel, _ = busy()
    reader = SampleReader(kernel.open())
    start = kernel.memory.reads
    reader.sample()
    count, retried = kernel.memory.reads - start, 0
    for gone_at in range(1, count + 1):
        kernel.memory.put(IMAGE + 0x1300, SCHED)
        start = kernel.memory.reads

        def unload(number: int, first: int = start + gone_at) -> None:
            if number == first:
                kernel.memory.put(IMAGE + 0x1300, 0)

        kernel.memory.on_read = unload
        sample = reader.sample()
        kernel.memory.on_read = None
        assert sample.scheduler.unreadable is None
        assert (sample.scheduler.name is None) == (sample.scheduler.dsqs == ())
        retried += sample.retries
    assert retried > 10
    assert reader.statistics().torn == 0


def test_only_ext_tasks_count_by_their_class() -> None:
    kernel, tasks = busy()
    kernel.memory.put(kernel.rq(0) + 16, tasks[0])
    sample = SampleReader(kernel.open()).sample()
    assert (sample.cpus[0].curr_pid, sample.cpus[0].curr_class, sample.cpus[0].idle) == (42, "ext", False)
    kernel.memory.put(tasks[0] + 24, EXT_CLASS + 8)
    assert "sched_class" in (SampleReader(kernel.open()).sample().cpus[0].unreadable or "")
