"""What the coordinator needs from the rooms around it, as small protocols: a view, a collector, a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from ktstr_tui.kernel.sched_tree import Subs
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import AnyReport

Also: TypeAlias = Callable[[str], Awaitable[None]]
"""What else is done while the guest is stopped for a capture, told the capture's tag; must not raise."""


class SchedulerMemory(Protocol):
    """The typed view of kernel memory, usable from several threads at once.

    The methods that give addresses and exit kinds may raise when memory cannot be read.
    """

    @property
    def nr_cpus(self) -> int:
        """Possible CPUs."""
        ...

    @property
    def release(self) -> str:
        """The kernel's release."""
        ...

    def scx_root_slot(self) -> int:
        """Address of the variable ``scx_root``."""
        ...

    def scx_root(self) -> int | None:
        """Address of the loaded scheduler."""
        ...

    def exit_kind_address(self, sch: int) -> int:
        """Address of ``sch->exit_kind``."""
        ...

    def exit_kind(self, sch: int) -> int:
        """Value of ``sch->exit_kind``."""
        ...

    def exit_info(self, sch: int) -> ExitText | None:
        """``sch->exit_info``; None when it cannot be read."""
        ...

    def exit_kind_name(self, kind: int) -> str:
        """An exit kind in the kernel's words: ``ERROR_STALL``."""
        ...

    def init_comm(self) -> str | None:
        """The comm of process 1; None when it cannot be read."""
        ...

    def subs(self, root: int | None, *, frozen: bool) -> Subs:
        """The schedulers below the loaded one; raises when they cannot be read."""
        ...

    def newest_sub_slot(self, root: int) -> int | None:
        """Address of the pointer that every new scheduler is linked with; None when none can attach below."""
        ...

    def read_scheduler_name(self, sch: int) -> str | None:
        """``sch->ops.name``; None when it cannot be read."""
        ...


class Rendered(Protocol):
    """What was copied while the guest was stopped."""

    def add_registers(self, registers: Sequence[Mapping[str, int]]) -> None:
        """Take the registers of all vCPUs, in order, and copy the stacks that they point to."""
        ...

    def render(self, view: KernelView) -> CaptureReport:
        """Make the report; slow, and called in a worker thread after the thaw."""
        ...


class Collect(Protocol):
    """Copies the state of a stopped guest, fast."""

    def __call__(
        self,
        view: KernelView,
        *,
        tag: str,
        trigger: Trigger,
        trigger_detail: str,
        mono_ns: int,
        step: str | None,
        about: int | None,
    ) -> Rendered:
        """Copy what a report needs, but for what the registers point to."""
        ...


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report on its way to a file."""

    path: str = ""
    """Of the file; empty when there is none."""
    problem: str = ""
    """Why there is none, when it was to be saved."""


class Store(Protocol):
    """Where reports are saved."""

    async def save(self, number: int, report: AnyReport) -> Saved:
        """Save a report. Does not raise."""
        ...
