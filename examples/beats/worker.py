#!/usr/bin/env python3
"""Work through a queue and send a heartbeat for each item, so that a run notices when this program is stuck.

    examples/beats/worker.py SOCKET [ITEMS]

SOCKET is beats.sock in the socket directory of a run, such as /run/user/1000/ktstr/tour/beats.sock. `ktstr-tui beats`
then lists this program; when it is silent for longer than `run --silent-ms`, an alert says so. The payload of each
heartbeat is the number of items left. A heartbeat that cannot be delivered is counted and costs nothing.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque

from ktstr_tui.heartbeat.client import BeatClient
from ktstr_tui.wire.vlp import Status

BUSY = 1000
"""Items left from which this program calls itself degraded."""


def work(client: BeatClient, items: int) -> int:
    """Take every item off a queue and return a checksum, with a heartbeat for each."""
    queue = deque(range(items))
    checksum = 0
    while queue:
        checksum = zlib.crc32(queue.popleft().to_bytes(8, "little"), checksum)
        client.beat(Status.DEGRADED if len(queue) >= BUSY else Status.OK, payload=len(queue))
    return checksum


def main() -> None:
    """Send to the socket that the command line names."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with BeatClient.unix(sys.argv[1]) as client:
        client.beat_last_word_on_crash()
        checksum = work(client, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
        print(f"checksum {checksum:#010x}; heartbeats: {dict(client.counts)}")


if __name__ == "__main__":
    main()
