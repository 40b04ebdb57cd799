"""How long it takes to show any moment of a recording of one hour, beside reading it from its beginning.

The recording is made up: ten samples a second, and each second the rates and a block of the trace with a thousand
switches.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from ktstr_tui.bench.guest import summary
from ktstr_tui.bench.made_up import rates_event, sample_event, trace_event
from ktstr_tui.link.film import Film
from ktstr_tui.link.recfile import RecordedEvent, RecordingReader, header, pack_chunk
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import encode_event

HOUR_S: Final = 3600
SAMPLE_HZ: Final = 10
SWITCHES: Final = 1000
"""In the block of a second."""
CPUS: Final = 8
TASKS: Final = 50
SEEKS: Final = 40
GOAL_SEEK_MS: Final = 200.0


def bench_seek(seconds: int = HOUR_S) -> dict[str, Any]:
    """Make the recording and its index, and go to moments drawn by lot."""
    with tempfile.TemporaryDirectory(prefix="ks") as directory:
        path = Path(directory) / "hour.ktstr"
        count = _write(path, seconds)
        start = time.perf_counter()
        film = Film(path)
        while film.read_on():
            pass
        index_s = time.perf_counter() - start
        moments = random.Random(1)
        seeks = []
        for _ in range(SEEKS):
            start = time.perf_counter()
            film.at_time(round(moments.random() * seconds * 1e9))
            seeks.append((time.perf_counter() - start) * 1e3)
        film.close()
        whole_ms = _read_all(path)
        size = path.stat().st_size
    seek = summary(seeks)
    return {
        "seek_events": count,
        "seek_recording_bytes": size,
        "seek_index_s": index_s,
        "seek_ms": seek,
        "seek_baseline": "reading and folding the same recording of an hour from its beginning to its end",
        "seek_baseline_ms": whole_ms,
        "goal_seek_ms": GOAL_SEEK_MS,
        "seek_met": seek["max"] <= GOAL_SEEK_MS,
    }


def _write(path: Path, seconds: int) -> int:
    seq = 0
    with path.open("wb") as file:
        file.write(header("bench"))
        for second in range(seconds):
            events: list[Event] = [sample_event(CPUS, second * SAMPLE_HZ + at) for at in range(SAMPLE_HZ)]
            events += [rates_event(CPUS, TASKS, second), trace_event(CPUS, TASKS, SWITCHES, second)]
            chunk = []
            for at, event in enumerate(events):
                seq += 1
                mono_ns = round((second + at / len(events)) * 1e9) + 1
                chunk.append(RecordedEvent(seq, mono_ns, encode_event(_stamped(event, seq, mono_ns))))
            file.write(pack_chunk(chunk))
    return seq


def _stamped(event: Event, seq: int, mono_ns: int) -> Event:
    return msgspec.structs.replace(event, seq=seq, mono_ns=mono_ns)


def _read_all(path: Path) -> float:
    start, state = time.perf_counter(), RunState()
    with RecordingReader(path) as reader:
        while (chunk := reader.read_chunk()) is not None:
            for event in chunk:
                fold(state, event)
    return (time.perf_counter() - start) * 1e3
