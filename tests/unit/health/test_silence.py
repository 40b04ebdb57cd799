"""Why a task is silent, asked of a kernel in made-up memory."""

from __future__ import annotations

import pytest

from ktstr_tui.health.silence import Explainer, wchan_of
from ktstr_tui.model.beats import Progress, StallCause
from ktstr_tui.model.report import SLICE_INF, NextTask, Stack, StackFrame
from tests.unit.kernel.blob import PAGE_OFFSET
from tests.unit.kernel.tiny import DSQ_NODE, IDLE_CLASS, LOCAL, NIVCSW, RAN, RT_CLASS, SP, STACK, TINY_SYMBOLS
from tests.unit.kernel.whole import JIFFIES, PID_NODE, PIDS, WholeKernel

WILD = 0xFFFF_8880_7000_0000
PID, CPU = 42, 1
ON_RQ, ON_CPU, STATE, EXIT_STATE, TASK_CPU = 4, 32, 40, 44, 68
INTERRUPTIBLE, ZOMBIE = 1, 0x20


class Silent:
    """A kernel with a task that has been silent for two seconds; to begin with it waits on CPU 1."""

    def __init__(self) -> None:
        self.kernel = WholeKernel()
        self.task = self.kernel.sleeper(8, pid=PID, comm="spin-0", cpu=CPU)
        self.kernel.pids({PID: self.task})
        self.kernel.scheduler()
        self.queue = self.kernel.queue(0, number=0x13, nr=1, tasks=[self.task])
        self.kernel.memory.put(self.task + 0x80, self.queue)
        self.kernel.memory.put(self.task + 0x88, JIFFIES - 500)

    def set(self, offset: int, value: int, size: int = 4) -> None:
        self.kernel.memory.put(self.task + offset, value, size)

    def runs(self) -> None:
        self.set(ON_CPU, 1)
        self.kernel.memory.put(self.kernel.rq(CPU) + 16, self.task)

    def cause(self, host_ms: float | None = 2000.0) -> StallCause:
        times = {} if host_ms is None else {CPU: host_ms}
        return Explainer(self.kernel.open()).explain(PID, 2000.0, times)


def test_a_task_that_waits_is_told_with_its_queue_and_what_runs_there() -> None:
    found = Silent().cause()
    assert (found.kind, found.waiting_ms, found.dsq, found.cpus_allowed) == (
        "runnable",
        2000.0,
        "0x13",
        "0-1",
    )
    assert [(there.cpu, there.comm, there.sched_class) for there in found.running_there] == [
        (0, "swapper/0", "idle"),
        (1, "swapper/1", "idle"),
    ]


def test_what_a_higher_class_keeps_from_running_is_told_too() -> None:
    silent = Silent()
    kernel = silent.kernel
    agent, endless = (
        kernel.task(9, pid=1, comm="agent", sched_class=RT_CLASS),
        kernel.sleeper(10, pid=43, comm="hog"),
    )
    kernel.memory.put(kernel.rq(CPU) + 16, agent)
    kernel.memory.put(endless + 0xF0, SLICE_INF)
    kernel.link(kernel.rq(CPU) + LOCAL, [endless + DSQ_NODE])
    there = silent.cause().running_there[1]
    assert (there.comm, there.sched_class) == ("agent", "rt")
    assert there.ahead_of == NextTask(pid=43, comm="hog", slice_ns=SLICE_INF)


def test_a_task_that_is_preempted_for_ever_is_told_from_one_that_waits() -> None:
    silent = Silent()
    view = silent.kernel.open()
    explainer, times = Explainer(view), {CPU: 2000.0}

    def look(at_ms: float, silent_ms: float, ran_ms: int, preempted: int) -> Progress | None:
        silent.kernel.memory.put(TINY_SYMBOLS["jiffies"], JIFFIES + int(at_ms * view.hz / 1000))
        silent.set(RAN, ran_ms * 1_000_000, 8)
        silent.set(NIVCSW, preempted, 8)
        return explainer.explain(PID, silent_ms, times).progress

    assert look(0, 2000, 900, 50) is None, "there was no look before"
    assert look(100, 2100, 901, 60) is None, "too short"
    assert look(1000, 3000, 950, 850) == Progress(over_ms=1000, ran_ms=50, preempted=800)
    assert look(2000, 4000, 950, 850) == Progress(over_ms=2000, ran_ms=50, preempted=800)
    assert look(4500, 2000, 990, 900) is None, "another silence"
    silent.runs()
    assert look(5500, 3000, 990, 901) == Progress(over_ms=1000, ran_ms=0, preempted=1)


def test_a_task_that_waits_outside_of_ext_counts_from_when_it_was_queued() -> None:
    silent = Silent()
    silent.set(24, IDLE_CLASS, 8)
    silent.set(88, 1_000_000_000, 8)
    silent.kernel.memory.put(silent.kernel.rq(CPU) + 8, 4_000_000_000)
    found = silent.cause()
    assert (found.kind, found.waiting_ms, found.sched_class) == ("runnable", 3000.0, "idle")


def test_a_task_that_waits_on_a_vcpu_without_host_time_is_the_hosts_affair() -> None:
    silent = Silent()
    silent.kernel.memory.put(silent.kernel.rq(CPU) + 16, silent.kernel.sleeper(9, pid=43, comm="hog"))
    assert silent.cause(host_ms=100.0).kind == "no-host-cpu"
    assert silent.cause(host_ms=1900.0).kind == "runnable"
    assert silent.cause(host_ms=None).kind == "runnable"


def test_a_task_that_runs_is_stuck_or_has_no_host_cpu() -> None:
    silent = Silent()
    silent.runs()
    assert silent.cause(host_ms=1900.0).kind == "running"
    assert silent.cause(host_ms=10.0).kind == "no-host-cpu"


def test_a_task_that_sleeps_is_told_with_the_function_it_sleeps_in() -> None:
    silent = Silent()
    silent.set(STATE, INTERRUPTIBLE)
    found = silent.cause()
    assert (found.kind, found.state, found.wchan) == ("blocked", "S", "worker_thread")
    assert found.stack is not None
    assert found.stack.end == "end of stack"


def test_a_task_on_its_way_to_sleep_has_no_stack_to_be_believed() -> None:
    silent = Silent()
    silent.set(STATE, INTERRUPTIBLE)
    silent.set(ON_CPU, 1)
    found = silent.cause()
    assert (found.kind, found.reason, found.stack) == ("blocked", "it is going to sleep", None)


def test_a_task_that_was_preempted_on_its_way_to_sleep_waits_for_a_cpu() -> None:
    silent = Silent()
    silent.set(STATE, INTERRUPTIBLE)
    silent.set(ON_RQ, 1)
    found = silent.cause()
    assert (found.kind, found.state, found.dsq, found.wchan) == ("runnable", "S", "0x13", None)


def test_a_task_that_is_gone_or_a_zombie_has_exited() -> None:
    silent = Silent()
    silent.set(EXIT_STATE, ZOMBIE)
    assert (silent.cause().kind, silent.cause().reason) == ("exited", "a zombie")
    silent.kernel.pids({7: silent.task})
    assert silent.cause().kind == "exited"


def test_another_task_under_that_pid_is_torn_and_not_explained() -> None:
    silent = Silent()
    silent.set(0, 43)
    found = silent.cause()
    assert (found.kind, found.torn) == ("unknown", True)
    assert "pid 42 was replaced" in (found.reason or "")


def test_a_stack_out_of_memory_leaves_the_rest() -> None:
    silent = Silent()
    silent.set(STATE, INTERRUPTIBLE)
    silent.set(SP, WILD, 8)
    silent.set(STACK, WILD, 8)
    found = silent.cause()
    assert (found.kind, found.stack, found.wchan) == ("blocked", None, None)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (PIDS + 8, WILD),
        (PID_NODE + 0x28 + 8 * PID, WILD),
        (PAGE_OFFSET + 0x51000 + 0x80, WILD),
        (PAGE_OFFSET + 0x51000 + 56, 0x1000),
    ],
    ids=["task", "pid", "queue", "mask"],
)
def test_wild_pointers_end_in_unknown(place: int, value: int) -> None:
    silent = Silent()
    assert silent.task == PAGE_OFFSET + 0x51000
    silent.kernel.memory.put(place, value)
    found = silent.cause()
    assert (found.kind, found.torn) == ("unknown", True)


def test_a_cpu_that_the_kernel_does_not_have_is_torn() -> None:
    silent = Silent()
    silent.set(TASK_CPU, 7)
    assert "task_cpu of pid 42 is 7" in (silent.cause().reason or "")


def test_the_schedulers_own_functions_are_not_what_a_task_waits_in() -> None:
    frames = ("__schedule+0x4c5", "schedule+0x27", None, "do_wait+0x10")
    stack = Stack(tuple(StackFrame(k, name, False) for k, name in enumerate(frames)), "end of stack")
    assert wchan_of(stack) == "do_wait"
    assert wchan_of(None) is None


def test_a_task_that_waits_for_a_mutex_waits_in_what_took_it() -> None:
    frames = ("__schedule+0x4c5", "__mutex_lock.constprop.0+0x433", "anon_pipe_read+0x69")
    stack = Stack(tuple(StackFrame(16 * k, name, False) for k, name in enumerate(frames)), "user")
    assert wchan_of(stack, range(32)) == "anon_pipe_read"
