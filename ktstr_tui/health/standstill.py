"""Notices when the host gives the guest no CPU: it was paused, QEMU was stopped, or others have all the CPUs.

The guest's clock runs on meanwhile, and so does the kernel's watchdog. A task that waited in such a stretch says
nothing of the scheduler. Three signs, looked at every `LOOK_S`:

* this program itself was not run for much longer than it wanted to sleep,
* the process of QEMU is stopped (state ``T`` in /proc/PID/stat),
* a vCPU's thread could run and did not (``run_delay``, the second number of its schedstat) for most of the time.

Time in which a person froze the guest is none of them: its vCPUs then sleep.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from ktstr_tui.health.sampler import Freezer
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HostStood

LOOK_S = 0.25
"""How often it is looked."""
LATE_NS = 1_000_000_000
"""How much later than asked for a look may come."""
WAITING_SHARE = 0.97
"""Of a look's time, above which a vCPU that waits for a CPU of the host counts as one that has none.

Ten threads that share two cores wait four fifths of the time each, and a healthy guest lives well with that."""
WORTH_NS = 500_000_000
"""Stretches that are shorter are not worth a word."""
ALERT_KEY = "host"


class HostProcess:
    """Reads from /proc how QEMU and its vCPUs fare.

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

    def waited_ns(self) -> dict[int, int]:
        """For how long each vCPU's thread has waited for a CPU since its start."""
        waited: dict[int, int] = {}
        for thread, path in self._threads.items():
            try:
                waited[thread] = int(path.read_bytes().split()[1])
            except (OSError, ValueError, IndexError):
                continue  # the thread has ended: absent, not zero
        return waited


class Standstill:
    """Looks at the host until cancelled.

    Args:
        process: Of the machine.
        emit: Takes events.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self, process: HostProcess, emit: Callable[[Event], object], clock: Callable[[], int]
    ) -> None:
        self._process = process
        self._emit = emit
        self._clock = clock
        self._last_ns = clock()
        self._waited = process.waited_ns()
        self._since_ns: int | None = None
        self._reason = ""
        self._finished = False
        self._stood: list[tuple[int, int]] = []

    def between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long the host stood still within a stretch of host monotonic time, as far as it is known."""
        last = self._stood[-1:]
        since = [] if self._since_ns is None else [(self._since_ns, self._clock())]
        return sum(max(0, min(end_ns, end) - max(start_ns, start)) for start, end in [*last, *since])

    @property
    def now(self) -> bool:
        """Whether the guest has no CPU at this moment, as far as the process tells."""
        return self._process.stopped()

    async def run(self) -> None:
        """Look again and again."""
        while not self._finished:
            await trio.sleep(LOOK_S)
            if not self._finished:
                self.look()

    def finish(self) -> None:
        """Say what was not said yet, and look no more."""
        self._finished = True
        self._end(self._clock())

    def look(self) -> None:
        """Compare with the look before."""
        before_ns, now_ns = self._last_ns, self._clock()
        waited = self._process.waited_ns()
        reason = self._why(now_ns - before_ns, waited)
        self._last_ns, self._waited = now_ns, waited
        if not reason:
            self._end(before_ns)
            return
        if self._since_ns is None:
            self._since_ns, self._reason = before_ns, reason
        if now_ns - self._since_ns >= WORTH_NS:
            self._emit(AlertRaised(key=ALERT_KEY, kind="host", severity="warning", text=self._reason))

    def _why(self, spent_ns: int, waited: dict[int, int]) -> str:
        if self._process.stopped():
            return "QEMU was stopped"
        if spent_ns - LOOK_S * 1e9 > LATE_NS:
            return "the host did not run this program (paused or overloaded)"
        starved = [
            thread
            for thread, at_ns in waited.items()
            if at_ns - self._waited.get(thread, at_ns) >= WAITING_SHARE * spent_ns
        ]
        return "the host gave a vCPU no CPU" if starved else ""

    def _end(self, at_ns: int) -> None:
        since_ns, self._since_ns = self._since_ns, None
        if since_ns is None or at_ns - since_ns < WORTH_NS:
            return
        self._stood = [(since_ns, at_ns)]
        self._emit(AlertCleared(key=ALERT_KEY, kind="host"))
        self._emit(HostStood(start_ns=since_ns, end_ns=at_ns, reason=self._reason))


class Unobservable:
    """When a sample would not be live: somebody froze the guest, or the host does not run it.

    Args:
        freezer: Knows when the guest is frozen.
        host: Knows when the host does not run it.
    """

    def __init__(self, freezer: Freezer, host: Standstill) -> None:
        self._freezer = freezer
        self._host = host

    @property
    def frozen(self) -> bool:
        """Whether it is one of both now."""
        return self._freezer.frozen or self._host.now

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long it was one of both within a stretch of host monotonic time."""
        return self._freezer.frozen_between_ns(start_ns, end_ns) + self._host.between_ns(start_ns, end_ns)

    def poll(self) -> None:
        """Look for what no watchpoint reported."""
        self._freezer.poll()
