"""What is known of the host when it gave the guest no CPU: for how long, why, and how busy it was.

Steal is what the host's own hypervisor took from it; pressure (PSI) is the share of the time in which something on the
host waited for a resource. Where the host keeps no such counter the share is None, which is not 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

HOST_ALERT_KEY = "host"
"""Of the alert that the host gives the guest no CPU."""


class HostPressure(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of a stretch of time, 0 to 1; None where the host does not count that."""

    steal: float | None = None
    """Of all CPU time of the host: taken by the hypervisor below it (``steal`` in /proc/stat)."""
    cpu: float | None = None
    """Some task of the host waited for a CPU (``some`` in /proc/pressure/cpu)."""
    memory: float | None = None
    """Some task of the host waited for memory (``some`` in /proc/pressure/memory)."""
    io: float | None = None
    """Some task of the host waited for a device (``some`` in /proc/pressure/io)."""


class HostStretch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the host's monotonic time in which it gave the guest no CPU."""

    start_ns: int
    end_ns: int
    reason: str
    """``QEMU was stopped``, …"""
    pressure: HostPressure = HostPressure()


class HostWait(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a wait the host is to blame for."""

    without_cpu_ms: float
    """How long the host gave the guest no CPU within the wait."""
    wait_ms: float
    """The whole wait, which ended with the capture."""
    reason: str
    """Of the longest such stretch: ``QEMU was stopped``, …"""
    pressure: HostPressure = HostPressure()
    """During that stretch."""

    @property
    def most(self) -> bool:
        """Whether that is at least half of the wait, so that nothing can be said of the scheduler."""
        return 2 * self.without_cpu_ms >= self.wait_ms > 0


def host_wait(stretches: Iterable[HostStretch], start_ns: int, end_ns: int) -> HostWait | None:
    """Work out the host's part in a wait.

    Args:
        stretches: When the host gave the guest no CPU.
        start_ns: Begin of the wait, on the host's monotonic clock.
        end_ns: Its end.

    Returns:
        None when the host has no part in it.
    """
    inside = [(min(end_ns, it.end_ns) - max(start_ns, it.start_ns), it) for it in stretches]
    inside = [(length_ns, it) for length_ns, it in inside if length_ns > 0]
    if not inside:
        return None
    longest = max(inside, key=lambda pair: pair[0])[1]
    return HostWait(
        without_cpu_ms=sum(length_ns for length_ns, _ in inside) / 1e6,
        wait_ms=(end_ns - start_ns) / 1e6,
        reason=longest.reason,
        pressure=longest.pressure,
    )


def host_words(wait: HostWait) -> str:
    """Say it in one phrase, as reports, summaries and the log do."""
    return (
        f"the host gave the guest no CPU for {wait.without_cpu_ms / 1e3:.1f} s of the "
        f"{wait.wait_ms / 1e3:.1f} s wait: {wait.reason} ({pressure_words(wait.pressure)})"
    )


def pressure_words(pressure: HostPressure) -> str:
    """The shares in percent; what the host does not count is unknown."""
    parts = [f"steal {_percent(pressure.steal)}"]
    parts += [f"{name} {_percent(getattr(pressure, name))}" for name in ("cpu", "memory", "io")]
    return f"host {parts[0]}, pressure {', '.join(parts[1:])}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"
