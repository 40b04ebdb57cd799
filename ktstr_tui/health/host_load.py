"""Reads from /proc how the host fares: QEMU and its vCPUs, steal, and pressure (PSI).

A counter that the host lacks (a kernel without PSI, a container without /proc/stat) is absent and stays so.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ktstr_tui.model.host import HostPressure

_RESOURCES = ("cpu", "memory", "io")
_STEAL_COLUMN = 7
"""Of the numbers of the first line of /proc/stat; the two after it are counted in others already."""


class HostProcess:
    """Reads how QEMU and its vCPUs fare.

    Args:
        pid: QEMU's process.
        thread_ids: Host thread of each vCPU.
        proc: Where procfs is.
    """

    def __init__(self, pid: int, thread_ids: list[int], proc: Path = Path("/proc")) -> None:
        self._stat = proc / str(pid) / "stat"
        self._threads = {
            thread: proc / str(pid) / "task" / str(thread) / "schedstat" for thread in thread_ids
        }

    def stopped(self) -> bool:
        """Whether the process is stopped by a signal or a tracer."""
        try:
            return self._stat.read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
        except (OSError, IndexError):
            # It has just ended, or is not ours to read: nothing is concluded.
            return False

    def times_ns(self) -> dict[int, tuple[int, int]]:
        """For how long each vCPU's thread has run, and waited for a CPU, since its start."""
        times: dict[int, tuple[int, int]] = {}
        for thread, path in self._threads.items():
            try:
                ran, waited = path.read_bytes().split()[:2]
                times[thread] = int(ran), int(waited)
            except (OSError, ValueError):
                continue  # the thread has ended, or this kernel does not count: absent, not zero
        return times

    def turns(self) -> dict[int, int]:
        """How often each vCPU's thread got a CPU since its start."""
        turns: dict[int, int] = {}
        for thread, path in self._threads.items():
            try:
                turns[thread] = int(path.read_bytes().split()[2])
            except (OSError, ValueError, IndexError):
                continue  # as above
        return turns


class HostCounters(msgspec.Struct, frozen=True, kw_only=True):
    """The host's own counters at one moment."""

    at_ns: int
    all_ticks: int | None
    """CPU time of all CPUs and kinds, in ticks."""
    steal_ticks: int | None
    waited_us: dict[str, int]
    """By resource: for how long some task has waited for it; those without a counter are not in it."""


class HostLoad:
    """Reads the host's own counters.

    Args:
        proc: Where procfs is.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def read(self, now_ns: int) -> HostCounters:
        """Read all of them.

        Args:
            now_ns: Host monotonic time.
        """
        ticks = self._ticks()
        waited = {name: self._pressure_us(name) for name in _RESOURCES}
        return HostCounters(
            at_ns=now_ns,
            all_ticks=sum(ticks) if ticks else None,
            steal_ticks=ticks[_STEAL_COLUMN] if len(ticks) > _STEAL_COLUMN else None,
            waited_us={name: value for name, value in waited.items() if value is not None},
        )

    def _ticks(self) -> list[int]:
        try:
            with (self._proc / "stat").open("rb") as file:
                name, *numbers = file.readline().split()
            return [int(number) for number in numbers[: _STEAL_COLUMN + 1]] if name == b"cpu" else []
        except (OSError, ValueError):
            return []

    def _pressure_us(self, resource: str) -> int | None:
        try:
            first = (self._proc / "pressure" / resource).read_bytes().split(b"\n", 1)[0]
            kind, *fields = first.split()
            total = dict(field.split(b"=", 1) for field in fields)[b"total"]
            return int(total) if kind == b"some" else None
        except (OSError, ValueError, KeyError):
            return None  # a kernel without PSI refuses to open or to read it


def pressure_between(before: HostCounters, after: HostCounters) -> HostPressure:
    """The shares between two readings; None for what one of them lacks."""
    steal, spent = (
        _grown(before.steal_ticks, after.steal_ticks),
        _grown(before.all_ticks, after.all_ticks),
    )
    steal = steal / spent if steal is not None and spent else None
    return HostPressure(steal=steal, **{name: _share(name, before, after) for name in _RESOURCES})


def _grown(before: int | None, after: int | None) -> float | None:
    return None if before is None or after is None else float(after - before)


def _share(resource: str, before: HostCounters, after: HostCounters) -> float | None:
    first, last, spent_ns = (
        before.waited_us.get(resource),
        after.waited_us.get(resource),
        after.at_ns - before.at_ns,
    )
    if first is None or last is None or spent_ns <= 0:
        return None
    return min(1.0, max(0.0, (last - first) * 1000 / spent_ns))
