"""What the tracker costs per beat, in C and in its twin in Python, in the same run.

Each case is measured in two ways: through `record`, one call from Python per beat that is decoded already, and
through a batch of datagrams, decoding included, as the receiver does it. For the C tracker the batch lies in
memory as ``recvmmsg`` leaves it, and no Python value is made of a beat that needs no attention. C and twin take
turns, and the best round of each counts, so that a busy machine slows both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypedDict

from ktstr_tui.heartbeat.tracker import Datagram, DatagramArray, Origin, Tracker
from ktstr_tui.wire import vlp
from ktstr_tui.wire.vlp import Beat, Status, encode
from tests.oracles import vlp as vlp_py
from tests.oracles.tracker import PyTracker

ROUNDS: Final = 7
BEATS: Final = 8192
"""Beats of one round."""
ARRAY_ROOM: Final = 256
"""Datagrams of one batch."""
_ORIGIN: Final = Origin.KERNEL_ATTESTED
_THRESHOLD_NS: Final = 10**9

_AnyTracker = Tracker | PyTracker
_Work = Callable[[], None]


class TrackerCase(TypedDict):
    """Figures of one load. Times are ns per beat, ratios say how many times as long the twin takes."""

    pids: int
    c_batch_ns: float
    """Decoding included."""
    twin_batch_ns: float
    batch_ratio: float
    c_record_ns: float
    """One call from Python per beat."""
    twin_record_ns: float
    record_ratio: float


class TrackerBench(TypedDict):
    """What `run_tracker_bench` returns."""

    bench: str
    rounds: int
    beats: int
    few_pids: TrackerCase
    most_pids: TrackerCase
    """As many as a tracker can keep, in random order."""
    made_up_pids: TrackerCase
    """New pids against a full table of 256 that may not be evicted yet: each beat searches, and is refused."""
    decode_ns: dict[str, float]
    """One frame decoded from Python, by ``c`` and ``twin``."""
    drain_ns: dict[str, float]
    """One look at 4096 pids, none of them silent."""


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


def _filled(tracker: _AnyTracker, pids: int, now_ns: int) -> None:
    for pid in range(2, 2 + pids):
        tracker.record(Beat(Status.OK, pid, 1, 1, 0), 0, _THRESHOLD_NS, _ORIGIN)
    tracker.drain_stalled(now_ns, _THRESHOLD_NS)


def _record_each(tracker: _AnyTracker, beats: list[Beat], now_ns: int) -> _Work:
    def work() -> None:
        for beat in beats:
            tracker.record(beat, now_ns, _THRESHOLD_NS, _ORIGIN)

    return work


def _record_arrays(tracker: Tracker, arrays: list[DatagramArray], now_ns: int) -> _Work:
    def work() -> None:
        for array in arrays:
            tracker.record_array(array, now_ns, _THRESHOLD_NS)

    return work


def _record_batch(tracker: PyTracker, datagrams: list[Datagram], now_ns: int) -> _Work:
    def work() -> None:
        tracker.record_batch(datagrams, now_ns, _THRESHOLD_NS)

    return work


def _in_arrays(datagrams: list[Datagram]) -> list[DatagramArray]:
    arrays = []
    for start in range(0, len(datagrams), ARRAY_ROOM):
        array = DatagramArray(ARRAY_ROOM)
        for datagram in datagrams[start : start + ARRAY_ROOM]:
            array.append(datagram)
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


def _case(pids: int, beats: list[Beat], now_ns: int) -> TrackerCase:
    datagrams = [Datagram(encode(beat), _ORIGIN) for beat in beats]
    arrays = _in_arrays(datagrams)

    def make_works() -> dict[str, _Work]:
        # A tracker remembers: each round needs new ones.
        ours, twins = (Tracker(pids), Tracker(pids)), (PyTracker(pids), PyTracker(pids))
        for tracker in (*ours, *twins):
            _filled(tracker, pids, now_ns)
        return {
            "c record": _record_each(ours[0], beats, now_ns),
            "twin record": _record_each(twins[0], beats, now_ns),
            "c batch": _record_arrays(ours[1], arrays, now_ns),
            "twin batch": _record_batch(twins[1], datagrams, now_ns),
        }

    best = _best_ns(make_works, len(beats))
    return TrackerCase(
        pids=pids,
        c_batch_ns=best["c batch"],
        twin_batch_ns=best["twin batch"],
        batch_ratio=best["twin batch"] / best["c batch"],
        c_record_ns=best["c record"],
        twin_record_ns=best["twin record"],
        record_ratio=best["twin record"] / best["c record"],
    )


def _decoding() -> dict[str, float]:
    frames = [encode(beat) for beat in _known_beats(64)]

    def through(codec: Any) -> _Work:  # noqa: ANN401  # a module
        def work() -> None:
            for frame in frames:
                codec.decode(frame)

        return work

    return _best_ns(lambda: {"c": through(vlp), "twin": through(vlp_py)}, len(frames))


def _draining() -> dict[str, float]:
    trackers: dict[str, _AnyTracker] = {"c": Tracker(4096), "twin": PyTracker(4096)}
    for tracker in trackers.values():
        _filled(tracker, 4096, 0)

    def drain(tracker: _AnyTracker) -> _Work:
        return lambda: tracker.drain_stalled(1, _THRESHOLD_NS).clear()

    return _best_ns(lambda: {name: drain(tracker) for name, tracker in trackers.items()}, 1)


def run_tracker_bench() -> TrackerBench:
    """Measure all cases; takes some seconds, nearly all of them the twin's."""
    return TrackerBench(
        bench="beats_tracker",
        rounds=ROUNDS,
        beats=BEATS,
        few_pids=_case(64, _known_beats(64), 1),
        most_pids=_case(4096, _known_beats(4096), 1),
        made_up_pids=_case(256, _new_beats(256), 5 * _THRESHOLD_NS),
        decode_ns=_decoding(),
        drain_ns=_draining(),
    )
