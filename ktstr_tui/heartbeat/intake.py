"""Where the beats of a run come from: two observers, and the sockets that feed the host's.

The guest's senders and the host's share no pids and no clock, so each world has an observer of its own.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ktstr_tui.heartbeat.clock import ObserverClock
from ktstr_tui.heartbeat.config import BeatsConfig, parse_address
from ktstr_tui.heartbeat.gate import Rules, own_namespace, read_pid_max
from ktstr_tui.heartbeat.loop import Ingress
from ktstr_tui.heartbeat.metrics import SecureCounts
from ktstr_tui.heartbeat.news import GUEST_PROGRAM_PID
from ktstr_tui.heartbeat.observer import Observer
from ktstr_tui.heartbeat.sockets import ObserverSocket, queue_length, udp_socket, unix_socket
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import Domain
from ktstr_tui.model.errors import KtstrError

NO_LIMIT_NS: Final = 1 << 62
GUEST_MAX_RATE, GUEST_BURST = 20_000, 40_000
SOCKET_NAME: Final = "beats.sock"


@dataclass(frozen=True, slots=True)
class Intake:
    """The observers of a run and the sockets that feed the host's."""

    observers: Mapping[Domain, Observer]
    sockets: tuple[Ingress, ...]
    secure: Callable[[], SecureCounts] | None
    """Counts of sealed beats; None without keys."""
    clock: Callable[[], int]
    """Host monotonic clock, in nanoseconds."""
    guest_sleep: Callable[[float], Awaitable[None]] | None = None
    """Waits by the guest's own clock, by which its senders are looked at; None when the host's serves for it."""


@contextmanager
def open_host_socket(
    config: BeatsConfig, socket_dir: Path, emit: Callable[[ev.Event], object]
) -> Iterator[socket.socket | None]:
    """Open the socket that programs of this host send heartbeats to.

    It is None when it is off or could not be made; the latter is reported.
    """
    with ExitStack() as stack:
        found = None
        if config.socket:
            try:
                found = stack.enter_context(unix_socket(socket_dir / SOCKET_NAME))
            except KtstrError as error:
                emit(_no_beats(error))
        yield found


def _no_beats(error: KtstrError) -> ev.Logged:
    return ev.Logged(severity="error", source="beats", text=f"no heartbeats from the host: {error.message}")


@contextmanager
def open_intake(
    config: BeatsConfig,
    host_socket: socket.socket | None,
    emit: Callable[[ev.Event], object],
    frozen_between_ns: Callable[[int, int], int],
    clock: Callable[[], int] = time.monotonic_ns,
    *,
    guest_clock: Callable[[], int] | None = None,
    guest_sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Iterator[Intake]:
    """Make the observers of a run, and open its UDP socket if it has one; what cannot be opened is reported.

    Args:
        config: What was asked for.
        host_socket: What `open_host_socket` gave.
        emit: Takes events.
        frozen_between_ns: How long the guest was frozen within a stretch of host monotonic time.
        clock: Host monotonic clock, in nanoseconds.
        guest_clock: The guest's own, which misses nothing; None when the host's serves for it.
        guest_sleep: Waits by that.
    """
    threshold_ns = int(config.threshold_ms * 1e6)
    guest = Observer(
        ObserverClock(clock, frozen_between_ns)
        if guest_clock is None
        else ObserverClock(guest_clock, frozen_between_ns, max_step_ns=NO_LIMIT_NS),
        threshold_ns,
        Rules(max_rate_per_pid=0, max_rate=GUEST_MAX_RATE, burst=GUEST_BURST, pid_max=GUEST_PROGRAM_PID),
        capacity=max(config.capacity, 512),
    )
    host = Observer(
        ObserverClock(clock),
        threshold_ns,
        Rules(
            max_rate_per_pid=config.max_rate_per_pid,
            max_rate=config.max_rate,
            uid=os.getuid(),
            pid_ns_inode=own_namespace(),
            pid_max=read_pid_max(),
        ),
        capacity=config.capacity,
    )
    observers: dict[Domain, Observer] = {"guest": guest, "host": host}
    sockets: list[Ingress] = []
    secure = None
    if host_socket is not None:
        length = queue_length()
        sockets.append(
            ObserverSocket(host_socket, host, Origin.KERNEL_ATTESTED, credentials=True, queue_length=length)
        )
    with ExitStack() as stack:
        if config.udp is not None:
            try:
                network = _network_observer(config, clock)
                ingress, secure = _open_udp(stack, config, config.udp, network)
                sockets.append(ingress)
                observers["network"] = network
            except KtstrError as error:
                emit(_no_beats(error))
        yield Intake(observers, tuple(sockets), secure, clock, guest_sleep)


def _network_observer(config: BeatsConfig, clock: Callable[[], int]) -> Observer:
    """Make the observer of UDP, apart from the host's: made-up pids cannot fill its table or use up its rate."""
    return Observer(
        ObserverClock(clock),
        int(config.threshold_ms * 1e6),
        Rules(max_rate_per_pid=config.max_rate_per_pid, max_rate=config.max_rate, pid_max=read_pid_max()),
        capacity=config.capacity,
    )


def _open_udp(
    stack: ExitStack, config: BeatsConfig, address: str, network: Observer
) -> tuple[Ingress, Callable[[], SecureCounts] | None]:
    sock = stack.enter_context(udp_socket(parse_address(address), loopback_only=not config.accept_network))
    if config.shared_key_file is None and config.master_key_file is None:
        return ObserverSocket(sock, network, Origin.NETWORK_UNVERIFIED, credentials=False), None
    from ktstr_tui.heartbeat.sealed import open_sealed  # noqa: PLC0415 - loads a cryptographic library

    sealed = open_sealed(sock, network, config.shared_key_file, config.master_key_file, network.threshold_ns)
    return sealed, sealed.counts
