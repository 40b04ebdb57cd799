"""Folding a recording again: the same state at every tick and the same actions, byte for byte.

The recording says of each tick which events the loop had taken before it and which its queue had refused, and what its
probes had read. Everything else follows: the loop's own fold and its own decisions, from the same functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from ktstr_tui.control.fold import fold, fold_tick
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.reconcile import decide
from ktstr_tui.control.state import LoopState
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import PendingAction


class ReplayedTick(msgspec.Struct, frozen=True, kw_only=True):
    """One tick of a recording, decided again."""

    tick: int
    state: bytes
    """The state before the tick, as bytes."""
    state_crc: int
    """Of `state`."""
    recorded_crc: int
    """What the loop said of its own state then."""
    actions: tuple[PendingAction, ...]

    @property
    def same_state(self) -> bool:
        """Whether the state is the one that the loop had."""
        return self.state_crc == self.recorded_crc


def replay(events: Iterable[ev.Event]) -> Iterator[ReplayedTick]:
    """Decide every tick of a recording again.

    Args:
        events: All events of one run from the first on, in order.
    """
    state = LoopState()
    waiting: deque[ev.Event] = deque()
    reads: list[ev.ProbeRead | ev.ProbeFailed] = []
    for event in events:
        if isinstance(event, (ev.ProbeRead, ev.ProbeFailed)):
            reads.append(event)
        elif isinstance(event, ev.Ticked):
            yield _again(state, waiting, event, reads)
            reads = []
        waiting.append(event)


def _again(
    state: LoopState,
    waiting: deque[ev.Event],
    tick: ev.Ticked,
    reads: list[ev.ProbeRead | ev.ProbeFailed],
) -> ReplayedTick:
    lost = {seq for first, last in tick.lost for seq in range(first, last + 1)}
    while waiting and waiting[0].seq <= tick.folded_seq:
        event = waiting.popleft()
        if event.seq not in lost:
            fold(state, event)
    # Those that were refused and lie behind what was taken are gone too.
    kept = [event for event in waiting if event.seq not in lost]
    waiting.clear()
    waiting.extend(kept)
    before, crc = state.encode(), state.crc()
    fold_tick(state, tick, (read for read in reads if read.tick == tick.tick))
    actions = tuple(decide(state))
    for pending in actions:
        note_emitted(state, pending)
    return ReplayedTick(
        tick=tick.tick, state=before, state_crc=crc, recorded_crc=tick.state_crc, actions=actions
    )


def emitted_by_tick(events: Iterable[ev.Event]) -> dict[int, list[tuple[int, bytes]]]:
    """Number and bytes of the actions that a recording says were emitted, by tick."""
    encode = msgspec.msgpack.encode
    found: dict[int, list[tuple[int, bytes]]] = {}
    tick = 0
    for event in events:
        if isinstance(event, ev.Ticked):
            tick = event.tick
            found[tick] = []
        elif isinstance(event, ev.ActionChanged) and event.disposition == "emitted":
            found.setdefault(tick, []).append((event.id, encode(event.action)))
    return found
