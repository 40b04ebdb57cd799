"""What the tracker costs per beat, beside the least that Python could do for one.

The baseline is a loop that unpacks each datagram and stores its nonce in a dict: no CRC, no check of any field or
sender, no bound on the number of senders. The tracker does all that and takes datagrams as ``recvmmsg`` leaves them in
memory. They take turns, and the best round of each counts, so that a busy machine slows both alike.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypedDict

from ktstr_tui.bench.beat_senders import SENDERS
from ktstr_tui.heartbeat.datagrams import DatagramArray
from ktstr_tui.heartbeat.gate import Gate, Rules
from ktstr_tui.heartbeat.observer import BATCH
from ktstr_tui.heartbeat.tracked import MAX_CAPACITY, Datagram, Origin
from ktstr_tui.heartbeat.tracker import Tracker
from ktstr_tui.wire.vlp import Beat, Status, decode, encode

ROUNDS: Final = 9
BEATS: Final = 8192
"""Beats of one round."""
_FRAME: Final = struct.Struct("<4xI8xQ8x")
_THRESHOLD_NS: Final = 10**9
_ORIGIN: Final = Origin.KERNEL_ATTESTED
_OPEN: Final = Rules(max_rate_per_pid=0, max_rate=0)

_Work = Callable[[], None]


class RecordCase(TypedDict):
    """Figures of one load, in ns per beat."""

    pids: int
    batch_ns: float
    """Datagrams in memory to the tracker, decoding included."""
    gated_ns: float
    """The same through the gate, as the observer does it."""
    call_ns: float
    """One call from Python for each beat, decoded already."""
    plain_dict_ns: float
    """The baseline: unpack, and store in a dict."""
    ratio: float
    """How many times as long the baseline takes as the batch."""


class Records(TypedDict):
    """What `measure` returns."""

    rounds: int
    beats: int
    few_pids: RecordCase
    most_pids: RecordCase
    """As many as a tracker can keep, in random order."""
    made_up_pids: RecordCase
    """New pids against a full table of 256 that may not be evicted yet: each beat searches, and is refused."""
    decode_ns: float
    """One frame decoded from Python."""
    drain_ns: float
    """One look at all pids of a full tracker, none of them silent."""


def measure() -> Records:
    """Measure all cases; takes some seconds."""
    return Records(
        rounds=ROUNDS,
        beats=BEATS,
        few_pids=_case(SENDERS, _known_beats(SENDERS), 1),
        most_pids=_case(MAX_CAPACITY, _known_beats(MAX_CAPACITY), 1),
        made_up_pids=_case(256, _new_beats(256), 5 * _THRESHOLD_NS),
        decode_ns=_decoding(),
        drain_ns=_draining(),
    )


def take_plainly(frames: Iterable[bytes], nonces: dict[int, int]) -> None:
    """Do the least for each frame: the baseline."""
    for frame in frames:
        pid, nonce = _FRAME.unpack(frame)
        nonces[pid] = nonce


def _numbers(below: int) -> Iterator[int]:
    state = 0xC0FFEE
    while True:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        yield (state >> 33) % below


def _known_beats(pids: int) -> list[Beat]:
    chosen = _numbers(pids)
    return [Beat(Status.OK, 2 + next(chosen), nonce, nonce, 0) for nonce in range(2, 2 + BEATS)]


def _new_beats(pids: int) -> list[Beat]:
    return [Beat(Status.OK, 2 + pids + turn, turn, 1, 0) for turn in range(BEATS)]


def _filled(pids: int, now_ns: int) -> Tracker:
    tracker = Tracker(pids)
    for pid in range(2, 2 + pids):
        tracker.record(Beat(Status.OK, pid, 1, 1, 0), 0, _THRESHOLD_NS, _ORIGIN)
    tracker.drain_stalled(now_ns, _THRESHOLD_NS)
    return tracker


def _in_arrays(frames: list[bytes]) -> list[DatagramArray]:
    arrays = []
    for start in range(0, len(frames), BATCH):
        array = DatagramArray(BATCH)
        for frame in frames[start : start + BATCH]:
            array.append(Datagram(frame, _ORIGIN))
        arrays.append(array)
    return arrays


def _best_ns(make_works: Callable[[], dict[str, _Work]], count: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, work in make_works().items():
            start = time.perf_counter_ns()
            work()
            taken = (time.perf_counter_ns() - start) / count
            best[name] = min(best.get(name, taken), taken)
    return best


def _case(pids: int, beats: list[Beat], now_ns: int) -> RecordCase:
    frames = [encode(beat) for beat in beats]
    arrays = _in_arrays(frames)

    def make_works() -> dict[str, _Work]:
        # A tracker remembers: each round needs new ones.
        batch, gated, call = (_filled(pids, now_ns) for _ in range(3))
        gate = Gate(_OPEN, BATCH)

        def through_gate() -> None:
            for array in arrays:
                gate.let_through(gated, array, now_ns, _THRESHOLD_NS, 16)

        def in_batches() -> None:
            for array in arrays:
                batch.record_array(array, now_ns, _THRESHOLD_NS)

        def one_by_one() -> None:
            for beat in beats:
                call.record(beat, now_ns, _THRESHOLD_NS, _ORIGIN)

        return {
            "batch": in_batches,
            "gated": through_gate,
            "call": one_by_one,
            "plain": lambda: take_plainly(frames, {}),
        }

    best = _best_ns(make_works, len(beats))
    return RecordCase(
        pids=pids,
        batch_ns=best["batch"],
        gated_ns=best["gated"],
        call_ns=best["call"],
        plain_dict_ns=best["plain"],
        ratio=best["plain"] / best["batch"],
    )


def _decoding() -> float:
    frames = [encode(beat) for beat in _known_beats(SENDERS)]

    def work() -> None:
        for frame in frames:
            decode(frame)

    return _best_ns(lambda: {"decode": work}, len(frames))["decode"]


def _draining() -> float:
    tracker = _filled(MAX_CAPACITY, 0)
    return _best_ns(lambda: {"drain": lambda: tracker.drain_stalled(1, _THRESHOLD_NS).clear()}, 1)["drain"]
