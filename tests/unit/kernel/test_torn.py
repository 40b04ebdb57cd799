"""A kernel that changes under its reader: retried, or given up and said so, never believed."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.memory import MemoryReadError, OutOfRange
from ktstr_tui.kernel.torn import MAX_TRIES, Attempts, Torn
from tests.unit.kernel.tiny import IDLE_CLASS, NODE, RUNNABLE, TinyKernel


def waiting(kernel: TinyKernel, count: int, cpu: int = 0) -> list[int]:
    """Put that many tasks on a runnable list."""
    tasks = [kernel.task(10 + k, pid=100 + k, comm=f"task{k}") for k in range(count)]
    kernel.link(kernel.rq(cpu) + RUNNABLE, [task + NODE for task in tasks])
    return tasks


def test_a_quiet_cpu_is_read_as_it_is() -> None:
    kernel = TinyKernel()
    worker = kernel.task(5, pid=42, comm="worker")
    kernel.memory.put(kernel.rq(1), 3, 4)
    kernel.memory.put(kernel.rq(1) + 8, 123456789)
    kernel.memory.put(kernel.rq(1) + 16, worker)
    sample = kernel.cpus.sample(kernel.space, 1)
    assert (sample.curr_pid, sample.curr_comm, sample.curr_class) == (42, "worker", "ext")
    assert (sample.nr_running, sample.rq_clock_ns, sample.idle) == (3, 123456789, False)
    idle = kernel.cpus.sample(kernel.space, 0)
    assert (idle.curr_comm, idle.curr_class, idle.idle) == ("swapper/0", "idle", True)


def switching() -> TinyKernel:
    """A kernel that switches to a task in the middle of the first look at CPU 0."""
    kernel = TinyKernel()
    worker = kernel.task(5, pid=42, comm="worker")
    start = kernel.memory.reads

    def switch(read: int) -> None:
        if read == start + 2:
            kernel.memory.put(kernel.rq(0) + 16, worker)

    kernel.memory.on_read = switch
    return kernel


def test_a_context_switch_during_the_look_is_noticed() -> None:
    kernel = switching()
    with pytest.raises(Torn, match="changed while it was read"):
        kernel.cpus.sample(kernel.space, 0)


def test_one_torn_look_is_repeated_and_counted() -> None:
    kernel = switching()
    attempts = Attempts()
    assert attempts.run(lambda: kernel.cpus.sample(kernel.space, 0)).curr_pid == 42
    assert (attempts.retries, attempts.torn) == (1, 0)


def test_what_stays_torn_is_given_up_with_its_reason() -> None:
    kernel = TinyKernel()

    def never_rests(read: int) -> None:
        kernel.memory.put(kernel.rq(0), read, 4)

    kernel.memory.on_read = never_rests
    attempts = Attempts()
    with pytest.raises(Torn, match="torn: the runqueue of CPU 0 changed"):
        attempts.run(lambda: kernel.cpus.sample(kernel.space, 0))
    assert (attempts.retries, attempts.torn) == (MAX_TRIES - 1, 1)


@pytest.mark.parametrize(
    ("offset", "value", "size", "why"),
    [
        (0, 10_001, 4, "nr_running of 10001"),
        (0x190, 4_000_000_000, 4, "scx.nr_running"),
        (0x110, 10_001, 4, "local_dsq.nr"),
        (16, 0, 8, "rq->curr is 0x0"),
    ],
)
def test_values_that_no_kernel_has_are_torn(offset: int, value: int, size: int, why: str) -> None:
    kernel = TinyKernel()
    kernel.memory.put(kernel.rq(0) + offset, value, size)
    with pytest.raises(Torn, match=why):
        kernel.cpus.sample(kernel.space, 0)


def test_a_current_task_that_was_freed_is_torn() -> None:
    kernel = TinyKernel()
    gone = kernel.task(5, pid=42, comm="worker", sched_class=0x6B6B6B6B6B6B6B6B)
    kernel.memory.put(kernel.rq(0) + 16, gone)
    with pytest.raises(Torn, match="sched_class"):
        kernel.cpus.sample(kernel.space, 0)
    kernel.memory.put(gone, 1 << 23, 4)
    with pytest.raises(Torn, match="pid"):
        kernel.cpus.sample(kernel.space, 0)


def test_a_runnable_list_is_read_in_its_order() -> None:
    kernel = TinyKernel()
    waiting(kernel, 5)
    found, cut = kernel.tasks.runnable(kernel.space, 0)
    assert [task.pid for task in found] == [100, 101, 102, 103, 104]
    assert [task.comm for task in found][-1] == "task4"
    assert not cut
    assert kernel.tasks.runnable(kernel.space, 1) == ([], False)


def test_a_long_list_is_cut() -> None:
    kernel = TinyKernel()
    waiting(kernel, 5)
    found, cut = kernel.tasks.runnable(kernel.space, 0, 3)
    assert [task.pid for task in found] == [100, 101, 102]
    assert cut


def test_a_task_that_moves_to_another_cpu_during_the_walk_is_noticed() -> None:
    kernel = TinyKernel()
    tasks = waiting(kernel, 4)
    start = kernel.memory.reads

    def migrate(read: int) -> None:
        if read == start + 4:  # the second task has said that the third is next
            kernel.link(kernel.rq(1) + RUNNABLE, [tasks[2] + NODE])
            kernel.link(kernel.rq(0) + RUNNABLE, [t + NODE for t in (tasks[0], tasks[1], tasks[3])])

    kernel.memory.on_read = migrate
    attempts = Attempts()
    found, _ = attempts.run(lambda: kernel.tasks.runnable(kernel.space, 0))
    assert [task.pid for task in found] == [100, 101, 103]
    assert attempts.retries == 1


def test_a_list_that_stands_broken_is_given_up_to_the_break() -> None:
    kernel = TinyKernel()
    tasks = waiting(kernel, 4)
    kernel.memory.put(tasks[2] + NODE + 8, tasks[0] + NODE)
    with pytest.raises(Torn):
        kernel.tasks.runnable(kernel.space, 0)
    found, cut = kernel.tasks.runnable(kernel.space, 0, frozen=True)
    assert [task.pid for task in found] == [100, 101]
    assert cut


@pytest.mark.parametrize("pointer", [0, 0x1000, 0xDEAD000000000100, 0xFFFFC90000000000])
def test_a_list_that_leads_nowhere_never_yields_tasks(pointer: int) -> None:
    kernel = TinyKernel()
    tasks = waiting(kernel, 2)
    kernel.memory.put(tasks[1] + NODE, pointer)
    with pytest.raises((Torn, MemoryReadError)):
        kernel.tasks.runnable(kernel.space, 0)


def test_a_list_in_a_circle_without_its_head_ends() -> None:
    kernel = TinyKernel()
    tasks = waiting(kernel, 3)
    kernel.memory.put(tasks[2] + NODE, tasks[0] + NODE)
    with pytest.raises(Torn):
        kernel.tasks.runnable(kernel.space, 0)


def test_memory_that_is_not_there_counts_as_torn() -> None:
    attempts = Attempts()

    def look() -> None:
        raise OutOfRange("0x1 is outside RAM", 1)

    with pytest.raises(Torn, match="torn: 0x1 is outside RAM"):
        attempts.run(look)
    assert attempts.torn == 1


def test_defects_are_not_taken_for_torn_reads() -> None:
    def look() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Attempts().run(look)


def test_an_unknown_class_has_no_name() -> None:
    kernel = TinyKernel()
    assert kernel.cpus.class_name(IDLE_CLASS) == "idle"
    assert kernel.cpus.class_name(1) is None
