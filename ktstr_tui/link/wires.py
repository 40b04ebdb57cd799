"""The sockets and tasks of a viewer that is connected."""

from __future__ import annotations

import asyncio

import msgspec
import zmq.asyncio

from ktstr_tui.link.requests import Requests
from ktstr_tui.link.subscription import Subscription


class Wires(msgspec.Struct, frozen=True):
    """What is open while connected."""

    context: zmq.asyncio.Context
    events: Subscription
    requests: Requests
    monitors: tuple[zmq.asyncio.Socket, zmq.asyncio.Socket]
    tasks: list[asyncio.Task[None]]
