"""The end of a recording, read without the rest: for lists of many runs.

Nothing at the end of the file says where its last chunk begins. But a chunk begins with ``CHNK`` and says how long it
is, so the place that looks like a head, and whose chunk would end exactly where the file does, is its beginning. The
last chunk is small as a rule; if it is not within a few pages from the end, as much as a chunk has is looked through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ktstr_tui.link.recfile import CHUNK_GOAL_BYTES, CHUNK_MAGIC, HEAD_BYTES, RecordingReader, chunk_bytes
from ktstr_tui.model.events import RunEnded

_LOOKS: Final = (16 << 10, 2 * CHUNK_GOAL_BYTES)
"""How many bytes from the end are searched, one after the other."""


def run_end_of(path: Path) -> RunEnded | None:
    """How a run ended by the last chunk of its recording; None when that has no end: its backend was killed.

    Raises:
        UsageError: There is no such file, or it is no recording of this version.
        HostError: The disk fails.
    """
    with RecordingReader(path) as reader, path.open("rb") as file:
        size = file.seek(0, 2)
        for length in _LOOKS:
            start = max(0, size - length)
            file.seek(start)
            block = file.read(length)
            at = len(block)
            while (at := block.rfind(CHUNK_MAGIC, 0, at)) >= 0:
                if chunk_bytes(block[at : at + HEAD_BYTES]) == len(block) - at:
                    reader.go_to(start + at, 0)
                    return next((it for it in reader.read_chunk() or () if isinstance(it, RunEnded)), None)
            if start == 0:
                break
    return None
