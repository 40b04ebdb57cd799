"""What time it is in a guest that is held, and what its vCPUs have done by then.

Until the guest's memory can be read by type the time is that of the instructions executed; from then on the kernel's
jiffies go on from there, which also count the time that the machine skipped because every vCPU was idle.
"""

from __future__ import annotations

from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.guest.determinism import DEFAULT_INSTRUCTION_NS, Determinism
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.kernel.view import KernelView

HUNG_NS = 100_000_000
"""Time of instructions without a tick from which on they count as time again."""


class GuestClock:
    """The clock of one boot.

    Args:
        determinism: Says how long an instruction takes.
        since_ns: What the clock showed when the machine started.
    """

    def __init__(self, determinism: Determinism | None, since_ns: int) -> None:
        self._instruction_ns = determinism.instruction_ns if determinism else DEFAULT_INSTRUCTION_NS
        self._now_ns = since_ns
        self._total = 0
        self._first: tuple[int, int] | None = None
        self._ticked = 0

    def read_ns(self, total: int, view: KernelView | None) -> int:
        """The time.

        Args:
            total: Instructions executed by all vCPUs.
            view: The guest's memory by type, once it can be read.
        """
        if view is None or self._first is None:
            self._now_ns += (total - self._total) * self._instruction_ns
            self._total = total
            if view is not None:
                self._ticked = view.jiffies()
                self._first = self._ticked, self._now_ns
            return self._now_ns
        jiffies, (first, since_ns) = view.jiffies(), self._first
        if jiffies != self._ticked:
            self._ticked, self._total = jiffies, total
        # A kernel that hangs with its interrupts off counts no jiffies.
        hung_ns = max(0, (total - self._total) * self._instruction_ns - HUNG_NS)
        self._now_ns = max(self._now_ns, since_ns + (jiffies - first) * 1_000_000_000 // view.hz + hung_ns)
        return self._now_ns


class Executed:
    """How long each vCPU has run, as the time of the instructions that it executed.

    Args:
        engine: Holds the machine.
        instruction_ns: Guest time of an instruction.
    """

    def __init__(self, engine: HoldEngine, instruction_ns: int) -> None:
        self._engine = engine
        self._instruction_ns = instruction_ns

    def __call__(self) -> dict[int, int]:
        """Nanoseconds so far, by vCPU; of the hold that lasts or was the last."""
        return {vcpu: count * self._instruction_ns for vcpu, count in enumerate(self._engine.counts)}

    def shared_ns(self) -> None:
        """None: each vCPU has a count of its own."""
        return


class FrozenByHand:
    """Says of a machine that is held at each look that a person's freeze hides it, and nothing else.

    Args:
        coordinator: Knows of freezes, and looks for what no watchpoint told.
    """

    blind = ""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    @property
    def frozen(self) -> bool:
        """Whether a person has frozen it."""
        return self._coordinator.frozen_reason is not None

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long it was frozen within a stretch of the run's time."""
        return self._coordinator.frozen_between_ns(start_ns, end_ns)

    def poll(self) -> None:
        """Look for what no watchpoint told."""
        self._coordinator.poll()
