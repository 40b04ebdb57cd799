"""The viewer: a run seen through its two sockets, under asyncio.

One task drains the events socket and folds; nothing else touches the state. It subscribes first and asks for
a snapshot second, so that every event after the snapshot is either in it or on its way. What is missing later
is fetched by range, or, when that is too old, replaced by a new snapshot. A ping each second measures the
round trip, reports what was missed, and tells how far the backend is, so that even the loss of the last event
of a burst is noticed. This module and all it imports know nothing of trio.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from ktstr_tui.link import framing
from ktstr_tui.link.access import Access
from ktstr_tui.link.catch_up import ANSWER_TIMEOUT_S, CatchUp, fetch_range
from ktstr_tui.link.follower import Follower, Offer
from ktstr_tui.link.operator import Signer, login_at_host
from ktstr_tui.link.presence import Presence
from ktstr_tui.link.requests import Requests
from ktstr_tui.link.source import Connection, OnEvents
from ktstr_tui.link.subscription import Subscription
from ktstr_tui.link.viewer_statistics import ViewerStatistics
from ktstr_tui.link.wires import Wires
from ktstr_tui.model.commands import (
    MAX_NAME_CHARACTERS,
    SCHEDULER_REQUESTS,
    Ping,
    Reply,
    Request,
    failed_reply,
)
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.signing import Signed
from ktstr_tui.model.state import RunState

TOO_LATE_MS = 5000.0
"""A viewer further behind than this skips what is queued and takes a new snapshot."""
SILENCE_S = 3.0
"""A backend that says nothing for this long is gone; it sends a beat every second."""
COMMAND_TIMEOUT_S = 60.0
SCHEDULER_TIMEOUT_S = 240.0
"""The same for a change of the scheduler; the backend gives up before that."""
_TICK_S = 1.0
_RETRY_S = 0.25
_POLL_MS = 250
_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Viewer:
    """A live run as a `Source`.

    Args:
        place: See `framing.socket_pair`.
        clock: Our monotonic clock in ns.
        silence_s: How long the backend may be silent before it counts as gone.
        read_only: Whether this viewer refuses to touch the run.
        signer: Signs what touches the run; None for nobody.
        label: Who looks, for the run's log; the user's name and host when not given.
        trace: Whether to get the kernel's trace from the begin, see `want_trace`.

    Raises:
        UsageError: The place's name is too long for a unix socket.
    """

    def __init__(
        self,
        place: Path | str | tuple[Path, Path],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        silence_s: float = SILENCE_S,
        label: str | None = None,
        read_only: bool = False,
        signer: Signer | None = None,
        trace: bool = False,
    ) -> None:
        self._paths = framing.socket_pair(place)
        self._addresses = [framing.endpoint(path) for path in self._paths]
        self._clock = clock
        self._label = (label or login_at_host())[:MAX_NAME_CHARACTERS]
        self._topic = framing.VIEWER_TOPIC.decode() + uuid.uuid4().hex
        self._follower = Follower()
        self._presence = Presence(int(silence_s * 1e9), clock)
        self._wires: Wires | None = None
        self._last: ViewerStatistics | None = None
        self._notify: OnEvents = _ignore
        self._backend_seq = 0
        self._rtt_ms: float | None = None
        self._access = Access(read_only=read_only, signer=signer)
        self._catch_up = CatchUp(self._follower, trace=trace)

    @property
    def state(self) -> RunState:
        """The state so far; another object after a snapshot."""
        return self._follower.state

    @property
    def run_id(self) -> str | None:
        """The run that responds; None before the first answer."""
        return self._follower.run_id

    @property
    def controllable(self) -> bool:
        """Whether the run may be touched from here: it gives viewers control, or the operator of this one."""
        return not self._access.why_not

    @property
    def why_read_only(self) -> str:
        """Why the run may not be touched from here; empty when it may."""
        return self._access.why_not

    @property
    def connection(self) -> Connection:
        """``connecting``, ``live``, ``gone`` or ``ended``."""
        return self._presence.connection

    @property
    def connection_reason(self) -> str:
        """Why the backend counts as gone."""
        return self._presence.reason

    @property
    def lag_ms(self) -> float | None:
        """How much later the newest event came than the quickest of the last minutes."""
        return self._wires.events.lag.lag_ms if self._wires else None

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the newest ping; None before the first answer."""
        return self._rtt_ms

    @property
    def place(self) -> Path:
        """Where the sockets are."""
        return self._paths[0].parent

    async def __aenter__(self) -> Viewer:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Connect and take the first snapshot.

        Raises:
            HostError: Nobody answered within ``timeout_s``.
            UsageError: The backend is of another version.
        """
        wires = self._open()
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._resync(wires):
                    if wires.requests.skew is not None:
                        raise wires.requests.skew
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            raise self._catch_up.no_snapshot(self._paths[1], timeout_s) from None

    async def run(self, on_events: OnEvents) -> None:
        """Follow the run until it has ended; a backend that is gone is waited for.

        Args:
            on_events: See `OnEvents`; called in the event loop, must return soon.
        """
        wires = self._open()
        self._notify = on_events
        feed = asyncio.create_task(self._feed(wires))
        try:
            done, _ = await asyncio.wait({feed, *wires.tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
            await self.close()

    async def command(self, request: Request, signed: Signed | None = None) -> Reply:
        """Make a request of the backend, signed if this viewer has a key; whatever goes wrong is in the reply."""
        if self._wires is None:
            reason = "the run has ended" if self._presence.finished else "there is no connection"
            return failed_reply(0, HostError(f"{request.name} is not possible: {reason}"))
        try:
            signed = signed or await self._access.vouch(request, self.run_id, self._wires.requests)
        except UsageError as error:
            return failed_reply(0, error)
        slow = isinstance(request, SCHEDULER_REQUESTS)
        timeout_s = SCHEDULER_TIMEOUT_S if slow else COMMAND_TIMEOUT_S
        return (await self._wires.requests.ask(request, timeout_s, signed))[0]

    async def fetch(self, first: int, last: int) -> tuple[int, list[Event]]:
        """Events of the past, as far as the backend still keeps them.

        Returns:
            The number of the oldest event that is kept, and the events.

        Raises:
            KtstrError: The backend did not answer, or nonsense.
        """
        return await fetch_range(self._open().requests, first, last)

    def want_trace(self) -> None:
        """Get the blocks of the kernel's trace from now on, and those that the run still keeps."""
        if not self._catch_up.wants_trace and self._wires is not None:
            self._wires.events.want_trace()
        self._catch_up.wants_trace = True

    async def close(self) -> None:
        """Disconnect; may be called twice."""
        wires = self._wires
        if wires is None:
            return
        self._last, self._wires = self.statistics(), None
        for task in wires.tasks:
            task.cancel()
        await asyncio.gather(*wires.tasks, return_exceptions=True)
        for wire, monitor in zip((wires.events.socket, wires.requests.socket), wires.monitors, strict=True):
            wire.disable_monitor()
            monitor.close(0)
            wire.close(0)
        wires.context.term()

    def statistics(self) -> ViewerStatistics:
        """Counts so far; after `close` those of the last connection."""
        wires, follower = self._wires, self._follower.statistics()
        if wires is None:
            return self._last or ViewerStatistics()
        requests = wires.requests.statistics()
        return ViewerStatistics(
            received=wires.events.received,
            bytes=wires.events.bytes,
            folded=follower.folded,
            duplicates=follower.duplicates,
            gaps=follower.gaps,
            missing=follower.missing,
            healed=self._catch_up.healed,
            skipped=wires.events.skipped,
            snapshots=follower.snapshots,
            foreign=follower.foreign,
            undecodable=wires.events.undecodable + self._catch_up.bad_answers,
            lag_ms=wires.events.lag.lag_ms,
            rtt_ms=self._rtt_ms,
            commands=requests.sent,
            timeouts=requests.timeouts,
            stray_replies=requests.stray,
        )

    def _open(self) -> Wires:
        if self._wires is not None:
            return self._wires
        context = zmq.asyncio.Context()
        events = Subscription(context, self._topic, self._clock, trace=self._catch_up.wants_trace)
        requests = Requests(context, self._label, self._topic)
        monitors = (
            events.socket.get_monitor_socket(_MONITORED),
            requests.socket.get_monitor_socket(_MONITORED),
        )
        self._wires = wires = Wires(context, events, requests, monitors, [])
        events.socket.connect(self._addresses[0])
        requests.socket.connect(self._addresses[1])
        self._presence.heard()
        work = (requests.receive(), self._ping(wires), self._watch_events(wires), self._watch_control(wires))
        wires.tasks.extend(asyncio.create_task(coroutine) for coroutine in work)
        return wires

    async def _feed(self, wires: Wires) -> None:
        while True:
            await self._sync(wires)
            if self._catch_up.lacks_trace and await self._catch_up.fetch_trace(wires.requests):
                self._notify([])
            if self.state.ended is not None:
                break
            info = self.state.info
            wires.events.measures_lag = info is None or info.seed is None
            # To wait costs as much as to take twenty events, and in a burst there is more already.
            batch = wires.events.drain()
            if batch or await wires.events.wait(_POLL_MS):
                batch = batch or wires.events.drain()
                if wires.events.late_ms > TOO_LATE_MS:
                    wires.events.skip()
                    self._presence.synced = False
                self._tell(await self._follow(wires, batch))
                await asyncio.sleep(0)
            elif self._backend_seq > self.state.seq:
                # All that was sent before the ping's answer should be here by now.
                self._follower.note_missing(self._backend_seq)
                self._tell(await self._heal(wires, self._backend_seq))
        self._presence.finished = True
        self._judge()

    def _tell(self, events: list[Event]) -> None:
        if events:
            self._notify(events)

    async def _follow(self, wires: Wires, batch: list[tuple[str, Event]]) -> list[Event]:
        folded: list[Event] = []
        for run_id, event in batch:
            offer = self._follower.offer(run_id, event)
            if offer is Offer.GAP:
                folded += await self._heal(wires, event.seq - 1)
                offer = self._follower.offer(run_id, event) if self._presence.synced else offer
            elif offer is Offer.FOREIGN and await self._resync(wires):
                offer = self._follower.offer(run_id, event)
            if offer is Offer.FOLDED:
                folded.append(event)
        if folded:
            self._hear()
        return folded

    async def _heal(self, wires: Wires, last: int) -> list[Event]:
        """Fetch what is missing up to ``last``, or take a snapshot instead; the events that were fetched."""
        healed, whole = await self._catch_up.heal(wires.requests, last)
        if not whole:
            await self._resync(wires)
        return healed

    async def _sync(self, wires: Wires) -> None:
        while not self._presence.synced:
            if await self._resync(wires):
                return
            await asyncio.sleep(_RETRY_S)

    async def _resync(self, wires: Wires) -> bool:
        """Take a snapshot; whether that worked."""
        self._presence.synced = False
        snapshot = await self._catch_up.snapshot(wires.requests)
        skew, refusal = wires.requests.skew, self._presence.refusal
        self._presence.refusal = f"{skew.message}; {skew.hint}" if skew is not None else ""
        self._judge()
        if self._presence.refusal != refusal:
            self._notify([])
        if snapshot is None:
            return False
        if snapshot.run_id != self._follower.run_id:
            wires.events.lag.reset()
            self._backend_seq = 0
        self._follower.adopt(snapshot.run_id, snapshot.state)
        self._access.learn(snapshot)
        self._presence.synced = True
        self._hear()
        self._notify([])
        return True

    async def _ping(self, wires: Wires) -> None:
        while True:
            asked_ns = self._clock()
            missing, lag_ms = self._follower.statistics().missing, wires.events.lag.lag_ms
            ping = Ping(
                topic=self._topic, missing=missing, lag_ms=None if lag_ms is None else max(0, round(lag_ms))
            )
            reply, _ = await wires.requests.ask(ping, _TICK_S)
            if reply.ok:
                self._rtt_ms = (self._clock() - asked_ns) / 1e6
                self._hear()
                if reply.run_id == self._follower.run_id:
                    self._backend_seq = reply.seq
                elif self._follower.is_foreign(reply.run_id):
                    self._presence.synced = False
            self._judge()
            await asyncio.sleep(_TICK_S)

    async def _watch_events(self, wires: Wires) -> None:
        while True:
            message = await recv_monitor_message(wires.monitors[0])
            self._presence.connected = message["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._judge()

    async def _watch_control(self, wires: Wires) -> None:
        while True:
            message = await recv_monitor_message(wires.monitors[1])
            if message["event"] == zmq.EVENT_DISCONNECTED:
                wires.requests.connection_lost()

    def _hear(self) -> None:
        self._presence.heard()
        self._judge()

    def _judge(self) -> None:
        if self._presence.judge():
            self._notify([])


def _ignore(events: list[Event]) -> None:
    """Nobody listens yet."""
