"""What a guest may cause per second: between the dispatch of its frames and whatever they set in motion.

Frames are cheap to count and dear to act on: an action becomes an event that is stored, sent to every viewer and
folded by each, or a capture that stops the guest and is saved. So each kind of action has an allowance, a number
that may come at once and a rate at which it grows back, far above what a scenario needs. What exceeds it is dropped
and counted; a request is refused, so that no program waits for an answer.

Text is measured in bytes, in a bucket for each of its streams, so that output cannot push out a loader's log. Pieces
of one stream that come together are joined, and where some were left out the text says how many bytes. A pause of
the scenario and the resumption after it share one fate: the clock must not be left standing by a drop.

No clock and no I/O: time is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from ktstr_tui.model.budget import TokenBucket
from ktstr_tui.model.text import counted
from ktstr_tui.port.actions import (
    Action,
    LifecycleSeen,
    Refuse,
    ScenarioEnded,
    ScenarioPaused,
    ScenarioResumed,
    SchedulerAnswered,
    SchedulerExited,
    SnapshotRequested,
    StepChanged,
    StepEnded,
    StimulusTold,
    Text,
    WorkersSeen,
)
from ktstr_tui.wire.messages import MsgType

TOO_MANY: Final = "too many"
MAX_TEXT_CHARS: Final = 16384
"""Longest piece of text that is passed on as one."""
TEXT_OVERHEAD_BYTES: Final = 1024
"""What a piece of text costs besides its bytes: an event has a price of its own."""
MAX_REASON_CHARS: Final = 4096
"""Of a lifecycle phase; what follows is counted in the text."""


class Allowance(NamedTuple):
    """A token bucket's measure."""

    burst: float
    """What may come at once after a pause."""
    per_s: float


TEXT: Final = Allowance(burst=1 << 20, per_s=128 << 10)
"""In bytes, for each stream of text."""
LOADER_TEXT: Final = Allowance(burst=4 << 20, per_s=128 << 10)
"""The same for the log of a scheduler's loader, of which the verifier may write much at once."""
REQUESTS: Final = Allowance(burst=16, per_s=1)
"""Captures and watches that the guest asks for; each capture stops it and fills some hundred KiB."""
ALLOWANCES: Final[dict[type[Action], tuple[MsgType, Allowance]]] = {
    SnapshotRequested: (MsgType.SnapshotRequest, REQUESTS),
    StepChanged: (MsgType.Stimulus, Allowance(128, 4)),
    StepEnded: (MsgType.StepEnd, Allowance(128, 4)),
    StimulusTold: (MsgType.StimulusApplied, Allowance(320, 16)),  # all that a scenario may have, and some
    ScenarioPaused: (MsgType.ScenarioPause, Allowance(64, 2)),
    ScenarioEnded: (MsgType.ScenarioEnd, Allowance(8, 1)),
    SchedulerExited: (MsgType.SchedExit, Allowance(64, 2)),
    SchedulerAnswered: (MsgType.SchedReply, Allowance(64, 8)),
    LifecycleSeen: (MsgType.Lifecycle, Allowance(64, 2)),
    WorkersSeen: (MsgType.WorkerReport, Allowance(32, 4)),
}


class FloodGateStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one `FloodGate`."""

    dropped: dict[str, int]
    """Actions that were not passed on, by ``type: reason``. Of text, its frames."""
    dropped_text_bytes: dict[str, int]
    """Text that was left out, by the type of its frames."""


class FloodGate:
    """Lets through what the guest's allowances cover. One for each run."""

    def __init__(self) -> None:
        self._buckets: dict[object, TokenBucket] = {}
        self._dropped: Counter[str] = Counter()
        self._text_bytes: Counter[str] = Counter()
        self._left_out: Counter[MsgType] = Counter()
        self._pause_dropped = False

    def admit(self, actions: Iterable[Action], now_ns: int) -> Iterator[Action]:
        """What may be carried out, in order.

        Args:
            actions: Of one batch of frames.
            now_ns: Host monotonic clock.
        """
        for joined in _joined(actions):
            if isinstance(joined, _Texts):
                yield from self._admit_text(joined, now_ns)
            else:
                yield from self._admit_one(joined, now_ns)

    def statistics(self) -> FloodGateStatistics:
        """The counters as they are now."""
        return FloodGateStatistics(dropped=dict(self._dropped), dropped_text_bytes=dict(self._text_bytes))

    def _take(self, key: object, allowance: Allowance, cost: float, now_ns: int) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(allowance.burst, allowance.per_s, now_ns)
        return bucket.take(cost, now_ns)

    def _drop(self, kind: MsgType, count: int = 1) -> None:
        self._dropped[f"{kind.name}: {TOO_MANY}"] += count

    def _admit_one(self, action: Action, now_ns: int) -> Iterator[Action]:
        if isinstance(action, ScenarioResumed):
            if self._pause_dropped:
                self._drop(MsgType.ScenarioResume)
            else:
                yield action
            return
        kind, allowance = ALLOWANCES.get(type(action), (None, None))
        admitted = kind is None or allowance is None or self._take(kind, allowance, 1, now_ns)
        if isinstance(action, ScenarioPaused):
            self._pause_dropped = not admitted
        if admitted:
            yield _shortened(action) if isinstance(action, LifecycleSeen) else action
            return
        if kind is not None:
            self._drop(kind)
        if isinstance(action, SnapshotRequested):
            limits = f"{REQUESTS.burst:g} at once and {REQUESTS.per_s:g} a second"
            yield Refuse(action.request.request_id, f"too many requests: at most {limits}")

    def _admit_text(self, texts: _Texts, now_ns: int) -> Iterator[Action]:
        kind, whole = texts.kind, "".join(texts.pieces)
        size = len(whole.encode("utf-8", "replace"))
        events = -(-len(whole) // MAX_TEXT_CHARS)
        allowance = LOADER_TEXT if kind is MsgType.SchedLog else TEXT
        if not self._take((Text, kind), allowance, size + events * TEXT_OVERHEAD_BYTES, now_ns):
            self._drop(kind, len(texts.pieces))
            self._text_bytes[kind.name] += size
            self._left_out[kind] += size
            return
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            whole = f"\n[ktstr-tui: {counted(left_out, 'byte')} of {kind.name} left out here: rate limit]\n{whole}"
        for start in range(0, len(whole), MAX_TEXT_CHARS):
            yield Text(kind, whole[start : start + MAX_TEXT_CHARS])


class _Texts:
    # Pieces of one stream that follow each other.
    def __init__(self, first: Text) -> None:
        self.kind = first.kind
        self.pieces = [first.text]


def _joined(actions: Iterable[Action]) -> Iterator[Action | _Texts]:
    texts: _Texts | None = None
    for action in actions:
        if texts is not None and isinstance(action, Text) and action.kind is texts.kind:
            texts.pieces.append(action.text)
            continue
        if texts is not None:
            yield texts
        texts = _Texts(action) if isinstance(action, Text) else None
        if texts is None:
            yield action
    if texts is not None:
        yield texts


def _shortened(action: LifecycleSeen) -> LifecycleSeen:
    lifecycle = action.lifecycle
    more = len(lifecycle.reason) - MAX_REASON_CHARS
    if more <= 0:
        return action
    reason = f"{lifecycle.reason[:MAX_REASON_CHARS]} … ({counted(more, 'character')} more)"
    return LifecycleSeen(msgspec.structs.replace(lifecycle, reason=reason))
