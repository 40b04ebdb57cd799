"""Reads a whole recording to say what is in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.model.stored import RecordingInfo


def inspect_recording(path: Path) -> RecordingInfo:
    """Read all of a recording.

    Raises:
        UsageError: There is no such file, or it is no recording.
        HostError: The disk fails.
    """
    kinds: Counter[str] = Counter()
    chunks = 0
    times: list[int] = []
    with RecordingReader(path) as reader:
        while (events := reader.read_chunk()) is not None:
            chunks += 1
            kinds.update(str(it.__struct_config__.tag) for it in events)
            times += [at for it in (events[:1], events[-1:]) for at in (one.mono_ns for one in it)]
        damage, run_id = reader.damage.in_words, reader.run_id
    return RecordingInfo(
        path=str(path),
        run_id=run_id,
        bytes=path.stat().st_size,
        chunks=chunks,
        events=kinds.total(),
        kinds=dict(kinds.most_common()),
        duration_ms=(max(times) - min(times)) / 1e6 if times else None,
        damage=damage,
    )
