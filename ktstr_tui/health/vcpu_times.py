"""How much host CPU time each vCPU's thread has used, from /proc.

``schedstat`` counts nanoseconds; its first number grows at the host's ticks and context switches, so it may
lag by a few milliseconds for a thread that runs right now. Where the host kernel has no ``schedstat``,
``stat`` gives clock ticks (10 ms).

A thread that emulates several vCPUs in turn shows of none of them how long it ran: its vCPUs are left out, so that
nobody takes the time of one for that of another, and `VcpuTimes.shared_ns` is the time of all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ktstr_tui.model.sample import Sample

_NS_PER_CLOCK_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class SampledView(Protocol):
    """The typed view of kernel memory, as far as the sampler reads it."""

    @property
    def nr_cpus(self) -> int:
        """Possible CPUs."""
        ...

    def sample(self, vcpu_times: Mapping[int, int] | None = None) -> Sample:
        """One look at all CPUs and the scheduler."""
        ...


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
        self._shared = (
            proc / str(pid) / "task" / str(thread_ids[0]) if len(carried) == 1 < len(thread_ids) else None
        )
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

    def shared_ns(self) -> int | None:
        """Nanoseconds used so far by the one thread of all vCPUs; None when it is not so, or cannot be read."""
        if self._shared is None:
            return None
        try:
            return _cpu_time_ns(self._shared)
        except (OSError, ValueError, IndexError):
            self.failures += 1
            return None


def _cpu_time_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_bytes().split()[0])
    except FileNotFoundError:
        # The command name is in parentheses and may hold anything; the numbers follow the last one.
        fields = (task / "stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _NS_PER_CLOCK_TICK


class WithSharedTime:
    """A view whose samples also carry what the one thread of all vCPUs has used.

    Args:
        view: The view that samples.
        shared_ns: Host CPU time of that thread in nanoseconds; None where each vCPU has its own.
    """

    def __init__(self, view: SampledView, shared_ns: Callable[[], int | None]) -> None:
        self._view = view
        self._shared_ns = shared_ns

    @property
    def nr_cpus(self) -> int:
        """Possible CPUs."""
        return self._view.nr_cpus

    def sample(self, vcpu_times: Mapping[int, int] | None = None) -> Sample:
        """Look at all CPUs and the scheduler once."""
        return msgspec.structs.replace(self._view.sample(vcpu_times), shared_cpu_time_ns=self._shared_ns())
