"""How fast beats are taken: what one costs, how many go through, and the load that must be borne.

Each figure has its baseline in the same run (`beat_records`, `beat_flood`); only the load has goals (`beat_load`).

On Linux at most ``net.unix.max_dgram_qlen`` datagrams wait in a Unix socket. What does not fit the kernel refuses,
and the senders count it; the receiver must have lost nothing of what it accepted.
"""

from __future__ import annotations

import os
from typing import Any

from ktstr_tui.bench import beat_flood, beat_load, beat_records
from ktstr_tui.heartbeat.sockets import queue_length
from ktstr_tui.text.output import say


def run(seconds: int | None) -> dict[str, Any]:
    """Measure everything; ``seconds`` is how long the load is borne (20 for the figures of record)."""
    records = beat_records.measure()
    say("records measured")
    flood = beat_flood.measure()
    say("end to end measured")
    load = beat_load.measure(seconds or 5)
    return {
        "bench": "beats",
        "max_dgram_qlen": queue_length(),
        "cpus": os.cpu_count(),
        "record": records,
        "end_to_end": flood,
        "load": load,
    }
