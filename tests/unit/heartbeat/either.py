"""What the tests of trackers and probe tables share: both implementations, and short ways to write beats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ktstr_tui.heartbeat.probe_table import ProbeTable
from ktstr_tui.heartbeat.tracker import Datagram, Origin, Tracker
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status, encode
from tests.oracles.probe_table import PyProbeTable
from tests.oracles.tracker import PyTracker

EitherTracker = Tracker | PyTracker
MakeTracker = Callable[..., EitherTracker]
EitherTable = ProbeTable | PyProbeTable
MakeTable = Callable[[int], EitherTable]

KERNEL: Final = Origin.KERNEL_ATTESTED
NETWORK: Final = Origin.NETWORK_UNVERIFIED
_MASK: Final = (1 << 64) - 1


def beat(pid: int, nonce: int, status: Status = Status.OK) -> Beat:
    """A beat whose timestamp is its nonce."""
    return Beat(status, pid, nonce, nonce, 0)


def last_words(pid: int, timestamp: int) -> Beat:
    """A terminal beat."""
    return Beat(Status.CRITICAL, pid, timestamp, NONCE_TERMINAL, 0)


def datagram(one: Beat, origin: Origin = KERNEL, peer_pid: int | None = None) -> Datagram:
    """A beat as it is received."""
    return Datagram(encode(one), origin, peer_pid=peer_pid)


def xorshift64(seed: int) -> Iterator[int]:
    """Random numbers that are the same everywhere: xorshift with 13, 7, 17."""
    state = seed
    while True:
        state ^= state << 13 & _MASK
        state ^= state >> 7
        state ^= state << 17 & _MASK
        yield state


def fill(tracker: EitherTracker, threshold_ns: int) -> None:
    """Use all slots, by pids from 1 on, at time 0."""
    for pid in range(1, tracker.capacity + 1):
        assert tracker.record(beat(pid, 1), 0, threshold_ns, KERNEL).name == "INSERTED"


def unmix32(x: int) -> int:
    """The key whose mixed value this is."""
    x ^= x >> 16
    x = x * pow(0xC2B2AE35, -1, 1 << 32) & 0xFFFFFFFF
    x ^= x >> 13 ^ x >> 26
    x = x * pow(0x85EBCA6B, -1, 1 << 32) & 0xFFFFFFFF
    return x ^ x >> 16


def keys_at(home: int, size: int, count: int) -> list[int]:
    """Keys that all want the same place of a table."""
    return [unmix32(home + turn * size) for turn in range(count)]


def row_of(tracker: EitherTracker, pid: int) -> dict[str, Any]:
    """What is known of a tracked pid, by name."""
    row = tracker.get(pid)
    assert row is not None
    return {name: getattr(row, name) for name in row.__struct_fields__}
