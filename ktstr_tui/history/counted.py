"""Counts what tasks and CPUs do: the running state that outlives a stretch, and the sums of one.

The loop over events is in C (``native/trace/ktstr_count.h`` says what is counted and how); here its numbers become
values. ``tests/oracles/trace_counts.py`` is the same in plain Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.trace.decode import KINDS, RECORD_BYTES
from ktstr_tui.model.rates import BOUNDS_MS, CpuRate, TaskDoing, TaskRate, TaskRates, Waits

if TYPE_CHECKING:
    from ktstr_tui._native import CData

MAX_TASKS: Final = 256
"""In one stretch's list."""
MAX_KNOWN: Final = lib.KTC_MAX_KNOWN
"""Tasks that are remembered; pids are few, but a guest may write any."""
_COUNTED: Final = {
    "switch": lib.KTC_SWITCH, "wakeup": lib.KTC_WAKEUP, "new": lib.KTC_NEW, "migrate": lib.KTC_MIGRATE,
    "exit": lib.KTC_EXIT, "kick": lib.KTC_KICK,
}  # fmt: skip
assert all(KINDS[number - 1] == kind for kind, number in _COUNTED.items())
_DOING: Final[dict[int, TaskDoing]] = {
    lib.KTC_RUNS: "runs",
    lib.KTC_WAITS: "waits",
    lib.KTC_SLEEPS: "sleeps",
}
_BOUNDS_NS: Final = tuple(round(ms * 1e6) for ms in BOUNDS_MS)


class Counts:
    """What is known of all tasks and CPUs.

    Args:
        nr_cpus: How many there are.

    Raises:
        MemoryError: There is none for it; `add` raises it too.
    """

    def __init__(self, nr_cpus: int) -> None:
        made = lib.ktc_create(nr_cpus, ffi.new("uint64_t[]", _BOUNDS_NS), len(_BOUNDS_NS))
        if made == ffi.NULL:
            raise MemoryError("counts of the trace")
        self._counts = ffi.gc(made, lib.ktc_destroy)
        self._stretch = ffi.new("struct ktc_stretch *")
        self._rates = ffi.new("struct ktc_rate[]", MAX_TASKS)
        self._cpus = ffi.new("struct ktc_cpu[]", nr_cpus)
        self._nr_cpus = nr_cpus
        self._buckets = ffi.new("uint64_t[]", len(_BOUNDS_NS) + 1)

    def forget(self, cpu: int) -> None:
        """Something of a CPU was lost: who runs there is not known until it switches again."""
        lib.ktc_forget(self._counts, cpu)

    def forget_waits(self) -> None:
        """Something was lost: that a task waits still is not known."""
        lib.ktc_forget_waits(self._counts)

    def add(self, events: bytes) -> None:
        """Count events.

        Args:
            events: An array of ``struct ktt_event`` in order of time over all CPUs; those that lack a value are left
                out.
        """
        count = len(events) // RECORD_BYTES
        if not lib.ktc_add(self._counts, ffi.from_buffer("struct ktt_event[]", events), count):
            raise MemoryError("counts of the trace")

    def finish(
        self, now_ns: int, comms: Mapping[int, str], lost: Mapping[int, int], *, kicks: bool = False
    ) -> TaskRates:
        """End a stretch at a time of the guest, and begin the next.

        Args:
            now_ns: The end, on the trace's clock.
            comms: Of the tasks that were seen.
            lost: Events of each CPU that were not seen.
            kicks: Whether the trace records kicks.
        """
        stretch = self._stretch
        listed = lib.ktc_finish(
            self._counts, now_ns, stretch, self._rates, MAX_TASKS, self._cpus, self._buckets
        )
        span_ns = max(1, stretch.span_ns)
        return TaskRates(
            span_ms=stretch.span_ns / 1e6,
            events=stretch.events,
            tasks=tuple(_task(self._rates[k], span_ns, comms) for k in range(listed)),
            more_tasks=stretch.tasks - listed,
            cpus=tuple(_cpu(cpu, self._cpus[cpu], lost.get(cpu, 0)) for cpu in range(self._nr_cpus)),
            waits=_waits(stretch.waits),
            kicks=stretch.kicks if kicks else None,
            buckets=tuple(self._buckets),
        )


def _task(rate: Any, span_ns: int, comms: Mapping[int, str]) -> TaskRate:  # noqa: ANN401 - a C structure
    return TaskRate(
        pid=rate.pid,
        comm=comms.get(rate.pid, "?"),
        cpu=rate.cpu,
        doing=_DOING[rate.doing],
        prio=rate.prio if rate.has_prio else None,
        run_share=min(1.0, rate.ran_ns / span_ns),
        switches=rate.switches,
        preempted=rate.preempted,
        migrations=rate.migrations,
        wakeups=rate.wakeups,
        waits=_waits(rate.waits),
        waiting_ms=rate.waiting_ns / 1e6 if rate.is_waiting else None,
    )


def _waits(waits: Any) -> Waits:  # noqa: ANN401 - a C structure
    if not waits.count:
        return Waits()
    return Waits(
        count=waits.count,
        p50_ms=waits.p50_ns / 1e6,
        p99_ms=waits.p99_ns / 1e6,
        max_ms=waits.max_ns / 1e6,
    )


def _cpu(cpu: int, found: CData, lost: int) -> CpuRate:
    known_ns = found.busy_ns + found.idle_ns
    return CpuRate(
        cpu=cpu,
        busy_share=found.busy_ns / known_ns if known_ns else None,
        switches=found.switches,
        preempted=found.preempted,
        lost=lost,
    )
