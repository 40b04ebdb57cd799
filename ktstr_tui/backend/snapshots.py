"""The snapshots of one guest: captures with its memory, from the stop to the file.

copy all (runs) ─▶ stop: report, state, what changed ─▶ runs: the report is rendered ─▶ pages written, committed

A snapshot belongs to a capture and follows it: the stop is the capture's, and what was taken there waits here, under
the capture's tag, until its report is on the stream (`SnapshotKeeper.on_event`). Then it is written in a worker thread,
one after the other. What was taken is written even when the run is ending.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec
import trio

from ktstr_tui.backend.lazily import pages_to_load, require_resident
from ktstr_tui.backend.setup import Setup
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.job import SavedCapture
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.guest_time import GuestTime
from ktstr_tui.guest.machine import Machine
from ktstr_tui.guest.qemu_program import choose_qemu
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.memory.shot import MemoryShot, StateOfStop
from ktstr_tui.memory.snapshot import SnapshotInfo, SnapshotMachine
from ktstr_tui.memory.store import DIRECTORY, SnapshotStore
from ktstr_tui.memory.writing import Parts, name_for, write_snapshot
from ktstr_tui.model.control import TakeCapture
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import CaptureTaken, Event, Logged, SchedulerChanged, SnapshotStored
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.snapshot_events import SnapshotAnswer
from ktstr_tui.port.now import Now

MAX_UNWRITTEN = 4
"""Snapshots that may wait to be written; each holds a copy of the guest's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What is known of a guest besides its memory.

    Args:
        now: The scenario's step and time.
        frozen: Knows since when the guest has been stopped.
        view: The guest's memory by type, once it can be read.
        waiting: The numbers of the requests that the guest waits for.
    """

    now: Now
    frozen: FrozenLog
    view: Callable[[], KernelView | None]
    waiting: Callable[[], tuple[int, ...]]


class Taken:
    """A memory that was taken, and what becomes of it."""

    def __init__(self, shot: MemoryShot) -> None:
        self.shot = shot
        self.tag = ""
        self.elapsed_ns: int | None = None
        self.again_at_ns: int | None = None
        self.step: int | None = None
        self.waiting: tuple[int, ...] = ()
        self.answer = SnapshotAnswer()
        self.done = trio.Event()


class MemoryShots:
    """Takes the memory of a guest that is stopped for a capture, and writes it as a snapshot.

    Args:
        machine: The machine.
        setup: What the run is made with.
        stream: Takes the events.
        nursery: Where snapshots are written.
        guest: What else is known of the guest.
    """

    def __init__(
        self,
        machine: Machine,
        setup: Setup,
        stream: Stream,
        nursery: trio.Nursery,
        guest: GuestFacts,
    ) -> None:
        limit_bytes = setup.config.snapshots_limit_mib << 20
        self.store = SnapshotStore(setup.place.data_dir / DIRECTORY, limit_bytes=limit_bytes)
        self._machine, self._setup, self._guest = machine, setup, guest
        self._stream, self._nursery = stream, nursery
        self._known = StateOfStop()
        self._shots: dict[str, Taken] = {}
        self._prepared: Taken | None = None
        self._preparing, self._writing = trio.Lock(), trio.Lock()
        self._idle = trio.Event()
        self._idle.set()
        self._refused = 0

    def drops(self) -> dict[str, int]:
        """Return the snapshots of ejections that were given up because too many waited."""
        return {"snapshots-not-taken": self._refused}

    def begin(self) -> Taken:
        """A memory that is still to be taken.

        Raises:
            UsageError: While the guest's own memory is still being loaded.
        """
        require_resident(self._machine.spec.restored)
        return Taken(MemoryShot(self._machine, self._setup.place.data_dir))

    async def at_ejection(self, tag: str) -> None:
        """Take the memory at the stop of an ejection, in a run that asks for that."""
        if len(self._shots) >= MAX_UNWRITTEN:
            self._refused += 1
            return
        try:
            taken, self._prepared = self._prepared or self.begin(), None
        except UsageError as error:
            self._stream.emit(SnapshotStored(tag=tag, problem=error.message))
            return
        await self.take(taken, tag)

    async def prepare(self) -> None:
        """Copy the memory of the running guest for the ejection that may come, or bring that copy up to date."""
        async with self._preparing:
            if pages_to_load(self._machine.spec.restored):
                return
            taken = self._prepared or self.begin()
            self._prepared = None
            try:
                await taken.shot.prepare()
            except KtstrError as error:
                text = f"no copy of the guest's memory beforehand: {error.message}"
                self._stream.emit(Logged(severity="warning", source="snapshot", text=text))
            self._prepared = taken

    def close(self) -> None:
        """Give back the memory of what was prepared and not needed."""
        if self._prepared is not None:
            self._prepared.shot.close()
            self._prepared = None

    def on_event(self, event: Event) -> None:
        """Write the memory of a capture once its report is there; prepare for the next ejection."""
        attached = isinstance(event, SchedulerChanged) and event.change == "attached"
        early = isinstance(event, CaptureTaken) and event.report.trigger == "early"
        if self._setup.config.memory_on_ejection and (attached or early):
            self._nursery.start_soon(self.prepare)
        if isinstance(event, CaptureTaken) and event.report.tag in self._shots:
            taken = self._shots[event.report.tag]
            self._idle = trio.Event() if self._idle.is_set() else self._idle
            self._nursery.start_soon(self._write, taken, event.report)

    async def wait_idle(self) -> None:
        """Wait until all that was taken is written."""
        await self._idle.wait()

    async def take(self, taken: Taken, tag: str) -> None:
        """Take the memory of a guest that is stopped for the capture of that tag. Does not raise."""
        taken.tag = tag
        now = self._guest.now
        taken.elapsed_ns, taken.step = now.clock.elapsed_ns(), now.step_index
        taken.waiting = self._guest.waiting()
        time = self._setup.time
        if isinstance(time, GuestTime) and self._machine.stations is not None:
            taken.again_at_ns = time.guest_ns()
        self._shots[tag] = taken
        await taken.shot.take(self._known, self._guest.frozen.since_ns)

    async def _write(self, taken: Taken, report: CaptureReport) -> None:
        with trio.CancelScope(shield=True):
            try:
                async with self._writing:
                    event = await self._stored(taken, report)
            except KtstrError as error:
                event = SnapshotStored(tag=taken.tag, problem=error.message)
            finally:
                taken.shot.close()
                del self._shots[taken.tag]
            taken.answer = SnapshotAnswer(
                name=event.name, problem=event.problem, new_bytes=event.new_bytes, evicted=event.evicted
            )
            self._stream.emit(event)
            taken.done.set()
            if not self._shots:
                self._idle.set()

    async def _stored(self, taken: Taken, report: CaptureReport) -> SnapshotStored:
        shot = taken.shot
        if shot.problem is not None:
            raise shot.problem
        assert shot.copy is not None
        info = await trio.to_thread.run_sync(self._info, report, taken.again_at_ns)
        parts = self._parts(taken, report)
        written = await trio.to_thread.run_sync(write_snapshot, self.store, shot.copy, parts, info)
        return SnapshotStored(
            tag=report.tag,
            name=written.name,
            path=str(written.path),
            pages=written.pages,
            new_pages=written.new_pages,
            new_bytes=written.new_bytes,
            took_ms=written.took_ms,
            evicted=written.evicted,
            problem=written.problem,
        )

    def _parts(self, taken: Taken, report: CaptureReport) -> Parts:
        spec, prepared = self._machine.spec, self._setup.prepared
        view = self._guest.view()
        return Parts(
            state=taken.shot.state,
            initrd=spec.initrd if isinstance(spec.initrd, bytes) else spec.initrd.read_bytes(),
            run_files=spec.run_files,
            report=msgspec.json.encode(report),
            plan=msgspec.json.encode(prepared.scenario),
            config=msgspec.json.encode(self._setup.config),
            vmcoreinfo=b"" if view is None else view.vmcoreinfo,
            elapsed_ns=taken.elapsed_ns,
            step=taken.step,
            waiting=taken.waiting,
        )

    def _info(self, report: CaptureReport, again_at_ns: int | None) -> SnapshotInfo:
        spec, prepared, config = self._machine.spec, self._setup.prepared, self._setup.config
        pause = report.pause
        return SnapshotInfo(
            name=name_for(self.store, report.tag),
            run=self._setup.place.name,
            run_id=self._stream.run_id,
            tag=report.tag,
            taken_wall=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            mono_ns=report.mono_ns,
            reason=report.trigger,
            machine=SnapshotMachine(
                kernel_path=str(spec.kernel.absolute()),
                kernel_sha256=hashlib.sha256(spec.kernel.read_bytes()).hexdigest(),
                kernel=prepared.kernel.release,
                topology=str(spec.topology),
                memory_bytes=spec.memory_bytes,
                accelerator=spec.accelerator,
                append=spec.append,
                qemu=choose_qemu().version,
            ),
            scenario=prepared.scenario.name,
            scheduler=(report.scheduler and report.scheduler.name) or config.scheduler or "",
            pause_us=0.0 if pause is None else pause.total_us,
            new_pages=0,
            again_at_ns=again_at_ns,
        )


class MemoryCaptures:
    """Takes captures with the guest's memory on demand.

    Args:
        coordinator: Stops the guest.
        shots: Takes the memory.
    """

    def __init__(self, coordinator: Coordinator, shots: MemoryShots) -> None:
        self._coordinator, self._shots = coordinator, shots

    async def capture(self, asked: TakeCapture, *, keep: bool = True) -> tuple[SavedCapture, SnapshotAnswer]:
        """Take a capture with the guest's memory; returns when both are on disk, or why the memory is not.

        Raises:
            KtstrError: The capture failed, or there is no room for a copy of the memory.
        """
        taken = self._shots.begin()
        try:
            await taken.shot.prepare()
            saved = await self._coordinator.capture_and_save(
                asked.trigger, asked.detail, asked.tag, keep=keep, also=partial(self._shots.take, taken)
            )
        except BaseException:
            if not taken.tag:
                taken.shot.close()
            raise
        await taken.done.wait()
        return saved, taken.answer
