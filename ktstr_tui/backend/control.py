"""The control loop of one run with its executor, desk and files; it begins before the guest and ends after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.desk import Desk
from ktstr_tui.backend.dispatch import ActedOn, RunDispatcher, no_early_capture_of_an_end
from ktstr_tui.backend.edit.acts import EditActs
from ktstr_tui.backend.gatekeeper import Gatekeeper
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.control.admit import RuleGate
from ktstr_tui.control.audit import Audit
from ktstr_tui.control.audit_chain import TORN_FILE, AuditFile
from ktstr_tui.control.authority import Authority
from ktstr_tui.control.executor import Executor
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.loop import ControlLoop
from ktstr_tui.control.probes import Probe
from ktstr_tui.control.queue import LoopClosedError, Shutdown
from ktstr_tui.control.rings import Rings
from ktstr_tui.control.ticker import TICK_S, ClockTicker, TickTime
from ktstr_tui.guest.guest_time import HostTime, RunTime
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.control import ControlPlan, FailureRecord, LogRecord
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import Logged
from ktstr_tui.model.text import counted
from ktstr_tui.port.scenario_clock import ScenarioClock

FAILURES_FILE = "failures.jsonl"
LOG_FILE = "log.jsonl"
JOIN_S = 2.0
"""How long the loop and what it does may take to end."""
MAX_FILE_BYTES = 16 << 20
"""Of each of the two files, after which nothing more is written and entries are marked."""


class Controlled(ActedOn, Protocol):
    """A live guest, as far as the control loop needs it."""

    clock: ScenarioClock


class JsonLines:
    """Appends entries to a file, a JSON line each.

    Args:
        path: Made at the first entry.
        max_bytes: Its size at most.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = path
        self._left = max_bytes

    def append(self, record: FailureRecord | LogRecord) -> None:
        """Write an entry.

        Raises:
            OSError: It could not be written.
        """
        line = msgspec.json.encode(record) + b"\n"
        if len(line) > self._left:
            raise OSError(f"{self._path} has reached its size")
        with self._path.open("ab", buffering=0) as file:
            file.write(line)
        self._left -= len(line)


def plan_of(config: RunConfig, name: str, scenario_ms: float) -> ControlPlan:
    """What the loop decides by, of what a run was started with."""
    return ControlPlan(
        name=name,
        duration_s=config.duration_s,
        freeze_limit_s=config.freeze_limit_s or None,
        periodic=config.captures,
        scenario_ms=scenario_ms,
        early=config.early_capture and config.sample_hz > 0,
        sample_hz=config.sample_hz,
        keep_attached=config.keep_attached,
    )


def open_audit(data_dir: Path) -> AuditFile:
    """Open the audit of a run, and repair it after a crash.

    Raises:
        HostError: It cannot be read or repaired.
    """
    try:
        return AuditFile(data_dir)
    except OSError as error:
        raise HostError(
            f"cannot continue the audit in {data_dir}: {error.strerror or error}",
            "move its audit.jsonl away, or make it readable and leave some room",
        ) from error


class RunControl:
    """Decides and acts for one run. Single use.

    Args:
        plan: What the run was started with.
        stream: Its events.
        ending: How it ends.
        authority: Who may do what.
        data_dir: Where its files go.
        time: The run's; the host's when None.
    """

    def __init__(
        self,
        plan: ControlPlan,
        stream: Stream,
        ending: RunEnd,
        authority: Authority,
        data_dir: Path,
        time: RunTime | None = None,
    ) -> None:
        time = self._time = HostTime() if time is None else time
        self._guest: Controlled | None = None
        self._of_guest: tuple[str, ...] = ()
        self._edits: EditActs | None = None
        self._over = trio.Event()
        self._stream = stream
        ledger = Ledger(stream.emit)
        rings = Rings(JsonLines(data_dir / FAILURES_FILE), JsonLines(data_dir / LOG_FILE))
        dispatcher = RunDispatcher(self.guest, stream, ending, lambda: self._edits)
        self.executor = Executor(
            dispatcher,
            ledger,
            stream.emit,
            time.now_ns,
            gate=RuleGate((no_early_capture_of_an_end(self.guest),)),
            rings=rings,
        )
        """Carries out what the loop decides."""
        self.loop = ControlLoop(
            plan,
            ClockTicker(self._read, TICK_S, time.sleep_hastily, time.now_s),
            stream.emit,
            self.executor,
            ledger=ledger,
            rings=rings,
        )
        """Decides."""
        self._audit_file = open_audit(data_dir)
        self.audit = Audit(self._audit_file)
        """Every attempt to do something to the run."""
        self.loop.recovery.register("audit", self.audit.recover)
        gatekeeper = Gatekeeper(authority, self.audit, dispatcher.effects, stream)
        self.desk = Desk(stream, gatekeeper, self.loop, self.executor, data_dir, time)
        """Where viewers and the run's own parts ask."""
        self._handle = self.loop.handle()
        self._feed = self.loop.feed(self._handle)

    def guest(self) -> Controlled | None:
        """The machine; None before it starts and when it is gone."""
        return self._guest

    def attach(self, guest: Controlled, probes: Sequence[Probe] = ()) -> None:
        """Act on a guest from now on, and look at it with probes."""
        self._guest = guest
        for probe in probes:
            self.loop.probes.install(probe)
        self._of_guest = tuple(probe.name for probe in probes)

    def edit_with(self, edits: EditActs) -> None:
        """Build and boot again by these."""
        self._edits = edits

    def detach(self) -> None:
        """The guest is gone, and its probes with it."""
        self._guest = None
        for name in self._of_guest:
            self.loop.probes.clear(name)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Decide and act until shut down."""
        self._stream.add_sink(self._feed)
        self._report_audit()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.executor.run)
                nursery.start_soon(self.audit.keep_on_disk)
                task_status.started()
                await self.loop.run()
                nursery.cancel_scope.cancel()
        finally:
            self._stream.remove_sink(self._feed)
            self._over.set()

    async def shut_down(self) -> None:
        """Decide nothing more, and return when all that is open has failed and said so."""
        with suppress(LoopClosedError):
            await self._handle.publish(Shutdown())
        with trio.move_on_after(JOIN_S):
            await self._over.wait()

    def _report_audit(self) -> None:
        """Say what was found wrong with the audit of an earlier run in the same directory."""
        file, found = self._audit_file, self._audit_file.found
        texts = []
        if file.repaired:
            texts.append(
                f"the last entry of the audit was torn: {counted(file.repaired, 'byte')} moved "
                f"from {file.path} to {TORN_FILE}"
            )
        if found is not None and found.broken_line is not None:
            texts.append(f"line {found.broken_line} of {file.path} does not fit: {found.why}")
        for text in texts:
            self._stream.emit(Logged(severity="warning", source="audit", text=text))

    def _read(self) -> TickTime:
        guest = self._guest
        if guest is None:
            return TickTime(now_ns=self._time.now_ns())
        return TickTime(
            now_ns=self._time.now_ns(),
            frozen_ns=guest.coordinator.frozen_total_ns(),
            scenario_ns=guest.clock.elapsed_ns(),
        )
