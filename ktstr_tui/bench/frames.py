"""How fast frames are assembled, against a bare CRC pass over the same bytes in the same run.

Every payload byte has to be read once for its CRC, so a bare pass is the bound. It is measured with zlib
and with our own CRC, and the ratio that counts is against the faster of the two. Each case is measured
twice: in C (the assembler fills descriptors, the whole stream at once) and through `FrameAssembler`, which
also makes a `Frame` and a copy of the payload for each, in pieces as the port delivers them. Baseline and
subject take turns, and the best round of each counts, so that a busy machine slows both alike.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Final, TypedDict

from ktstr_tui._native import ffi, lib
from ktstr_tui.wire.frames import HEADER_BYTES, MAX_PAYLOAD_BYTES, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType

STREAM_BYTES: Final = 1 << 22
"""Size of the stream of frames of one round."""
PORT_READ_BYTES: Final = 1 << 16
"""What one read of the port brings at most."""
ROUNDS: Final = 15
GOAL_RATIO_64K: Final = 0.5
GOAL_FRAMES_24B_PER_S: Final = 5e6
_BATCH: Final = 1024


class FrameCase(TypedDict):
    """Figures of one frame size. Rates are per second, ratios are rates over that of the bare CRC pass."""

    frame_bytes: int
    payload_bytes: int
    crc_zlib_bytes_per_s: float
    crc_own_bytes_per_s: float
    c_frames_per_s: float
    c_bytes_per_s: float
    """Payload bytes."""
    c_ratio: float
    """Against the faster CRC."""
    c_ratio_zlib: float
    python_frames_per_s: float
    python_bytes_per_s: float
    python_ratio: float
    python_ratio_zlib: float
    python_at_once_bytes_per_s: float
    """The same with the whole stream in one feed: then all its payloads are in memory together."""


class FrameBench(TypedDict):
    """What `run` returns."""

    bench: str
    rounds: int
    goal_ratio_64k: float
    goal_frames_24b_per_s: float
    payload_64k: FrameCase
    frame_24b: FrameCase
    stimulus_40b: FrameCase
    met: dict[str, bool]
    """Whether the goals are met: by the C code, and through Python."""


def _assemble_in_c(stream: bytes) -> Callable[[], None]:
    assembler = ffi.gc(lib.ktf_assembler_create(MAX_PAYLOAD_BYTES), lib.ktf_assembler_destroy)
    batch, used, more = ffi.new(f"struct ktf_frame[{_BATCH}]"), ffi.new("size_t *"), ffi.new("bool *")
    view = ffi.from_buffer(stream)

    def once() -> None:
        at, left = 0, len(stream)
        more[0] = True
        while more[0]:
            lib.ktf_assembler_feed(assembler, view + at, left, used, batch, _BATCH, more)
            at += used[0]
            left -= used[0]

    return once


def _assemble_in_python(stream: bytes, piece_bytes: int) -> Callable[[], None]:
    assembler = FrameAssembler()
    pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]

    def once() -> None:
        for piece in pieces:
            assembler.feed(piece)

    return once


def _best_seconds(subjects: dict[str, Callable[[], None]]) -> dict[str, float]:
    best = dict.fromkeys(subjects, float("inf"))
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            start = time.perf_counter()
            subject()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _case(payload_bytes: int) -> FrameCase:
    frame_bytes = HEADER_BYTES + payload_bytes
    count = STREAM_BYTES // frame_bytes
    payload = bytes(i * 7 & 255 for i in range(payload_bytes))
    stream = encode_frame(MsgType.Stdout, payload) * count
    # The bare pass reads as many payload bytes, in one piece: no cost per frame at all.
    bare = payload * count
    view = ffi.from_buffer(bare)

    def crc_by_zlib() -> None:
        zlib.crc32(bare)

    def crc_by_own() -> None:
        lib.ktf_crc32(0, view, len(bare))

    best = _best_seconds(
        {
            "zlib": crc_by_zlib,
            "own": crc_by_own,
            "c": _assemble_in_c(stream),
            "python": _assemble_in_python(stream, PORT_READ_BYTES),
            "at once": _assemble_in_python(stream, len(stream)),
        }
    )
    rate = {name: len(bare) / seconds for name, seconds in best.items()}
    fastest = max(rate["zlib"], rate["own"])
    return FrameCase(
        frame_bytes=frame_bytes,
        payload_bytes=payload_bytes,
        crc_zlib_bytes_per_s=rate["zlib"],
        crc_own_bytes_per_s=rate["own"],
        c_frames_per_s=count / best["c"],
        c_bytes_per_s=rate["c"],
        c_ratio=rate["c"] / fastest,
        c_ratio_zlib=rate["c"] / rate["zlib"],
        python_frames_per_s=count / best["python"],
        python_bytes_per_s=rate["python"],
        python_ratio=rate["python"] / fastest,
        python_ratio_zlib=rate["python"] / rate["zlib"],
        python_at_once_bytes_per_s=rate["at once"],
    )


def run() -> FrameBench:
    """Measure all cases; takes about a second.

    Returns:
        Figures of 64 KiB payloads, of frames of 24 bytes in all and of Stimulus frames (24 bytes of payload),
        and whether the goals are met: the ratio at 64 KiB, and the frames per second at 24 bytes.
    """
    large, small, stimulus = _case(1 << 16), _case(24 - HEADER_BYTES), _case(24)
    return FrameBench(
        bench="frames",
        rounds=ROUNDS,
        goal_ratio_64k=GOAL_RATIO_64K,
        goal_frames_24b_per_s=GOAL_FRAMES_24B_PER_S,
        payload_64k=large,
        frame_24b=small,
        stimulus_40b=stimulus,
        met={
            "c": large["c_ratio"] >= GOAL_RATIO_64K and small["c_frames_per_s"] >= GOAL_FRAMES_24B_PER_S,
            "python": large["python_ratio"] >= GOAL_RATIO_64K
            and small["python_frames_per_s"] >= GOAL_FRAMES_24B_PER_S,
        },
    )
