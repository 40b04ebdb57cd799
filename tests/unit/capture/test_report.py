"""From a frozen kernel in made-up memory to its report: copies, stacks, names, and what damage costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ktstr_tui.capture.report import render
from ktstr_tui.capture.report.collect import MAX_TASKS, collect
from ktstr_tui.capture.report.stacks import StackCopy, copy_stack
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.report import SLICE_INF, CaptureReport
from ktstr_tui.text import report_diff, report_lines
from ktstr_tui.text.cause import headline
from ktstr_tui.text.lines import text_of
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET
from tests.unit.kernel.tiny import NODE, RUNNABLE, SCHED, SP, STACK, STACK_BYTES
from tests.unit.kernel.whole import (
    BPF_KALLSYMS,
    ENTRY,
    MAP_VALUE,
    PRB,
    SCHEDULE,
    STACKS,
    WORKER,
    WholeKernel,
)

WILD = 0xFFFF_8880_7000_0000
QUEUE = PAGE_OFFSET + 0x70000
INFO = PAGE_OFFSET + 0x68000
ERROR_STALL = 1026
NO_TRACE = "this kernel has no trace buffer (CONFIG_TRACING)"


class Stopped:
    """A kernel that was stopped with two tasks waiting in a queue and a third one running on CPU 1."""

    def __init__(self) -> None:
        self.kernel = kernel = WholeKernel()
        self.tasks = [kernel.sleeper(8, pid=42, comm="w/0"), kernel.sleeper(9, pid=43, comm="w/1")]
        self.running = kernel.sleeper(10, pid=44, comm="hog", cpu=1)
        kernel.memory.put(self.running + 32, 1, 4)
        kernel.memory.put(kernel.rq(1) + 16, self.running)
        kernel.scheduler("made_up", exit_kind=ERROR_STALL)
        kernel.runnable(0, self.tasks)
        kernel.runnable(1, [self.running])
        kernel.queue(0, number=7, nr=2, tasks=self.tasks)
        kernel.hash_table([[QUEUE]], elements=1)
        for task in self.tasks:
            kernel.memory.put(task + 0x80, QUEUE)
        kernel.log("sched_ext: made_up disabled", 2_000_000_000)
        self.array = kernel.bpf_map("counts", "ARRAY", key_size=4, value_size=8, max_entries=1)
        kernel.memory.put(self.array + 64, 8, 4)
        kernel.memory.put(self.array + MAP_VALUE, 3, 4)
        self.registers: dict[int, dict[str, int]] = {
            0: {"rip": ENTRY, "rsp": 0x7000_0000, "rbp": 0},
            1: {"rip": WORKER + 3, "rsp": STACKS + 2 * STACK_BYTES + 0x3F00, "rbp": 0},
        }
        kernel.memory.put(self.registers[1]["rsp"], ENTRY + 8)

    def say_why(self) -> None:
        """Write the exit info, as the kernel does some time after the stop."""
        put = self.kernel.memory
        put.put(INFO, ERROR_STALL, 4)
        put.put(INFO + 8, 5)
        put.put(INFO + 16, INFO + 0x80)
        put.put(INFO + 24, INFO + 0x100)
        put.put_bytes(INFO + 0x80, b"runnable task stall\0")
        put.put_bytes(INFO + 0x100, b"w/0[42] failed to run for 3.000s\0")
        put.put(SCHED + 80, INFO)

    def report(self, max_tasks: int = MAX_TASKS) -> CaptureReport:
        view = self.kernel.open()
        raw = collect(view, self.registers, tag="error-001", trigger="error", max_tasks=max_tasks)
        return raw.render(view)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    monkeypatch.setattr(render, "_EXIT_WAIT_S", 0.0)
    return Stopped()


def test_a_report_is_whole(stopped: Stopped) -> None:
    stopped.say_why()
    report = stopped.report()
    # The kernel that is made up for this has no trace buffer.
    assert (report.unavailable, report.truncated) == ({"history": NO_TRACE}, {})
    assert (report.kernel, report.tag, report.exit_kind) == ("6.99.0-test", "error-001", ERROR_STALL)
    assert [(task.pid, task.age_ms, task.dsq, task.dsq_id) for task in report.tasks] == [
        (42, 1000.0, "0x7", 7),
        (43, 996.0, "0x7", 7),
        (44, 1000.0, None, None),
    ]
    first = report.tasks[0]
    assert (first.sched_class, first.policy, first.nice, first.cpus_allowed) == ("ext", "NORMAL", 0, "0-1")
    assert [(there.cpu, there.comm) for there in first.running_there] == [(0, "swapper/0"), (1, "hog")]
    assert report.stalled is not None
    assert report.stalled.pid == 42
    scheduler = report.scheduler
    assert scheduler is not None
    assert (scheduler.name, scheduler.exit_kind_name, scheduler.exit_code) == ("made_up", "ERROR_STALL", 5)
    assert (scheduler.reason, scheduler.message) == (
        "runnable task stall",
        "w/0[42] failed to run for 3.000s",
    )
    assert [(dsq.label, dsq.nr, dsq.pids) for dsq in report.dsqs] == [
        ("0x7", 2, (42, 43)),
        ("local cpu 0", 0, ()),
        ("local cpu 1", 0, ()),
    ]
    assert report.maps[0].entries[0].value == {"hits": 3, "misses": 0}
    assert report.dmesg_tail == ("[    2.000000] sched_ext: made_up disabled",)


def test_stacks_are_named_and_end_where_they_end(stopped: Stopped) -> None:
    report = stopped.report()
    stack = report.tasks[0].stack
    assert stack is not None
    assert [frame.symbol for frame in stack.frames] == [
        "schedule+0x5",
        "worker_thread+0x9",
        "ret_from_fork+0x4",
    ]
    assert (stack.end, any(frame.guess for frame in stack.frames)) == ("end of stack", False)
    assert report.tasks[2].stack is None, "the task runs: its registers are on its CPU"
    user, kernel = (vcpu.stack for vcpu in report.vcpus)
    assert user is not None
    assert user.end == "the stack pointer is not in the kernel"
    assert kernel is not None
    assert [frame.symbol for frame in kernel.frames] == ["worker_thread+0x3", "ret_from_fork+0x8"]


def test_a_cpu_in_user_space_has_no_kernel_stack(stopped: Stopped) -> None:
    stopped.registers[0]["rip"] = 0x40_1000
    vcpu = stopped.report().vcpus[0]
    assert vcpu.stack is not None
    assert (vcpu.stack.frames, vcpu.stack.end) == ((), "user")


def test_code_of_bpf_is_named_by_the_kernels_own_list(stopped: Stopped) -> None:
    jit, entry = WORKER + 0x800, PAGE_OFFSET + 0xEF000
    put = stopped.kernel.memory.put
    put(BPF_KALLSYMS, entry + 32)
    put(entry, jit)
    put(entry + 8, jit + 0x40)
    stopped.kernel.memory.put_bytes(entry + 16, b"bpf_prog_made_up")
    put(entry + 32, BPF_KALLSYMS)
    stopped.registers[1]["rip"] = jit + 4
    stack = stopped.report().vcpus[1].stack
    assert stack is not None
    assert stack.frames[0].symbol == "bpf_prog_made_up+0x4"


def test_registers_may_come_later_and_for_some_cpus_only(stopped: Stopped) -> None:
    view = stopped.kernel.open()
    raw = collect(view, tag="few", trigger="on-demand")
    raw.add_registers([stopped.registers[0]])
    report = raw.render(view)
    assert report.vcpus[0].registers["rip"] == ENTRY
    assert report.vcpus[1].unavailable == "no registers were read for this CPU"


def test_what_the_kernel_writes_after_the_stop_is_read_late_and_said_to_be(stopped: Stopped) -> None:
    view = stopped.kernel.open()
    raw = collect(view, stopped.registers, tag="error-001", trigger="error")
    stopped.say_why()
    report = raw.render(view)
    assert report.scheduler is not None
    assert report.scheduler.reason == "runnable task stall"
    assert "scheduler.exit_info" in report.read_late


def test_the_exit_info_of_another_scheduler_is_left_alone(stopped: Stopped) -> None:
    view = stopped.kernel.open()
    raw = collect(view, stopped.registers, tag="error-001", trigger="error")
    stopped.say_why()
    stopped.kernel.memory.put_bytes(SCHED, b"another\0")
    report = raw.render(view)
    assert report.scheduler is not None
    assert (report.scheduler.name, report.scheduler.reason) == ("made_up", None)


def test_a_limit_keeps_those_that_wait_longest(stopped: Stopped) -> None:
    report = stopped.report(max_tasks=1)
    assert [task.pid for task in report.tasks] == [42]
    assert report.truncated["tasks"] == "the 1 that wait longest of 3"


def list_in_a_circle(of: Stopped) -> None:
    of.kernel.memory.put(of.tasks[1] + NODE, of.tasks[0] + NODE)


def list_out_of_memory(of: Stopped) -> None:
    of.kernel.memory.put(of.kernel.rq(0) + RUNNABLE, 0x1000)


@pytest.mark.parametrize(("damage", "kept"), [(list_in_a_circle, (42, 43)), (list_out_of_memory, ())])
def test_a_broken_runnable_list_is_given_up_to_there_as_cut(
    stopped: Stopped, damage: Callable[[Stopped], None], kept: tuple[int, ...]
) -> None:
    damage(stopped)
    report = stopped.report()
    assert (report.runqueues[0].runnable_pids, report.runqueues[0].runnable_truncated) == (kept, True)
    assert (report.runqueues[1].runnable_pids, report.runqueues[1].runnable_truncated) == ((44,), False)


def test_a_wild_current_task_costs_its_cpu_alone(stopped: Stopped) -> None:
    stopped.kernel.memory.put(stopped.kernel.rq(1) + 16, WILD)
    report = stopped.report()
    assert "not mapped" in (report.runqueues[1].unavailable or "")
    assert report.runqueues[0].unavailable is None
    assert [task.pid for task in report.tasks] == [42, 43]


def test_a_wild_scheduler_costs_its_section_and_what_needs_it(stopped: Stopped) -> None:
    stopped.kernel.memory.put(IMAGE + 0x1300, WILD)
    report = stopped.report()
    assert "not mapped" in report.unavailable["scheduler"]
    assert "maps" not in report.unavailable
    assert report.runqueues[0].runnable_pids == (42, 43)


def test_a_queue_that_leads_out_of_memory_is_named_as_missing(stopped: Stopped) -> None:
    stopped.kernel.memory.put(stopped.tasks[0] + 0x80, WILD)
    report = stopped.report()
    assert "not mapped" in report.truncated["tasks"]
    assert [task.pid for task in report.tasks] == [43, 44]


def test_a_queue_in_a_circle_is_cut(stopped: Stopped) -> None:
    node = stopped.tasks[1] + 0xC0
    stopped.kernel.memory.put(node, node)
    queue = stopped.report().dsqs[0]
    assert queue.truncated
    assert set(queue.pids) == {42, 43}


def test_a_hash_table_in_a_circle_costs_the_queues_alone(stopped: Stopped) -> None:
    stopped.kernel.memory.put(QUEUE + 32, QUEUE + 32)
    report = stopped.report()
    assert "hash chain" in report.unavailable["dsqs"]
    assert report.tasks[0].dsq == "0x7"


def test_a_stack_pointer_out_of_memory_costs_the_task_its_stack(stopped: Stopped) -> None:
    stopped.kernel.memory.put(stopped.tasks[0] + SP, WILD)
    stopped.kernel.memory.put(stopped.tasks[0] + STACK, WILD)
    report = stopped.report()
    assert report.truncated.keys() == {"stacks"}
    assert report.truncated["stacks"].startswith("pid 42: ")
    first, second, _ = report.tasks
    assert (first.pid, first.stack, first.dsq) == (42, None, "0x7")
    assert second.stack is not None
    assert len(second.stack.frames) == 3


def test_a_log_that_was_overwritten_is_unavailable(stopped: Stopped) -> None:
    stopped.kernel.memory.put(PRB + 8 + 24, 1 << 61)
    report = stopped.report()
    assert report.dmesg_tail == ()
    assert "log could not be read" in report.unavailable["dmesg_tail"]


def test_words_of_a_stack_that_were_not_copied_are_not_made_up(stopped: Stopped) -> None:
    view: KernelView = stopped.kernel.open()
    copy = copy_stack(view.fresh_space(), STACKS + 0x3F00, STACKS, STACK_BYTES)
    assert copy is not None
    assert [len(data) for _, data in copy.runs] == [0x100]
    for address in (STACKS + 0x3EF8, STACKS + 0x4000, STACKS + 0x3FFC):
        with pytest.raises(MemoryReadError, match="not copied at the stop"):
            copy.u64(address)
    assert copy_stack(view.fresh_space(), 0x7FFF_0000, STACKS, STACK_BYTES) is None


def test_a_cpu_on_an_interrupt_stack_has_both_copied(stopped: Stopped) -> None:
    view = stopped.kernel.open()
    other = PAGE_OFFSET + view.space.memory.end - 0x800
    copy = copy_stack(view.fresh_space(), other, STACKS, STACK_BYTES)
    assert isinstance(copy, StackCopy)
    assert [(start, len(data)) for start, data in copy.runs] == [(other, 0x800), (STACKS, STACK_BYTES)]
    assert SCHEDULE < WORKER


def test_what_a_cpu_runs_is_whole(stopped: Stopped) -> None:
    put, task = stopped.kernel.memory.put, stopped.running
    put(task + 0x80 + 0x70, (1 << 64) - 1)
    put(task + 0x80 + 28, 100, 4)
    put(task + 0x80 + 16, 0x301, 4)
    put(stopped.kernel.rq(1) + 0x100 + 0x94, 3, 4)
    report = stopped.report()
    queue = report.runqueues[1]
    assert queue.flag_names == ("ONLINE", "CAN_STOP_TICK")
    assert queue.curr is not None
    assert (queue.curr.weight, queue.curr.policy, queue.curr.slice_ns) == (100, "NORMAL", SLICE_INF)
    assert queue.running is not None
    assert (queue.running.scx_state, queue.running.scx_flags) == ("ENABLED", 1)
    assert queue.running.cpus_allowed == "0-1"
    assert report.runqueues[0].running is None, "the idle task"
    assert "cpu 1 hog[44] (ext, infinite slice)" in headline(report)
    shown = "\n".join(text_of(line) for line in report_lines.runqueues(report, 120))
    assert "flags=0x3 ONLINE|CAN_STOP_TICK" in shown
    assert "slice=infinite" in shown
    assert "ops_qseq=" not in shown, "this kernel's runqueue has no such member"


def test_a_task_in_no_queue_is_with_the_bpf_scheduler(stopped: Stopped) -> None:
    stopped.kernel.memory.put(stopped.tasks[0] + 0x80, 0)
    stopped.kernel.memory.put(stopped.tasks[0] + 0x80 + 0x60, 2 | 77 << 2)
    report = stopped.report()
    assert (report.tasks[0].ops_state_name, report.tasks[0].ops_qseq) == ("QUEUED", 77)
    assert "held by the BPF scheduler (qseq 77), in no DSQ" in headline(report)
    assert report.stalled is not None
    assert report.stalled.place == "held by the BPF scheduler, in no DSQ"


def test_a_cpu_that_is_offline_is_not_idle(stopped: Stopped) -> None:
    stopped.kernel.memory.put(IMAGE + 0x1200, 0b10)
    report = stopped.report()
    assert [queue.online for queue in report.runqueues] == [False, True]
    assert "running there: cpu 0 offline, cpu 1 hog[44] (ext)" in headline(report)
    shown = "\n".join(text_of(line) for line in report_lines.overview(report, 120))
    assert "cpu 0   offline" in shown


def test_code_of_bpf_has_its_source_line(stopped: Stopped) -> None:
    jit, entry, table = WORKER + 0x800, PAGE_OFFSET + 0xEF000, PAGE_OFFSET + 0xEF100
    put, text = stopped.kernel.memory.put, stopped.kernel.memory.put_bytes
    put(BPF_KALLSYMS, entry + 32)
    for offset, word in ((0, jit), (8, jit + 0x40), (32, BPF_KALLSYMS), (64, table), (72, table + 0x40)):
        put(entry + offset, word)
    text(entry + 16, b"bpf_prog_made_up")
    put(entry + 48, 1, 1)
    put(entry + 80, table + 0x80)
    put(entry + 88, 3, 4)
    put(table + 32, table + 0x100)
    text(table + 0x100, b"\0/src/made_up.bpf.c\0\tfirst();\0\tsecond();\0")
    # The first record is that of another function of the same program.
    for k, (start, line_at, number) in enumerate(((jit - 0x100, 30, 7), (jit, 20, 41), (jit + 0x10, 30, 42))):
        put(table + 0x80 + 8 * k, start)
        for offset, word in ((4, 1), (8, line_at), (12, number << 10 | 3)):
            put(table + 0x40 + 16 * k + offset, word, 4)
    lines = stopped.kernel.open().bpf_lines
    symbol = stopped.kernel.open().bpf_symbols.read(stopped.kernel.space)[0]
    found = [lines.find(stopped.kernel.space, symbol, jit + at, exact=True) for at in (0, 0xF, 0x10)]
    assert found == ["made_up.bpf.c:41  first();"] * 2 + ["made_up.bpf.c:42  second();"]
    back = lines.find(stopped.kernel.space, symbol, jit + 0x10, exact=False)
    assert back == "made_up.bpf.c:41  first();", "a return address belongs to the call before it"
    stopped.registers[1]["rip"] = jit + 0x12
    stack = stopped.report().vcpus[1].stack
    assert stack is not None
    assert stack.frames[0].source == "made_up.bpf.c:42  second();"
    put(entry + 48, 0, 1)
    stack = stopped.report().vcpus[1].stack
    assert stack is not None
    assert stack.frames[0].source is None, "a trampoline has no line information"


def test_the_kernels_dump_is_in_the_report(stopped: Stopped) -> None:
    stopped.say_why()
    put, text = stopped.kernel.memory.put, stopped.kernel.memory.put_bytes
    dump = b"made_up[7] triggered exit kind 1026:\n\nBacktrace:\n  check+0x1\n\nbudget is spent\n\nCPU states\n----"
    put(INFO + 32, INFO + 0x200)
    text(INFO + 0x200, dump + b"\0")
    view = stopped.kernel.open()
    raw = collect(view, stopped.registers, tag="error-001", trigger="error")
    put(SCHED + 64, 1, 4)
    report = raw.render(view)
    assert report.scheduler is not None
    assert report.scheduler.dump == tuple(dump.decode().splitlines())
    assert "scheduler.dump" not in report.truncated
    shown = [text_of(line).strip() for line in report_lines.overview(report, 120)]
    assert "ops.dump budget is spent" in shown
    assert "budget is spent" in [text_of(line) for line in report_lines.dmesg(report, 120)]
    put(SCHED + 64, ERROR_STALL, 4)
    assert "may not have finished" in raw.render(view).truncated["scheduler.dump"]
    text(INFO + 0x200 + len(dump), b"\n~~~~ TRUNCATED ~~~~\n\0")
    assert "ops.exit_dump_len" in raw.render(view).truncated["scheduler.dump"]


def test_a_broken_list_is_missing_and_not_empty(stopped: Stopped) -> None:
    whole = stopped.report()
    stopped.kernel.memory.put(stopped.kernel.rq(0) + RUNNABLE, WILD)
    stopped.kernel.memory.put(QUEUE, WILD)
    report = stopped.report()
    assert report.truncated["tasks"] == "the runnable list of CPU 0 after 0 tasks"
    assert report.truncated["dsqs"] == "0x7 after 0 of 2 tasks"
    assert "the runnable list of CPU 0 after 0 tasks" in headline(report)
    gone = {task.pid: task.presence for task in diff_reports(whole, report).tasks}
    assert gone == {42: "unknown", 43: "unknown", 44: "both"}
    shown = [text_of(line) for line in report_diff.diff_lines(diff_reports(whole, report), 120)]
    assert not any("no longer runnable" in line for line in shown)
    assert any("w/0[42]" in line and "the other's list was cut" in line for line in shown)
