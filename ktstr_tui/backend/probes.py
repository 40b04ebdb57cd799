"""What the control loop looks at by itself while a guest runs: the host under it, and how far others are behind.

Each probe reads what has grown since it read before, so its first reading of a share is None: one number makes no
share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio

from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.control.probes import InThread, Probe, Values
from ktstr_tui.guest.ram import available_bytes
from ktstr_tui.health.host_load import HostCounters, HostLoad, HostProcess, pressure_between

EVERY_S = 1.0
"""How often each is read."""
_MIB = 1 << 20


class ThreadShares:
    """Host CPU time and steal of the vCPU threads: how long each ran, and how long it waited for a CPU.

    A thread that emulates several vCPUs is one reading under the names of all (``vcpu0-3``): nobody takes the time of
    all of them for that of one.

    Args:
        pid: QEMU's process.
        threads: Host thread of each vCPU, by its number.
        clock: Host monotonic clock, in ns.
        proc: Where procfs is.
    """

    def __init__(
        self, pid: int, threads: dict[int, int], clock: Callable[[], int], proc: Path = Path("/proc")
    ) -> None:
        self._process = HostProcess(pid, list(threads.values()), proc)
        self._names = {
            thread: _name([v for v, it in threads.items() if it == thread]) for thread in threads.values()
        }
        self._clock = clock
        self._before: dict[int, tuple[int, int]] = {}
        self._before_ns = 0

    def read(self) -> Values:
        """Shares of the time since the last reading, 0 to 1."""
        now_ns, now = self._clock(), self._process.times_ns()
        wall_ns = now_ns - self._before_ns
        values: dict[str, float | None] = {}
        for thread, name in self._names.items():
            times, before = now.get(thread), self._before.get(thread)
            for index, what in enumerate(("cpu", "waited")):
                known = times is not None and before is not None and wall_ns > 0
                grown = times[index] - before[index] if known and times and before else 0
                values[f"{name}.{what}"] = min(1.0, max(0.0, grown / wall_ns)) if known else None
        self._before, self._before_ns = now, now_ns
        return values


class HostShares:
    """Steal and pressure (PSI) of the host, and the memory that it has left.

    Args:
        clock: Host monotonic clock, in ns.
        proc: Where procfs is.
    """

    def __init__(self, clock: Callable[[], int], proc: Path = Path("/proc")) -> None:
        self._load = HostLoad(proc)
        self._proc = proc
        self._clock = clock
        self._before: HostCounters | None = None

    def read(self) -> Values:
        """Shares of the time since the last reading, 0 to 1, and memory in MiB."""
        now = self._load.read(self._clock())
        before, self._before = self._before, now
        values: dict[str, float | None] = dict.fromkeys(("steal", "psi.cpu", "psi.memory", "psi.io"))
        if before is not None:
            seen = pressure_between(before, now)
            values = {
                "steal": seen.steal,
                "psi.cpu": seen.cpu,
                "psi.memory": seen.memory,
                "psi.io": seen.io,
            }
        free = available_bytes(self._proc)
        return {**values, "memory_available_mib": None if free is None else free / _MIB}


class DiskSpace:
    """Space on the disk of the run's directory.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Values:
        """Free space in MiB, and as a share of all, 0 to 1.

        Raises:
            OSError: The directory cannot be reached.
        """
        found = os.statvfs(self._path)
        share = found.f_bavail / found.f_blocks if found.f_blocks else None
        return {"free_mib": found.f_bavail * found.f_frsize / _MIB, "free_share": share}


class Numbers:
    """A probe of what this process knows already.

    Args:
        name: Names it.
        read: Gives the numbers at once.
    """

    def __init__(self, name: str, read: Callable[[], Values]) -> None:
        self.name = name
        self.every_s = EVERY_S
        self._read = read

    async def read(self) -> Values:
        """Read them."""
        await trio.lowlevel.checkpoint()
        return self._read()


def capture_backlog(coordinator: Coordinator) -> Values:
    """Whether a capture would have to wait, and how many are not rendered and saved yet."""
    counts = coordinator.statistics()
    unfinished = counts.captures - counts.finisher.finished
    return {"busy": float(coordinator.busy), "unfinished": float(max(0, unfinished))}


def host_probes(pid: int, threads: dict[int, int], data_dir: Path, clock: Callable[[], int]) -> list[Probe]:
    """The probes that read files of the host, each in a thread of its own.

    Args:
        pid: QEMU's process.
        threads: Host thread of each vCPU, by its number.
        data_dir: Where the run is kept.
        clock: Host monotonic clock, in ns.
    """
    return [
        InThread("vcpus", EVERY_S, ThreadShares(pid, threads, clock).read),
        InThread("host", EVERY_S, HostShares(clock).read),
        InThread("disk", EVERY_S, DiskSpace(data_dir).read),
    ]


def _name(vcpus: list[int]) -> str:
    return f"vcpu{vcpus[0]}" if len(vcpus) == 1 else f"vcpu{vcpus[0]}-{vcpus[-1]}"
