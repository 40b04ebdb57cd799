"""Sub-schedulers below the loaded scheduler of a fake guest."""

from __future__ import annotations

from ktstr_tui.kernel.sched_tree import SubSched
from ktstr_tui.kernel.scx import ExitText, SchedState
from ktstr_tui.model.events import SchedulerChanged
from tests.unit.capture.fakes import EXIT_OFFSET, LIST_SLOT, SCHED_A
from tests.unit.capture.rig import Rig

SUB = 0xFFFF_8880_0001_0000
STALL = 1026


class SubRig:
    """A watched rig whose loaded scheduler lets others attach."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.view.accepts_subs = True
        rig.view.root = SCHED_A

    def enter(self, number: int, cgroup: str) -> int:
        """A scheduler is linked; its address."""
        address = SUB + 0x1000 * number
        self.rig.view.names[address] = f"sub{number}"
        self.rig.view.exit_kinds[address] = 0
        self._put(address, cgroup, 0)
        self.rig.engine.hit(LIST_SLOT)
        return address

    def _put(self, address: int, cgroup: str, kind: int) -> None:
        view = self.rig.view
        state = SchedState(address, view.names[address], kind, None, None, 0, None, None, None, None)
        view.below = [it for it in view.below if it.state.address != address]
        view.below.append(SubSched(state, SCHED_A, 1, cgroup, True))

    def exit(self, address: int, kind: int, vcpu: int = 1, *, hit: bool = True) -> None:
        """The kernel writes ``exit_kind``."""
        (sub,) = [it for it in self.rig.view.below if it.state.address == address]
        self._put(address, sub.cgroup, kind)
        self.rig.view.exit_kinds[address] = kind
        if hit:
            self.rig.engine.hit(address + EXIT_OFFSET, vcpu)

    def leave(self, address: int, kind: int, message: str) -> None:
        """It is unlinked; the end of the list is not written."""
        self.rig.view.exit_infos[address] = ExitText(kind, 0x42, None, message)
        self.rig.view.below = [it for it in self.rig.view.below if it.state.address != address]

    async def stall(self, number: int, cgroup: str) -> None:
        """One attaches, is ejected for a stall, and is unlinked."""
        address = self.enter(number, cgroup)
        await self.rig.settle()
        self.exit(address, STALL)
        await self.rig.settle()
        self.leave(address, STALL, "x[1] failed to run for 1.000s")

    async def poll(self) -> None:
        """The sampler's next ticks."""
        for _ in range(2):
            self.rig.coordinator.poll()
            await self.rig.settle()

    def changes(self) -> list[tuple[str, str | None, str]]:
        told = self.rig.of(SchedulerChanged)
        return [(it.change, it.cgroup, it.exit_kind_name) for it in told if it.cgroup is not None]
