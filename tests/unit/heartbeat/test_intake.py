"""Where a run's beats come from: addresses, and sockets that cannot be opened."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.config import BeatsConfig, parse_address
from ktstr_tui.heartbeat.intake import open_intake
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event, Logged


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
