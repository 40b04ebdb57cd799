"""How much host CPU time each vCPU's thread has used, from /proc.

``schedstat`` counts nanoseconds; its first number grows at the host's ticks and context switches, so it may
lag by a few milliseconds for a thread that runs right now. Where the host kernel has no ``schedstat``,
``stat`` gives clock ticks (10 ms).

A thread that carries several vCPUs (emulation by an old QEMU) tells of none of them whether it ran: its vCPUs
are left out, so that nobody takes the time of one for that of another.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_NS_PER_CLOCK_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class VcpuTimes:
    """Reads the CPU times of a machine's vCPU threads.

    Args:
        pid: QEMU's process.
        thread_ids: Host thread of each vCPU, in the order of the vCPUs.
        proc: Where procfs is.
    """

    def __init__(self, pid: int, thread_ids: Sequence[int], proc: Path = Path("/proc")) -> None:
        carried = Counter(thread_ids)
        self._tasks = {
            vcpu: proc / str(pid) / "task" / str(thread_id)
            for vcpu, thread_id in enumerate(thread_ids)
            if carried[thread_id] == 1
        }
        shared = len(thread_ids) - len(self._tasks)
        self.obstacle = f"{shared} vCPUs share one host thread" if shared else ""
        """Why vCPUs are left out for good; empty when none is."""
        self.failures = 0
        """Reads that failed; their vCPUs are left out of the answer."""

    def __call__(self) -> dict[int, int]:
        """Nanoseconds used so far, by vCPU, without those that share a thread.

        A thread that cannot be read is left out, too, and counted.
        """
        times: dict[int, int] = {}
        for vcpu, task in self._tasks.items():
            try:
                times[vcpu] = _cpu_time_ns(task)
            except (OSError, ValueError, IndexError):
                self.failures += 1
        return times


def _cpu_time_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_bytes().split()[0])
    except FileNotFoundError:
        # The command name is in parentheses and may hold anything; the numbers follow the last one.
        fields = (task / "stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _NS_PER_CLOCK_TICK
