"""``beat``: sends beats from a shell, so that a script can be watched like a program."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ktstr_tui.model.errors import EXIT_HOST, UsageError
from ktstr_tui.text.output import print_json, say

if TYPE_CHECKING:
    from ktstr_tui.heartbeat.client import BeatClient

STATUSES = ("ok", "degraded", "critical")


def beat_command(
    run_name: str | None,
    *,
    socket: Path | None = None,
    udp: str | None = None,
    key_file: Path | None = None,
    status: str = "ok",
    payload: int = 0,
    count: int = 1,
    interval_s: float = 1.0,
    terminal: bool = False,
    as_json: bool = False,
) -> None:
    """Send beats as this process, and say what became of them.

    Args:
        run_name: A run whose Unix socket is used when neither ``socket`` nor ``udp`` is given.
        socket: A Unix socket.
        udp: HOST:PORT.
        key_file: Key for sealed UDP beats, 64 hexadecimal digits.
        status: One of `STATUSES`.
        payload: 32-bit payload.
        count: Number of heartbeats; 0 for no limit.
        interval_s: Seconds between two.
        terminal: Send a last word in place of an ordinary beat, at the end.
        as_json: Print the counts as JSON.

    Raises:
        KtstrError: There is nobody to send to.
        SystemExit: With 3 when not one beat was sent, or the run does not track this process.
    """
    from ktstr_tui.cli.beat_tracked import NOT_ASKED, ask_tracked
    from ktstr_tui.heartbeat.client import SENT
    from ktstr_tui.wire.vlp import Status

    if status not in STATUSES:
        raise UsageError(f"unknown status {status!r}", f"use {', '.join(STATUSES)}")
    place = _place(run_name) if socket is None and udp is None else None
    client = _client(socket if place is None else place / "beats.sock", udp, key_file)
    answer = NOT_ASKED
    with client:
        for sent in () if terminal else range(count) if count else itertools.count():
            if sent:
                time.sleep(interval_s)
            client.beat(Status[status.upper()], payload)
            if not sent and place is not None and client.counts[SENT]:
                answer = ask_tracked(place, os.getpid())
                if not answer.tracked:
                    say(answer.words)
        if terminal:
            client.last_word(payload)
    if as_json:
        told = {"tracked": answer.tracked, "tracked_reason": answer.reason}
        print_json({"pid": os.getpid(), "nonce": client.nonce, "counts": dict(client.counts), **told})
    else:
        say(", ".join(f"{outcome}: {number}" for outcome, number in client.counts.items()))
    if not client.counts[SENT] or answer.tracked is False:
        raise SystemExit(EXIT_HOST)


def _place(run_name: str | None) -> Path:
    from ktstr_tui.cli.attach import find_run

    return find_run(run_name)


def _client(path: Path | None, udp: str | None, key_file: Path | None) -> BeatClient:
    from ktstr_tui.heartbeat.client import BeatClient
    from ktstr_tui.heartbeat.config import parse_address

    if udp is None:
        assert path is not None
        return BeatClient.unix(path)
    host, port = parse_address(udp)
    if key_file is None:
        return BeatClient.udp(host, port)
    from ktstr_tui.wire.user_file import read_user_text
    from ktstr_tui.wire.vlp_secure import Sealer

    try:
        key = bytes.fromhex(read_user_text(key_file, "key file", max_bytes=4096).strip())
    except ValueError as error:
        raise UsageError(f"no key in {key_file}: {error}", "write 64 hexadecimal digits") from error
    return BeatClient.udp(host, port, Sealer(key).seal)
