"""A made-up machine whose scheduler writes the events that the kernel would, and remembers what really happened."""

from __future__ import annotations

from collections import defaultdict

from ktstr_tui.kernel.trace.events import TraceEvent
from ktstr_tui.kernel.trace.reader import CpuTrace, Trace
from ktstr_tui.model.history import INSERTS, REMOVES

IDLE, BOOT_NS = 0, 1_000
MS = 1_000_000


class Machine:
    """CPUs that run what they are told to.

    Args:
        cpus: How many.
        records_dsqs: Whether inserts and removes are recorded.
    """

    def __init__(self, cpus: int = 2, *, records_dsqs: bool = True) -> None:
        self.now_ns = BOOT_NS
        self.running = dict.fromkeys(range(cpus), IDLE)
        self.events: dict[int, list[TraceEvent]] = {cpu: [] for cpu in range(cpus)}
        self.ran_ns: dict[tuple[int, int], int] = defaultdict(int)
        """By CPU and pid."""
        self.prio: dict[int, int] = {}
        self._records_dsqs = records_dsqs

    def wait(self, ms: float) -> None:
        """Let time pass."""
        ns = int(ms * MS)
        for cpu, pid in self.running.items():
            self.ran_ns[cpu, pid] += ns
        self.now_ns += ns

    def _write(self, cpu: int, **fields: object) -> None:
        event = {"time_ns": self.now_ns, "cpu": cpu, "by": self.running[cpu], "name": "", **fields}
        self.events[cpu].append(TraceEvent(**event))  # type: ignore[arg-type]

    def switch(self, cpu: int, pid: int, state: int = 0) -> None:
        """Run a task, or nothing; ``state`` is that of the one that leaves."""
        prev = self.running[cpu]
        self._write(
            cpu, kind="switch", pid=pid, comm=comm(pid), prio=self.prio.get(pid, 120), prev_pid=prev,
            prev_comm=comm(prev), prev_state=state,
        )  # fmt: skip
        self.running[cpu] = pid

    def wake(self, cpu: int, pid: int, to_cpu: int = 0) -> None:
        """Wake a task."""
        self._write(cpu, kind="wakeup", pid=pid, comm=comm(pid), prio=120, to_cpu=to_cpu)

    def insert(self, cpu: int, pid: int, dsq_id: int) -> None:
        """Put a task into a DSQ."""
        if self._records_dsqs:
            self._write(cpu, kind="insert", pid=pid, dsq_id=dsq_id)

    def remove(self, cpu: int, pid: int, dsq_id: int) -> None:
        """Take it out."""
        if self._records_dsqs:
            self._write(cpu, kind="remove", pid=pid, dsq_id=dsq_id)

    def text(self, cpu: int, said: str) -> None:
        """Print a line."""
        self._write(cpu, kind="text", text=said)

    def trace(self, known_from_ns: int = 0) -> Trace:
        """What is read of it at the stop; older events than ``known_from_ns`` were overwritten."""
        names = ("sched_switch", "sched_wakeup", *((INSERTS, REMOVES) if self._records_dsqs else ()))
        cpus = [
            CpuTrace(
                cpu=cpu,
                events=tuple(event for event in events if event.time_ns >= known_from_ns),
                known_from_ns=known_from_ns,
            )
            for cpu, events in self.events.items()
        ]
        return Trace(cpus=tuple(cpus), names=names, clock="trace_clock_local", recording=True)

    def current(self) -> dict[int, tuple[int, str]]:
        """What runs on each CPU."""
        return {cpu: (pid, comm(pid)) for cpu, pid in self.running.items()}


def comm(pid: int) -> str:
    """The comm of a made-up task."""
    return f"task-{pid}" if pid else "swapper"
