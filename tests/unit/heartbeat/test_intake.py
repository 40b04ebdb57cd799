"""Where a run's beats come from: addresses, and sockets that cannot be opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ktstr_tui.heartbeat.client import BeatClient
from ktstr_tui.heartbeat.config import BeatsConfig, parse_address
from ktstr_tui.heartbeat.intake import open_host_socket, open_intake
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.wire.vlp import Beat, Status, encode


def test_addresses_are_host_and_port() -> None:
    assert parse_address("127.0.0.1:7700") == ("127.0.0.1", 7700)
    assert parse_address("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("address", ["7700", ":7700", "localhost:", "localhost:http", ""])
def test_what_is_not_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        parse_address(address)


def test_an_address_that_cannot_be_opened_is_reported_and_the_run_goes_on() -> None:
    events: list[Event] = []
    with open_intake(BeatsConfig(udp="nowhere"), None, events.append, lambda start, end: 0) as intake:
        assert intake.sockets == ()
        assert set(intake.observers) == {"guest", "host"}
    (event,) = events
    assert isinstance(event, Logged)
    assert event.severity == "error"
    assert "'nowhere' is not HOST:PORT" in event.text


def test_datagrams_over_udp_take_no_slot_from_senders_that_the_kernel_vouches_for(tmp_path: Path) -> None:
    config = BeatsConfig(udp="127.0.0.1:0", capacity=4, max_rate=0, max_rate_per_pid=0)
    events: list[Event] = []
    with (
        open_host_socket(config, tmp_path, events.append) as unix,
        open_intake(config, unix, events.append, lambda since, until: 0) as intake,
    ):
        _, udp = intake.sockets
        # Made-up pids fill every slot that there is, and one of them is that of this process.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            for pid in (os.getpid(), *range(2, 60)):
                flood.sendto(encode(Beat(Status.OK, pid, 1, 1, 0)), udp.sock.getsockname())
        while udp.receive():
            pass
        with BeatClient.unix(tmp_path / "beats.sock") as client:
            assert client.beat() == "sent"
        intake.sockets[0].receive()
        (row,) = intake.observers["host"].rows(64)
        assert (row.pid, row.origin) == (os.getpid(), Origin.KERNEL_ATTESTED)
        made_up = intake.observers["network"].rows(64)
        assert len(made_up) == 4
        assert {row.origin for row in made_up} == {Origin.NETWORK_UNVERIFIED}
    assert events == []
