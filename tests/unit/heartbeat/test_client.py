"""The Python client: it never waits and never fails, and what it could not deliver has a reason."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ktstr_tui.heartbeat.client import SENT, BeatClient
from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Status, decode
from tests.unit.heartbeat.watching import in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.sock"


def bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.setblocking(False)
    return sock


def test_beats_count_up_from_one(path: Path) -> None:
    times = iter([100, 150, 120, 160])
    with bound(path) as here:
        client = BeatClient(socket.AF_UNIX, str(path), clock=lambda: next(times))
        assert client.beat(payload=7) == client.beat(Status.DEGRADED) == client.beat() == SENT
        client.close()
        beats = [decode(here.recv(99)) for _ in range(3)]
    assert [(beat.nonce, beat.status, beat.payload) for beat in beats] == [
        (1, Status.OK, 7),
        (2, Status.DEGRADED, 0),
        (3, Status.OK, 0),
    ]
    assert [beat.timestamp for beat in beats] == [50, 50, 60], "a clock that steps back is held"
    assert {beat.pid for beat in beats} == {os.getpid()}


def test_what_is_not_delivered_has_a_reason_and_keeps_its_nonce(path: Path) -> None:
    with BeatClient.unix(path) as client:
        assert client.beat() == "no observer"
        with bound(path) as here:
            while client.beat() == SENT:
                pass
            full = client.nonce
            assert client.counts["kernel queue full"] == 1
            assert decode(here.recv(99)).nonce == 1
            assert client.beat() == SENT
            assert client.nonce == full + 1
        assert client.beat() in ("no observer", "peer gone")
        path.unlink()
        with bound(path) as here:
            assert client.beat() == SENT, "it connects anew by itself"
            assert decode(here.recv(99)).nonce == full + 2


def test_nobody_states_his_own_stall(path: Path) -> None:
    with bound(path), BeatClient.unix(path) as client:
        with pytest.raises(UsageError, match="cannot report itself"):
            client.beat(Status.STALL)
        assert client.nonce == 0
        assert not client.counts


def test_a_child_is_a_sender_of_its_own(path: Path) -> None:
    with bound(path) as here, BeatClient.unix(path) as client:
        client.beat()
        client.beat()

        def beat() -> None:
            client.beat()
            assert client.fork_recoveries == 1

        child = in_child(beat)
        client.beat()
        beats = [decode(here.recv(99)) for _ in range(4)]
    assert [(beat.pid, beat.nonce) for beat in beats] == [
        (os.getpid(), 1),
        (os.getpid(), 2),
        (child, 1),
        (os.getpid(), 3),
    ]


def test_a_crash_is_told_with_the_last_word(path: Path) -> None:
    program = (
        "import sys; from ktstr_tui.heartbeat.client import BeatClient\n"
        "client = BeatClient.unix(sys.argv[1]); client.beat_last_word_on_crash(); client.beat(); 1 / 0"
    )
    with bound(path) as here:
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
        )
        beats = [decode(here.recv(99)) for _ in range(2)]
    assert "ZeroDivisionError" in done.stderr, "the program fails as it would have"
    assert (beats[1].nonce, beats[1].status) == (NONCE_TERMINAL, Status.CRITICAL)


def test_importing_the_client_loads_no_event_loop() -> None:
    program = (
        "import sys; import ktstr_tui.heartbeat.client\n"
        "print([name for name in ('trio', 'drgn', 'zmq') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
