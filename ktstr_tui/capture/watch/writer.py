"""Who wrote: the task and the kernel stack of the vCPU that hit a watchpoint.

As with captures, the words are copied while the guest is stopped, and unwound and named when it runs again. The
vCPU is just behind the instruction that wrote, so the innermost frame is the function that did it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ktstr_tui.capture.report.stacks import StackCopy, copy_stack, cpu_stack
from ktstr_tui.kernel.current import CurrentTask
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.report import RunningTask, Stack


@dataclass(slots=True)
class RawWriter:
    """What was copied of a writer."""

    cpu: int
    registers: dict[str, int]
    row: dict[str, Any] | None = None
    stack: StackCopy | None = None
    unavailable: str = ""

    def render(self, view: KernelView) -> tuple[RunningTask | None, Stack]:
        """The task, if it could be read, and the stack; call it when the guest runs again."""
        if self.row is None:
            return None, Stack((), self.unavailable)
        task = RunningTask(
            cpu=self.cpu,
            pid=self.row["pid"],
            comm=text(self.row["comm"]),
            sched_class=view.cpus.class_name(self.row["sched_class"]) or f"{self.row['sched_class']:#x}",
        )
        if self.unavailable:
            return task, Stack((), self.unavailable)
        stack = cpu_stack(view, self.stack, self.registers, ())
        if any(frame.symbol is None for frame in stack.frames):
            stack = cpu_stack(view, self.stack, self.registers, view.bpf_symbols.read(view.fresh_space()))
        return task, stack


def copy_writer(view: KernelView, cpu: int, registers: Mapping[str, int]) -> RawWriter:
    """Copy the task and the stack of a CPU of the stopped guest; the result says what cannot be read."""
    raw = RawWriter(cpu, dict(registers))
    space = view.fresh_space()
    try:
        address = CurrentTask(view.btf, view.symbols, view.cpus).address(space, cpu)
        view.cpus.running(space, address)
        raw.row = view.tasks.full.read(space, address)
        if "rsp" in registers:
            raw.stack = copy_stack(space, registers["rsp"], raw.row["stack"], view.tasks.stack_bytes)
    except KtstrError as problem:
        raw.unavailable = problem.message
    except (LookupError, ValueError, TypeError, OverflowError) as problem:
        raw.unavailable = f"{type(problem).__name__}: {problem}"
    return raw
