"""A recording as a `Source`: the same events at the same distances, folded by the same fold, under asyncio.

Time in a replay is a clock of its own. It starts at the first event, runs at ``speed`` times ours, and stands
still while paused; an event is due when that clock has reached its time. A chunk is read and decoded in a
thread while the one before it plays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ktstr_tui.link.film import Film, Found
from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.link.source import Connection, OnEvents
from ktstr_tui.model.commands import Reply, Request, failed_reply
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState

MIN_SPEED = 0.25
MAX_SPEED = 16.0
_LONGEST_SLEEP_S = 0.25
_SLEEP_S = 0.04
"""Of a replay that stays: how long it may take to notice that somebody wants to be elsewhere."""


class ReplayStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was played."""

    folded: int
    gaps: int
    """Holes in the recording's numbers."""
    missing: int
    """Events in those holes."""
    bad_chunks: int
    undecodable: int
    truncated: bool
    position_ms: float
    """Time since the first event, in the recording's time."""
    duration_ms: float | None
    """Of the whole recording; None when it is empty."""


class Replay:
    """Plays a recording.

    Args:
        path: The file.
        speed: Times real time, from `MIN_SPEED` to `MAX_SPEED`.
        stays: Whether it can be played from elsewhere, also when its end was reached; `run` then ends with its task.
        clock: Our monotonic clock in ns.
        sleep: Waits for seconds.

    Raises:
        UsageError: There is no such recording, or the speed is out of range.
    """

    controllable = False
    why_read_only = "this is a replay"
    lag_ms: float | None = None

    def __init__(
        self,
        path: Path,
        speed: float = 1.0,
        *,
        stays: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._path = path
        self._speed = _checked(speed)
        with RecordingReader(path) as reader:
            self._span_ns = reader.span_ns()
            self._surveyed = self._damage = reader.survey()
            self.run_end = reader.run_end
            """How the run ended, wherever the replay is; None when the recording lacks it."""
        self._clock = clock
        self._sleep = sleep
        self._state = RunState()
        self._paused = False
        self._position_ns = 0
        self._position_at_ns: int | None = None
        self._ended = False
        self._folded = self._gaps = self._missing = 0
        self._film = Film(path) if stays else None
        self._jump: Callable[[Film], Found] | None = None
        self._jump_ns: int | None = None
        self._asked = asyncio.Event()

    @property
    def state(self) -> RunState:
        """The state so far."""
        return self._state

    @property
    def connection(self) -> Connection:
        """``replay``, at its end ``ended``."""
        return "ended" if self._ended else "replay"

    @property
    def connection_reason(self) -> str:
        """What is wrong with the file, as far as it was read; empty when nothing is."""
        return (self._damage if self._ended else self._surveyed).in_words

    @property
    def speed(self) -> float:
        """Playback speed, as a multiple of real time."""
        return self._speed

    @property
    def paused(self) -> bool:
        """Whether the replay is paused."""
        return self._paused

    @property
    def position_ms(self) -> float:
        """Time since the first event, in the recording's time."""
        return self._now_ns() / 1e6

    @property
    def duration_ms(self) -> float | None:
        """Of the whole recording; None when it is empty."""
        return (self._span_ns[1] - self._span_ns[0]) / 1e6 if self._span_ns else None

    @property
    def film(self) -> Film | None:
        """The index, of a replay that stays."""
        return self._film

    def seek_ms(self, position_ms: float) -> None:
        """Show another time, counted from the first event; a replay that stays does so at its next step."""
        start_ns = self._span_ns[0] if self._span_ns else 0
        time_ns = start_ns + round(max(0.0, min(position_ms, self.duration_ms or 0.0)) * 1e6)
        self._go(lambda film: film.at_time(time_ns), time_ns - start_ns)

    def seek_event(self, seq: int) -> None:
        """Show the state after the event of a number."""
        self._go(lambda film: film.at_event(max(0, seq)), None)

    def seek_moment(self, step: int) -> bool:
        """Go to the next alert, capture, hit, scheduler or step, or to the one before; returns whether there is one."""
        moments = self._film.moments if self._film is not None else []
        at = self._state.seq
        ahead = [it.seq for it in moments if (it.seq > at if step > 0 else it.seq < at)]
        if ahead:
            self.seek_event(ahead[0] if step > 0 else ahead[-1])
        return bool(ahead)

    def _go(self, jump: Callable[[Film], Found], position_ns: int | None) -> None:
        if position_ns is not None:
            # From here on, so that a further step is counted from where this one leads.
            self._hold()
            self._position_ns = position_ns
        self._jump, self._jump_ns = jump, position_ns
        self._asked.set()

    def set_speed(self, speed: float) -> None:
        """Play at ``speed`` times real time from here on.

        Raises:
            UsageError: It is out of range.
        """
        checked = _checked(speed)
        self._hold()
        self._speed = checked

    def pause(self) -> None:
        """Let time stand still."""
        self._hold()
        self._paused = True

    def resume(self) -> None:
        """Let time go on."""
        self._hold()
        self._paused = False

    def toggle(self) -> None:
        """Pause, or play on."""
        if self._paused:
            self.resume()
        else:
            self.pause()

    async def run(self, on_events: OnEvents) -> None:
        """Play to the end.

        Args:
            on_events: See `OnEvents`.

        Raises:
            HostError: The disk fails.
        """
        self._position_at_ns = self._clock()
        start_ns = self._span_ns[0] if self._span_ns else 0
        with RecordingReader(self._path) as reader:
            self._damage = reader.damage
            indexing = None if self._film is None else asyncio.create_task(self._index(self._film))
            try:
                await self._play_on(reader, start_ns, on_events)
                while self._film is not None:
                    await self._asked.wait()
                    await self._play_on(reader, start_ns, on_events, self._film)
            finally:
                if indexing is not None and self._film is not None:
                    indexing.cancel()
                    self._film.close()

    async def _index(self, film: Film) -> None:
        while await asyncio.to_thread(film.read_on):
            pass
        film.close()

    async def _play_on(
        self, reader: RecordingReader, start_ns: int, on_events: OnEvents, film: Film | None = None
    ) -> None:
        """Play to the end, from where somebody asked for if there is a film."""
        ahead: list[Event] | None = []
        if film is None:
            ahead = await asyncio.to_thread(reader.read_chunk)
        while ahead is not None:
            if self._jump is not None and self._film is not None:
                ahead = await self._land(self._film, reader, start_ns, on_events)
            reading = asyncio.create_task(asyncio.to_thread(reader.read_chunk))
            try:
                await self._play(ahead, start_ns, on_events)
            finally:
                ahead = await reading
            if self._jump is not None:
                ahead = ahead or []
        self._hold()
        self._ended = True
        on_events([])

    async def _land(
        self, film: Film, reader: RecordingReader, start_ns: int, on_events: OnEvents
    ) -> list[Event]:
        """Show the moment that was asked for; returns what is to be played next."""
        jump, position_ns = self._jump, self._jump_ns
        self._jump = None
        self._asked.clear()
        if jump is None:
            return []
        found = await asyncio.to_thread(jump, film)
        reader.go_to(found.position, found.rest[-1].seq if found.rest else found.state.seq)
        self._state, self._ended = found.state, False
        self._position_ns = max(0, found.state.mono_ns - start_ns) if position_ns is None else position_ns
        self._position_at_ns = self._clock()
        on_events([])
        return found.rest

    async def command(self, request: Request) -> Reply:
        """Always refused: what is recorded cannot be changed."""
        error = UsageError(
            f"{request.name} is not possible: this is a replay", "attach to a live run for that"
        )
        return failed_reply(0, error)

    def want_trace(self) -> None:
        """Do nothing: what is recorded of the kernel's trace is there."""

    def statistics(self) -> ReplayStatistics:
        """Counts so far."""
        damage = self._damage
        return ReplayStatistics(
            folded=self._folded,
            gaps=self._gaps,
            missing=self._missing,
            bad_chunks=damage.bad_chunks,
            undecodable=damage.undecodable,
            truncated=damage.truncated,
            position_ms=self.position_ms,
            duration_ms=self.duration_ms,
        )

    async def _play(self, events: list[Event], start_ns: int, on_events: OnEvents) -> None:
        index = 0
        while index < len(events) and self._jump is None:
            longest_s = _LONGEST_SLEEP_S if self._film is None else _SLEEP_S
            if self._paused:
                # Also what is due: of several events of one moment, a step back may have left some to come.
                await self._sleep(longest_s)
                continue
            now_ns = self._now_ns()
            due = index
            while due < len(events) and events[due].mono_ns - start_ns <= now_ns:
                self._fold(events[due])
                due += 1
            if due > index:
                on_events(events[index:due])
                index = due
                continue
            left_s = (events[index].mono_ns - start_ns - now_ns) / 1e9 / self._speed
            await self._sleep(min(left_s, longest_s))

    def _fold(self, event: Event) -> None:
        hole = event.seq - self._state.seq - 1
        if hole > 0:
            self._gaps += 1
            self._missing += hole
        fold(self._state, event)
        self._folded += 1

    def _now_ns(self) -> int:
        if self._position_at_ns is None or self._paused or self._ended:
            return self._position_ns
        return self._position_ns + int((self._clock() - self._position_at_ns) * self._speed)

    def _hold(self) -> None:
        """Make the present the base of further reckoning, before the speed changes."""
        self._position_ns = self._now_ns()
        if self._position_at_ns is not None:
            self._position_at_ns = self._clock()


def _checked(speed: float) -> float:
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise UsageError(f"speed {speed:g} is out of range", f"choose {MIN_SPEED:g} to {MAX_SPEED:g}")
    return speed
