"""Notices when the host gives the guest no CPU: it was paused, QEMU was stopped, or others have all the CPUs.

The guest's clock runs on meanwhile, and so does the kernel's watchdog. A task that waited in such a stretch says
nothing of the scheduler. Three signs, looked at every `LOOK_S`:

* this program itself was not run for much longer than it wanted to sleep, and the vCPUs' threads were not either: when
  one took turns meanwhile, and ran or wanted to for most of the time, then nobody looked, but the guest had its CPU as
  before. That is a line of the log and no excuse. (Turns, because a pause of the whole host may count as time of
  the thread that was running.)
* the process of QEMU is stopped (state ``T`` in /proc/PID/stat),
* a vCPU's thread could run and did not (``run_delay``, the second number of its schedstat) for most of the time.

A host that has more to do than it can crosses that line many times a minute. All of it is one alert, which ends when
the host has given CPU for `CALM_NS`; its text has the numbers so far, renewed at most every `RENEW_NS`. Every
stretch is told on its own (`HostStood`), because judgements of waits need them exactly.

Time in which a person froze the guest is none of them: its vCPUs then sleep. Whoever is about to judge a wait (the
capture of an ejection) asks for a look first, because the guest may run again before the next one is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from ktstr_tui.health.host_load import HostLoad, HostProcess, pressure_between
from ktstr_tui.health.sampler import Freezer
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HostStood, Logged
from ktstr_tui.model.host import (
    HOST_ALERT_KEY,
    HostPressure,
    HostStretch,
    HostWait,
    host_wait,
    pressure_words,
)
from ktstr_tui.model.state import MAX_STRETCHES
from ktstr_tui.model.text import counted

LOOK_S = 0.25
"""How often it is looked."""
LATE_NS = 1_000_000_000
"""How much later than asked for a look may come."""
WAITING_SHARE = 0.97
"""Of a look's time, above which a vCPU that waits for a CPU of the host counts as one that has none.

Ten threads that share two cores wait four fifths of the time each, and a healthy guest lives well with that."""
ALIVE_SHARE = 0.5
"""Of a look that came late, for which a vCPU's thread ran or wanted to run if it was not paused."""
ALIVE_TURNS_PER_S = 2.0
"""How often it got a CPU then at least."""
WORTH_NS = 500_000_000
"""Stretches that are shorter are not worth a word."""
ALERT_NS = 3_000_000_000
"""How long the guest must have had no CPU in all, without such a calm between, until that is an alert. Beside two busy
loops and eight vCPUs on two cores a healthy guest misses a second now and then, and no watchdog is as short as this."""
CALM_NS = 10_000_000_000
"""How long the host must have given the guest CPU until the alert is over."""
RENEW_NS = 1_000_000_000
"""How often the alert's text is renewed at most."""


class _Trouble:
    """The stretches that share one alert.

    Args:
        emit: Takes the alert, and the word that it is over.
    """

    def __init__(self, emit: Callable[[Event], object]) -> None:
        self._emit = emit
        self._stretches = 0
        self._stood_ns = 0
        self._reason = ""
        self._pressure = HostPressure()
        self._said_ns: int | None = None
        self._last_ns = 0

    def lasts(self, stretch: HostStretch) -> None:
        """A stretch that is worth a word goes on."""
        self._note(stretch)
        stood_ns = self._stood_ns + stretch.end_ns - stretch.start_ns
        if self._said_ns is None:
            if stood_ns >= ALERT_NS:
                self._say(stretch.reason, stretch.end_ns)
        elif stretch.end_ns - self._said_ns >= RENEW_NS:
            self._say(self._words(self._stretches + 1, stood_ns), stretch.end_ns)

    def ended(self, stretch: HostStretch) -> None:
        """A stretch is over."""
        self._note(stretch)
        self._stretches += 1
        self._stood_ns += stretch.end_ns - stretch.start_ns
        first = self._said_ns is None and self._stood_ns >= ALERT_NS
        if first or (self._said_ns is not None and stretch.end_ns - self._said_ns >= RENEW_NS):
            self._say(self._words(self._stretches, self._stood_ns), stretch.end_ns)

    def calm(self, now_ns: int, *, at_once: bool = False) -> None:
        """The host gives CPU at this moment.

        Args:
            now_ns: Host monotonic time.
            at_once: Whether the alert ends now whatever came last.
        """
        if not at_once and now_ns - self._last_ns < CALM_NS:
            return
        if self._said_ns is not None:
            self._say(self._words(self._stretches, self._stood_ns), now_ns)
            self._emit(AlertCleared(key=HOST_ALERT_KEY, kind="host"))
        self._stretches, self._stood_ns, self._said_ns = 0, 0, None

    def _note(self, stretch: HostStretch) -> None:
        self._reason, self._pressure, self._last_ns = stretch.reason, stretch.pressure, stretch.end_ns

    def _words(self, stretches: int, stood_ns: int) -> str:
        often = f" in {counted(stretches, 'stretch', 'stretches')}" if stretches > 1 else ""
        return f"{self._reason}: no CPU for {stood_ns / 1e9:.1f} s{often} ({pressure_words(self._pressure)})"

    def _say(self, text: str, now_ns: int) -> None:
        self._said_ns = now_ns
        self._emit(AlertRaised(key=HOST_ALERT_KEY, kind="host", severity="warning", text=text))


class Standstill:
    """Looks at the host until cancelled; knows nothing before that.

    Args:
        process: Of the machine.
        emit: Takes events.
        clock: Host monotonic clock, in nanoseconds.
        load: The host's own counters.
    """

    def __init__(
        self,
        process: HostProcess,
        emit: Callable[[Event], object],
        clock: Callable[[], int],
        load: HostLoad | None = None,
    ) -> None:
        self._process = process
        self._load = load or HostLoad()
        self._emit = emit
        self._clock = clock
        self._looking = self._finished = False
        self._last = self._before = self._load.read(clock())
        self._times: dict[int, tuple[int, int]] = {}
        self._turns: dict[int, int] = {}
        self._since_ns: int | None = None
        self._reason = ""
        self._trouble = _Trouble(emit)
        self._stretches: deque[HostStretch] = deque(maxlen=MAX_STRETCHES)

    def between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long the host gave the guest no CPU within a stretch of host monotonic time, as far as it is known."""
        parts = self._known(self._clock())
        return sum(max(0, min(end_ns, it.end_ns) - max(start_ns, it.start_ns)) for it in parts)

    def part_in(self, start_ns: int, end_ns: int) -> HostWait | None:
        """Look now, and work out the host's part in a wait; None when it has none."""
        self.look()
        return host_wait(self._known(self._clock()), start_ns, end_ns)

    @property
    def now(self) -> str:
        """Why the guest has no CPU at this moment, as far as the process tells; empty when it may have one."""
        return "QEMU is stopped" if self._process.stopped() else ""

    async def run(self) -> None:
        """Look again and again."""
        self.begin()
        while self._looking:
            await trio.sleep(LOOK_S)
            self.look()

    def begin(self) -> None:
        """Look from now on, unless `finish` was called."""
        self._last = self._load.read(self._clock())
        self._times, self._turns = self._process.times_ns(), self._process.turns()
        self._looking = not self._finished

    def finish(self) -> None:
        """Look once more, say what was not said yet, and look no more."""
        self.look()
        self._looking, self._finished = False, True
        self._end(self._clock())
        self._trouble.calm(self._clock(), at_once=True)

    def look(self) -> None:
        """Compare with the look before."""
        if not self._looking:
            return
        before, now_ns = self._last, self._clock()
        times, turns = self._process.times_ns(), self._process.turns()
        reason = self._why(now_ns - before.at_ns, times, turns)
        self._times, self._turns = times, turns
        if not reason:
            self._end(before.at_ns)
        self._last = self._load.read(now_ns)
        if not reason:
            self._trouble.calm(now_ns)
            return
        if self._since_ns is None:
            self._since_ns, self._reason, self._before = before.at_ns, reason, before
        stretch = self._stretch(now_ns)
        if stretch is not None:
            self._trouble.lasts(stretch)

    def _why(self, spent_ns: int, times: dict[int, tuple[int, int]], turns: dict[int, int]) -> str:
        if self._process.stopped():
            return "QEMU was stopped"
        grown = {
            thread: (ran_ns - self._times[thread][0], waited_ns - self._times[thread][1])
            for thread, (ran_ns, waited_ns) in times.items()
            if thread in self._times
        }
        if spent_ns - LOOK_S * 1e9 > LATE_NS:
            taken = {thread: count - self._turns.get(thread, count) for thread, count in turns.items()}
            if not any(_alive(spent_ns, sum(grown[thread]), taken.get(thread, 0)) for thread in grown):
                return "the host did not run this program (paused or overloaded)"
            text = f"the host did not run this program for {spent_ns / 1e9:.1f} s; the guest ran meanwhile, unseen"
            self._emit(Logged(severity="warning", source="host", text=text))
        starved = any(waited_ns >= WAITING_SHARE * spent_ns > 0 for _, waited_ns in grown.values())
        return "the host gave a vCPU no CPU" if starved else ""

    def _known(self, now_ns: int) -> list[HostStretch]:
        """All stretches that are worth a word, with the one that still lasts."""
        lasting = self._stretch(now_ns)
        return [*self._stretches, *([lasting] if lasting is not None else [])]

    def _stretch(self, end_ns: int) -> HostStretch | None:
        if self._since_ns is None or end_ns - self._since_ns < WORTH_NS:
            return None
        pressure = pressure_between(self._before, self._last)
        return HostStretch(start_ns=self._since_ns, end_ns=end_ns, reason=self._reason, pressure=pressure)

    def _end(self, at_ns: int) -> None:
        stretch, self._since_ns = self._stretch(at_ns), None
        if stretch is None:
            return
        self._stretches.append(stretch)
        self._trouble.ended(stretch)
        self._emit(
            HostStood(
                start_ns=stretch.start_ns,
                end_ns=stretch.end_ns,
                reason=stretch.reason,
                pressure=stretch.pressure,
            )
        )


def _alive(spent_ns: int, wanted_ns: int, turns: int) -> bool:
    """Whether a thread ran, or waited for a CPU, as one does that nobody paused."""
    return wanted_ns >= ALIVE_SHARE * spent_ns and turns >= ALIVE_TURNS_PER_S * spent_ns / 1e9


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
        return self._freezer.frozen or bool(self._host.now)

    @property
    def blind(self) -> str:
        """Why nothing can be said of the guest, if the host does not run it."""
        return self._host.now

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long it was one of both within a stretch of host monotonic time."""
        return self._freezer.frozen_between_ns(start_ns, end_ns) + self._host.between_ns(start_ns, end_ns)

    def poll(self) -> None:
        """Look for what no watchpoint reported."""
        self._freezer.poll()
