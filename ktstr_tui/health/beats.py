"""Heartbeats in a run: the two observers, where their beats come from, and what becomes of a silence.

The guest's senders and the host's share no pids and no clock (the guest's stands while the guest is frozen), so
each world has an observer of its own. Before they look for silences the guest's port is read until nothing waits
in it: a backend that was stopped for seconds finds the beats of those seconds there.

The host's socket is older than the machine: whoever was told that the run is ready may beat at once. Until the
observers run, what comes waits in the kernel's queue, and a sender that finds it full counts that.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio

from ktstr_tui.health.silences import FreezeSource, Silences
from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.heartbeat.gate import read_pid_max
from ktstr_tui.heartbeat.intake import Intake
from ktstr_tui.heartbeat.loop import BeatLoop
from ktstr_tui.heartbeat.metrics import (
    Value,
    exposition,
    observer_values,
    row_values,
    summed,
)
from ktstr_tui.heartbeat.metrics_server import MetricsServer
from ktstr_tui.heartbeat.news import (
    GUEST_PROGRAM,
    GUEST_PROGRAM_PID,
    Refusals,
    row_of,
)
from ktstr_tui.heartbeat.observer import Observer
from ktstr_tui.heartbeat.sockets import DatagramStatistics, ObserverSocket
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.heartbeat.watchdog import HeartbeatFile, SelfWatchdog
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import MAX_ROWS, BeatRow, Domain
from ktstr_tui.port import actions as act

TELL_NS: Final = 500_000_000
"""Time between two `BeatsObserved`."""
REFRESH_NS: Final = 1_000_000_000
"""Time between two readings of the vCPUs' host CPU time, and between two looks at standing silences."""
PID_MAX_NS: Final = 60_000_000_000
PORT_READS: Final = 64
"""Turns that the port's reader gets before a look, while something waits."""
HEARTBEAT_NAME: Final = "heartbeat"
TOKEN_NAME: Final = "metrics.token"


class RunBeats:
    """The heartbeats of one run. Single use.

    Args:
        config: What was asked for.
        emit: Takes events, on the trio thread.
        nursery: Where silences are refreshed and captured.
        freezer: The coordinator.
        intake: The observers and their sockets.
        socket_dir: Where the run's sockets are.
        port_fd: The guest port's descriptor on the host, to see what waits in it.
    """

    def __init__(
        self,
        config: BeatsConfig,
        emit: Callable[[ev.Event], object],
        nursery: trio.Nursery,
        freezer: FreezeSource,
        intake: Intake,
        socket_dir: Path,
        port_fd: int,
    ) -> None:
        self.guest, self.host = intake.observers["guest"], intake.observers["host"]
        self._config = config
        self._emit = emit
        self._socket_dir = socket_dir
        self._port_fd = port_fd
        self._intake = intake
        self._observers = intake.observers
        together: tuple[Domain, ...] = tuple(intake.observers)
        self._guest_loop: BeatLoop | None = None
        if intake.guest_sleep is not None:
            together = tuple(domain for domain in together if domain != "guest")
            after = partial(self._after_look, ("guest",))
            self._guest_loop = BeatLoop((self.guest,), after_look=after, sleep=intake.guest_sleep)
        self._loop = BeatLoop(
            tuple(intake.observers[domain] for domain in together),
            intake.sockets,
            drain_others=self._drain_port,
            after_look=partial(self._after_look, together),
        )
        self._names: dict[int, str] = {GUEST_PROGRAM_PID: GUEST_PROGRAM}
        self._refusals = Refusals(emit)
        self._silences = Silences(
            intake, emit, nursery, freezer, self._comm, capture_on_stall=config.capture_on_stall
        )
        self._guest_over = False
        self._told_ns = self._written_ns = self._refreshed_ns = self._pid_max_ns = 0
        self._file = HeartbeatFile(socket_dir / HEARTBEAT_NAME)
        self._server = MetricsServer(self.render_metrics)

    # -- what the run calls ----------------------------------------------------------------------------

    def handle(self, action: act.Action) -> None:
        """Take what concerns heartbeats of one action of the guest's port."""
        if isinstance(action, act.BeatsReceived):
            if not self._guest_over:
                self.guest.take_frames(action.data, Origin.HYPERVISOR_ATTESTED)
        elif isinstance(action, act.WorkersSeen):
            workers = action.report.workers
            self._names |= {worker.pid: worker.comm for worker in workers}
            if not self._guest_over:
                self.guest.expect(worker.pid for worker in workers)
        elif isinstance(action, act.StepEnded | act.Exited):
            self._guest_over = self._guest_over or isinstance(action, act.Exited)
            self._part_with_guest()

    def explain_with(self, view: KernelView, vcpu_times: Callable[[], Mapping[int, int]]) -> None:
        """Explain silences from the guest's memory, now that it is readable by type."""
        self._silences.explain_with(view, vcpu_times)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Observe until cancelled."""
        with ExitStack() as stack:
            loop = self._loop
            stack.callback(self._file.remove)
            if self._config.watchdog_s is not None:
                stack.enter_context(SelfWatchdog(lambda: loop.iterations, self._config.watchdog_s))
            async with trio.open_nursery() as nursery:
                await self._open_metrics(nursery)
                await nursery.start(self._silences.run)
                await nursery.start(loop.run)
                if self._guest_loop is not None:
                    await nursery.start(self._guest_loop.run)
                task_status.started()

    def drops(self) -> dict[str, int]:
        """What was given up, by reason."""
        return {
            "events-not-fetched": sum(o.statistics().events_dropped for o in self._observers.values()),
            "silences-not-explained": self._silences.unexplained,
            "captures-on-stall-skipped": self._silences.captures_skipped,
        }

    # -- in --------------------------------------------------------------------------------------------

    def _part_with_guest(self) -> None:
        """A step's workers are killed at its end; their silence then says nothing."""
        self.guest.begin_anew()
        self._names = {GUEST_PROGRAM_PID: GUEST_PROGRAM}
        self._silences.forget("guest")

    async def _drain_port(self) -> None:
        for _ in range(PORT_READS):
            await trio.lowlevel.checkpoint()
            if not _waiting_bytes(self._port_fd):
                return

    # -- out -------------------------------------------------------------------------------------------

    def _after_look(self, domains: tuple[Domain, ...]) -> None:
        for domain in domains:
            for event in self._observers[domain].take_events():
                self._on_event(domain, event)
        if "guest" in domains:
            self._after_guest()
        if "host" in domains:
            self._after_host()

    def _after_guest(self) -> None:
        now_ns = self.guest.clock.read_ns()
        self._refusals.flush(now_ns)
        if now_ns - self._told_ns >= TELL_NS:
            self._told_ns = now_ns
            self._tell()
        if now_ns - self._refreshed_ns >= REFRESH_NS:
            self._refreshed_ns = now_ns
            self._silences.refresh()

    def _after_host(self) -> None:
        now_ns = self._intake.clock()
        if now_ns - self._written_ns >= TELL_NS:
            self._written_ns = now_ns
            self._file.write(self._loop.iterations, self.host.clock.now_ns())
        if now_ns - self._pid_max_ns >= PID_MAX_NS:
            self._pid_max_ns = now_ns
            for domain, observer in self._observers.items():
                if domain != "guest":
                    observer.set_pid_max(read_pid_max() or 0)

    def _on_event(self, domain: Domain, event: ob.ObserverEvent) -> None:
        if isinstance(event, ob.SenderStalled):
            self._silences.begin(domain, event)
        elif isinstance(event, ob.SenderRecovered):
            self._silences.end(domain, event)
        else:
            self._refusals.add(domain, event)

    def _tell(self) -> None:
        rows = self._rows()
        if not rows and not any(observer.statistics().taken for observer in self._observers.values()):
            return
        self._emit(
            ev.BeatsObserved(
                rows=rows,
                tracked=sum(len(observer.tracker) for observer in self._observers.values()),
                threshold_ms=self._config.threshold_ms,
                counters=summed(self._values()),
            )
        )

    def _rows(self) -> tuple[BeatRow, ...]:
        rows = []
        for domain, observer in self._observers.items():
            now_ns = observer.clock.now_ns()
            rows += [
                row_of(domain, row, self._comm(domain, row.pid), now_ns) for row in observer.rows(MAX_ROWS)
            ]
        # Those that nobody vouches for come last: there may be any number of them.
        rows.sort(key=lambda row: (row.domain == "network", not row.stalled, -row.age_ms))
        return tuple(rows[:MAX_ROWS])

    def _comm(self, domain: Domain, pid: int) -> str:
        return self._names.get(pid, "") if domain == "guest" else ""

    # -- metrics ---------------------------------------------------------------------------------------

    def _values(self) -> list[Value]:
        secure = self._intake.secure() if self._intake.secure else None
        values = observer_values("guest", self.guest.statistics())
        for domain, observer in self._observers.items():
            if domain != "guest":
                sealed = secure if domain == "network" else None
                values += observer_values(domain, observer.statistics(), self._received(observer), sealed)
        values.append(Value("varta_observer_iteration_budget_exceeded_total", (), self._loop.over_budget))
        return values

    def _received(self, observer: Observer) -> list[DatagramStatistics]:
        sockets = (one for one in self._intake.sockets if isinstance(one, ObserverSocket))
        return [one.statistics() for one in sockets if one.observer is observer]

    def render_metrics(self) -> str:
        """The exposition of everything."""
        values = self._values()
        scraped = self._server.statistics()
        values += [
            Value("varta_prom_auth_failures_total", (), scraped.auth_failures),
            Value("varta_prom_connections_dropped_total", (("reason", "drain"),), scraped.dropped),
            Value("varta_log_suppressed_total", (("kind", "heartbeat_io"),), self._file.failures),
            Value("varta_pid_max_current", (), read_pid_max() or 0),
            Value("varta_watch_uptime_seconds", (), self.host.clock.now_ns() / 1e9),
            Value("varta_watch_last_poll_loop_timestamp_seconds", (), self._written_ns / 1e9),
        ]
        for domain, observer in self._observers.items():
            values += row_values(domain, observer.tracker.rows(), {GUEST_PROGRAM_PID: 1})
        return exposition(values, self._loop.histograms)

    async def _open_metrics(self, nursery: trio.Nursery) -> None:
        if self._config.metrics_port is None:
            return
        server = self._server
        try:
            server.write_token(self._socket_dir / TOKEN_NAME)
            port = await nursery.start(server.run, self._config.metrics_port)
        except OSError as error:
            text = f"no metrics: port {self._config.metrics_port}: {error}"
            self._emit(ev.Logged(severity="error", source="beats", text=text))
            return
        text = f"metrics at http://127.0.0.1:{port}/metrics, token in {self._socket_dir / TOKEN_NAME}"
        self._emit(ev.Logged(severity="info", source="beats", text=text))


def _waiting_bytes(fd: int) -> int:
    """What lies unread in a socket."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    except OSError:
        return 0
    return int(count)
