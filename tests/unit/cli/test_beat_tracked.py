"""``beat`` says whether the run tracks who sent it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import trio

from ktstr_tui.cli.beat import beat_command
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import BeatRow, Domain
from ktstr_tui.model.errors import EXIT_HOST
from tests.unit.link.backend import Backend


def listed(*rows: BeatRow, tracked: int | None = None, **counters: int) -> ev.BeatsObserved:
    count = len(rows) if tracked is None else tracked
    return ev.BeatsObserved(rows=rows, tracked=count, threshold_ms=1000.0, counters=counters)


def row(pid: int, domain: Domain = "host") -> BeatRow:
    return BeatRow(domain=domain, pid=pid, status="ok", origin="kernel", age_ms=1.0, nonce=1)


ME = row(os.getpid())
NO_SLOT = {"varta_tracker_capacity_exceeded_total": 2}


@contextmanager
def run_that_lists(place: Path, *lists: ev.Event) -> Iterator[None]:
    """A run that takes heartbeats and then says who its senders are."""
    with Backend(place) as backend, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as observer:
        observer.bind(str(place / "beats.sock"))

        def tell() -> None:
            observer.recv(4096)
            trio.from_thread.run(backend.publisher.wait_viewers, 1, trio_token=backend._token)
            backend.emit(*lists)
            while not over.wait(0.02):
                backend.emit(lists[-1])

        over = Event()
        teller = Thread(target=tell)
        teller.start()
        yield
        over.set()
        teller.join()


CASES = [
    ((listed(row(1)), listed(ME)), True, ""),
    ((listed(ME),), True, ""),
    ((listed(row(1)), listed(row(2))), False, "no heartbeat of this process arrived there"),
    ((listed(), listed(row(os.getpid(), "network"))), False, "no heartbeat of this process arrived there"),
    (
        (listed(**NO_SLOT), listed(**NO_SLOT)),
        False,
        "every slot is taken; 2 heartbeats of new senders refused",
    ),
    ((listed(), listed(row(1), tracked=300)), None, "the run tracks 300 senders and lists 1"),
]


@pytest.mark.parametrize(("lists", "tracked", "reason"), CASES)
def test_a_sender_is_told_whether_the_run_tracks_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lists: tuple[ev.Event, ...],
    tracked: bool | None,
    reason: str,
) -> None:
    place = tmp_path / "run"
    code: object = 0
    with run_that_lists(place, *lists):
        try:
            beat_command(str(place), as_json=True)
        except SystemExit as left:
            code = left.code
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["tracked"], told["tracked_reason"], told["counts"]) == (tracked, reason, {"sent": 1})
    assert code == (EXIT_HOST if tracked is False else 0)
    assert ("tracked:" in said.err) is (tracked is not True)
    assert reason in said.err


def test_who_sends_to_a_socket_has_no_run_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "beats.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as observer, suppress(SystemExit):
        observer.bind(str(path))
        beat_command(None, socket=path, as_json=True)
    assert json.loads(capsys.readouterr().out)["tracked"] is None
