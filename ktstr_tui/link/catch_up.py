"""How a viewer gets what it did not receive: ranges of past events and whole states, by request.

The backend keeps a bounded number of past events. What is older cannot be fetched by range; a snapshot of the whole
state replaces it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ktstr_tui.link.follower import Follower, Offer
from ktstr_tui.link.requests import Requests
from ktstr_tui.link.run_lock import lock_holder
from ktstr_tui.link.runs import accepts
from ktstr_tui.link.trace_on_demand import lacks_trace
from ktstr_tui.model.commands import GetRange, GetSnapshot, RangeSent
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import Event
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import CodecError, decode_event, decode_state

ANSWER_TIMEOUT_S = 5.0


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a run at one event."""

    run_id: str
    state: RunState
    may_control: bool
    """Whether the run lets viewers touch it."""
    controllers: tuple[str, ...] | None
    """The operators whose signature it wants; None when it wants none."""


class CatchUp:
    """Fetches what a follower misses, and counts it.

    Args:
        follower: Folds the events.
        trace: Whether the viewer wants the kernel's trace.
    """

    def __init__(self, follower: Follower, *, trace: bool) -> None:
        self.wants_trace = trace
        self.healed = 0
        """Missing events that were fetched by range."""
        self.bad_answers = 0
        """Answers that could not be decoded."""
        self._follower = follower

    async def heal(self, requests: Requests, last: int) -> tuple[list[Event], bool]:
        """Fetch and fold what is missing up to event number ``last``.

        Returns:
            The events that were folded, and whether that was all of them; if not, a snapshot is needed.
        """
        healed: list[Event] = []
        run_id = self._follower.run_id or ""
        whole = True
        while whole and self._follower.state.seq < last:
            wanted = GetRange(first=self._follower.state.seq + 1, last=last)
            reply, frames = await requests.ask(wanted, ANSWER_TIMEOUT_S)
            usable = self._fold_range(run_id, frames) if reply.ok and reply.run_id == run_id else []
            healed += usable
            self.healed += len(usable)
            whole = bool(usable)
        return healed, whole

    async def snapshot(self, requests: Requests) -> Snapshot | None:
        """Ask for the whole state; None when no usable answer came."""
        reply, frames = await requests.ask(GetSnapshot(trace=self.wants_trace), ANSWER_TIMEOUT_S)
        if not reply.ok:
            return None
        try:
            (frame,) = frames
            state = decode_state(frame)
        except (CodecError, ValueError):
            self.bad_answers += 1
            return None
        return Snapshot(reply.run_id, state, reply.may_control, reply.controllers)

    @property
    def lacks_trace(self) -> bool:
        """Whether the trace is wanted, and what is here of it came before that was so."""
        return self.wants_trace and lacks_trace(self._follower.state)

    async def fetch_trace(self, requests: Requests) -> bool:
        """Take the whole state with its trace; whether that worked."""
        found = await self.snapshot(requests)
        if found is None or found.run_id != self._follower.run_id:
            return False
        self._follower.adopt(found.run_id, found.state)
        return True

    def no_snapshot(self, control: Path, waited_s: float) -> HostError:
        """Say why no snapshot came: there is nothing, it has not answered yet, or is no run that can be read.

        Args:
            control: The socket that was asked at.
            waited_s: For how long.
        """
        place = control.parent
        if self.bad_answers:
            return HostError(
                f"what responds at {place} sends nothing that can be read as the state of a run",
                "use the same version of ktstr-tui on both sides; is it the run's socket?",
            )
        holder = lock_holder(place)
        if holder is not None or accepts(control):
            who = (
                "something listens"
                if holder is None
                else f"a run exists, its lock is held by process {holder}"
            )
            return HostError(
                f"{who} at {place}, but it has not answered within {waited_s:g} s",
                "the host gives it no CPU, or it hangs: try again, and look at the load of that host",
            )
        return HostError(
            f"no run responds at {place}",
            "is it still in progress? (ktstr-tui status) A forwarded socket needs its ssh -L to be running",
        )

    def _fold_range(self, run_id: str, frames: list[bytes]) -> list[Event]:
        folded: list[Event] = []
        for frame in frames:
            try:
                event = decode_event(frame)
            except CodecError:
                self.bad_answers += 1
                break
            if self._follower.offer(run_id, event) is not Offer.FOLDED:
                break
            folded.append(event)
        return folded


async def fetch_range(requests: Requests, first: int, last: int) -> tuple[int, list[Event]]:
    """Fetch past events without folding them, as far as the backend still keeps them.

    Returns:
        The number of the oldest event that is kept, and the events.

    Raises:
        KtstrError: The backend did not answer, or nonsense.
    """
    events: list[Event] = []
    oldest = first
    while first <= last:
        reply, frames = await requests.ask(GetRange(first=first, last=last), ANSWER_TIMEOUT_S)
        sent = reply.answer(RangeSent)
        if not events:
            oldest = sent.oldest
        if not frames:
            break
        events.extend(decode_event(frame) for frame in frames)
        first = events[-1].seq + 1
    return oldest, events
