"""One run from its first event to its last: opens the rooms in one nursery and connects them.

The stream and the publisher outlive the machine, so that viewers see how it ended. Inside, whatever can end the
run reports to one `RunEnd`, the first cause wins, and everything else is cancelled from there.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from ktstr_tui.backend.again import keep_inputs, read_kept, require_same
from ktstr_tui.backend.boots import BootTimes, find_boot
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.control import RunControl, plan_of
from ktstr_tui.backend.dir_watch import watch_directories
from ktstr_tui.backend.drawn_seed import with_drawn_seed
from ktstr_tui.backend.edit.acts import EditActs
from ktstr_tui.backend.edit.editor import Editor, arm_again, plan_edits
from ktstr_tui.backend.edit.reboots import Reboots
from ktstr_tui.backend.freezer import Freezer
from ktstr_tui.backend.gatekeeper import authority_of
from ktstr_tui.backend.identity import identify, write_identity
from ktstr_tui.backend.in_order import tasks_in_order
from ktstr_tui.backend.lazily import open_lazily, watch_pager
from ktstr_tui.backend.live import LiveGuest, Setup, open_live_guest
from ktstr_tui.backend.old_runs import make_room, told
from ktstr_tui.backend.outcome import RunEnd, RunOutcome, being_loaded
from ktstr_tui.backend.owner import RunOwner, watch_owner
from ktstr_tui.backend.prepare import Prepared, prepare
from ktstr_tui.backend.probes import Numbers
from ktstr_tui.backend.restoring import Origin, open_origin
from ktstr_tui.backend.run_dirs import RunDirs, leave_nothing, take_place
from ktstr_tui.backend.signals import watch_signals
from ktstr_tui.control.authority import Authority
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.guest_files import NO_SCHEDULER
from ktstr_tui.guest.guest_time import GuestTime, HostTime, RunTime
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.recorder import BPF_STATS_ARGUMENT, recorder_arguments
from ktstr_tui.guest.saved_boots import SavedBoot
from ktstr_tui.heartbeat.intake import open_host_socket
from ktstr_tui.link.publisher import Publisher, open_publisher
from ktstr_tui.link.recording import Recorder
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.link.stream import Sink, Stream
from ktstr_tui.link.trace_keeper import TraceKeeper
from ktstr_tui.memory.remote_messages import SOCKET_NAME
from ktstr_tui.memory.remote_server import SnapshotServer
from ktstr_tui.memory.store import DIRECTORY, SnapshotStore
from ktstr_tui.model.drops import Drops
from ktstr_tui.model.errors import (
    HostError,
    InternalError,
    KtstrError,
    SchedulerRejectedError,
    host_limit,
    root_cause,
    sole_error,
)
from ktstr_tui.model.events import Logged, RunStarted
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.state import RunState
from ktstr_tui.model.topology import Topology

LOG_TAIL_LINES = 40
"""Of a rejected scheduler's log, in the run's last event; all of it is in the output."""
FAREWELL_S = 0.3
"""How long viewers have to take the last events before the sockets go."""


async def run_backend(
    config: RunConfig,
    note: Callable[[str], None],
    ready: Callable[[RunDirs], None],
    tell: Sink | None = None,
) -> RunState:
    """Carry out one run.

    Args:
        config: What is asked for.
        note: Takes lines for people while the run is being prepared.
        ready: Called once viewers can connect; the guest starts after that.
        tell: Takes each event, besides all else; None for nobody.

    Returns:
        The state after the last event; how it ended is in ``ended``.

    Raises:
        KtstrError: The run could not begin.
    """
    config, prepared = await with_drawn_seed(config, await prepare(config, note), note)
    again = Path(config.run_dir) if config.run_dir else None
    with take_place(config.name, prepared.scenario.name, again) as place, ExitStack() as undo:
        undo.callback(leave_nothing, place.data_dir, again)
        session = Session(config, prepared, place, told(await make_room(config), note))
        if tell is not None:
            session.stream.add_sink(tell)
        return await session.run(ready, undo)


def machine_spec(config: RunConfig, prepared: Prepared, place: RunDirs, boot: int = 1) -> MachineSpec:
    """The machine of a boot of a run."""
    console = "console.log" if boot == 1 else f"console-{boot}.log"
    return MachineSpec(
        kernel=prepared.kernel.path_to_boot,
        initrd=prepared.files.base if prepared.saves_boot else prepared.files.whole,
        run_files=prepared.files.run if prepared.saves_boot else None,
        topology=prepared.topology,
        memory_bytes=config.memory_mib << 20,
        accelerator=prepared.verdict.accelerator,
        socket_dir=place.socket_dir,
        console_log=place.data_dir / console,
        append=_appended(config) if prepared.append is None else prepared.append,
        determinism=config.determinism,
        observed=prepared.observed,
    )


def _appended(config: RunConfig) -> str:
    """What this run adds to the kernel's command line; the user's own words come last, so that they win."""
    cpus = Topology.parse(config.topology).cpus
    recorder = recorder_arguments(config.recorder, cpus, config.memory_mib)
    counting = BPF_STATS_ARGUMENT if config.bpf_stats else ""
    return " ".join(filter(None, (recorder, counting, config.extra_kernel_args)))


class _Audience:
    """Who takes the stream and asks for things, for the counters."""

    def __init__(
        self, publisher: Publisher, recorder: Recorder, authority: Authority, control: RunControl
    ) -> None:
        self._publisher = publisher
        self._freezer = Freezer(publisher.pings)
        self._recorder = recorder
        self._authority = authority
        self._control = control

    def viewers(self) -> int:
        return self._publisher.statistics().viewers

    def is_gone(self, viewer: str) -> bool:
        return self._freezer.is_gone(viewer)

    def sources(self) -> dict[str, Drops]:
        return {
            "publisher": self._publisher,
            "recorder": self._recorder,
            "authority": self._authority,
            "audit": self._control.audit,
            "loop": self._control.loop,
            "executor": self._control.executor,
        }


def _viewer_numbers(publisher: Publisher) -> dict[str, float | None]:
    """How many viewers there are, and how far behind they say they are: events missed so far, the slowest one's lag."""
    counts = publisher.statistics()
    return {
        "viewers": float(counts.viewers),
        "events_missed": float(counts.reported_missing),
        "lag_ms": None if counts.lag_ms is None else float(counts.lag_ms),
    }


class Session:
    """One run that has a place. Single use."""

    def __init__(
        self, config: RunConfig, prepared: Prepared, place: RunDirs, room_made: Logged | None = None
    ) -> None:
        self._room_made = room_made
        self.time: RunTime = GuestTime() if prepared.observed else HostTime()
        """The clock by which the run judges."""
        self.stream = Stream(self.time.now_ns)
        self.ending = RunEnd(self._waits_for)
        self._config = config
        self._reboots = Reboots(config, prepared, self.stream, self.ending)
        self._place = place
        self._snapshots = SnapshotServer(
            SnapshotStore(place.data_dir / DIRECTORY), place.name, self.stream.run_id
        )
        self._edits = plan_edits(config, place.data_dir)
        self._authority = authority_of(config, self.stream.run_id)
        plan = plan_of(config, place.name, prepared.scenario.duration_ms)
        self._control = RunControl(plan, self.stream, self.ending, self._authority, place.data_dir, self.time)
        self._editor: Editor | None = None
        if self._edits is not None:
            self._editor = Editor(self._edits, self._control.desk, self.stream.emit, self.stream.now_ns)
        self._control.edit_with(EditActs(self._editor, self._reboots))

    async def run(self, ready: Callable[[RunDirs], None], undo: ExitStack) -> RunState:
        """Run to the end; ``undo`` gets what is to be undone, and is emptied once the run has begun."""
        authority, control = self._authority, self._control
        path = Path(self._config.record) if self._config.record else self._place.data_dir / RECORDING_FILE
        trace = TraceKeeper() if self._config.record_trace else TraceKeeper(0)
        recorder = Recorder(self.stream, path, trace=trace)
        undo.callback(path.unlink, missing_ok=True)
        with sole_error(), tasks_in_order(isinstance(self.time, GuestTime)):
            async with trio.open_nursery() as nursery:
                await nursery.start(recorder.run)
                async with open_publisher(
                    self.stream,
                    self._place.socket_dir,
                    control.desk.serve,
                    may_control=authority.control,
                    controllers=authority.controllers,
                    refused=control.desk.refuse,
                ) as publisher:
                    self._announce()
                    await nursery.start(control.run)
                    await nursery.start(self._snapshots.run, self._place.socket_dir / SOCKET_NAME)
                    control.loop.probes.install(Numbers("viewers", partial(_viewer_numbers, publisher)))
                    audience = _Audience(publisher, recorder, authority, control)
                    await self._look_after(nursery, audience, ready, undo)
                nursery.cancel_scope.cancel()
        return self.stream.state

    async def _look_after(
        self, nursery: trio.Nursery, audience: _Audience, ready: Callable[[RunDirs], None], undo: ExitStack
    ) -> None:
        """Run the machine, and let viewers take the last events."""
        with open_host_socket(self._config.beats, self._place.socket_dir, self.stream.emit) as beats_socket:
            ready(self._place)
            undo.pop_all()
            nursery.start_soon(watch_signals, self.ending)
            if self._config.owner_pid:
                owner = RunOwner(self._config.owner_pid, self._config.on_exit, self._place.name)
                nursery.start_soon(watch_owner, owner, self.ending, audience.viewers, self.stream.emit)
            nursery.start_soon(watch_directories, self._place, self.stream.emit)
            if self._editor is not None:
                nursery.start_soon(self._editor.run)
            outcome = await self._run_machine(audience, beats_socket)
            while outcome.restart:
                self._reboots.begin_again(outcome.reason)
                outcome = await self._run_machine(audience, beats_socket)
        await self._control.shut_down()
        self._say_goodbye(outcome)
        with trio.CancelScope(shield=True):
            await trio.sleep(FAREWELL_S)

    async def _run_machine(self, audience: _Audience, beats_socket: socket.socket | None) -> RunOutcome:
        setup = Setup(
            config=self._config,
            prepared=self._reboots.prepared,
            reboots=self._reboots,
            place=self._place,
            audience=audience,
            control=self._control,
            started_ns=time.monotonic_ns(),
            time=self.time,
            beats_socket=beats_socket,
        )
        spec = machine_spec(self._config, self._reboots.prepared, self._place, self._reboots.boot)
        try:
            spec, saved = await self._boot_of(spec)
            if self.ending.outcome is not None:
                return self.ending.outcome
            if spec.determinism is not None:
                await self._identify(spec, spec.determinism, saved)
            with open_origin(self._config, self._place.data_dir, self.stream.emit) as origin:
                async with (
                    open_lazily(
                        origin,
                        self._config.restore,
                        self.stream.emit,
                        self._place.socket_dir,
                        wanted=self._config.restore_lazily,
                    ),
                    open_machine(replace(spec, restored=origin), saved) as machine,
                    open_live_guest(machine, self.stream, setup, self.ending) as guest,
                ):
                    await self._run_guest(guest, machine, origin)
        except Exception as error:
            cause = root_cause(error)
            known = cause if isinstance(cause, KtstrError) else host_limit(cause)
            if known is None:
                # A defect must end the run cleanly too: viewers and the recording hear of it.
                with suppress(OSError):
                    traceback.print_exception(error)
                known = InternalError(
                    f"{type(cause).__name__}: {cause}", "please report it with the traceback"
                )
            self.ending.set(known.message, known)
        return await self.ending.wait()

    async def _boot_of(self, spec: MachineSpec) -> tuple[MachineSpec, SavedBoot | None]:
        """The machine, and the saved boot that it goes on from when it has a seed; made first where there is none.

        Raises:
            HostError: The boot cannot be saved, and the run is to be one that went on from it.
        """
        if spec.determinism is None or spec.run_files is None:
            return spec, None
        try:
            return spec, await find_boot(spec, self.ending, self.stream.emit, self._config.silence_s)
        except OSError as error:
            why = f"the guest's boot cannot be saved: {error}"
            if self._config.again is not None:
                raise HostError(why, "the run to be repeated went on from it; make room") from error
        self.stream.emit(Logged(severity="warning", source="guest", text=f"{why}; the run boots by itself"))
        alone = msgspec.structs.replace(self._reboots.prepared, saves_boot=False)
        return machine_spec(self._config, alone, self._place, self._reboots.boot), None

    async def _identify(self, spec: MachineSpec, determinism: Determinism, origin: SavedBoot | None) -> None:
        """Keep what the run is made of, and see that it is the same when it is one again."""
        identity = await trio.to_thread.run_sync(identify, spec, determinism, origin)
        if self._reboots.boot > 1:
            return
        if self._config.again is not None:
            require_same(read_kept(Path(self._config.again)).identity, identity)
        try:
            write_identity(self._place.data_dir, identity)
            keep_inputs(self._place.data_dir, self._config, self._reboots.prepared.scenario, spec)
        except OSError as error:
            if not self._config.keeps_pace:
                raise
            # Nobody asked for a seed, so the run is worth something without it.
            text = f"what the run is made of cannot be kept, so it cannot be had again: {error}"
            self.stream.emit(Logged(severity="warning", source="seed", text=text))

    async def _run_guest(self, guest: LiveGuest, machine: Machine, origin: Origin | None) -> None:
        async with trio.open_nursery() as nursery:
            if origin is not None:
                nursery.start_soon(watch_pager, origin, machine, self.ending, self.stream.emit, origin.tell)
            watches, desk = self._reboots.watches, self._control.desk
            nursery.start_soon(arm_again, watches, desk, guest.typed.wait, self.stream.emit)
            await guest.run()
            nursery.cancel_scope.cancel()

    def _announce(self) -> None:
        config, prepared, place = self._config, self._reboots.prepared, self._place
        info = RunInfo(
            name=place.name,
            run_id=self.stream.run_id,
            kernel=prepared.kernel.release,
            kernel_path=str(prepared.kernel.path_to_boot),
            accelerator=prepared.verdict.accelerator,
            accelerator_reason=prepared.verdict.reason,
            topology=config.topology,
            memory_bytes=config.memory_mib << 20,
            scenario=prepared.scenario.name,
            scheduler=config.scheduler or "chosen by the scenario",
            schedulers=tuple(sorted(prepared.scenario.schedulers() - {NO_SCHEDULER})),
            steps=prepared.step_names,
            about=tuple(step.about for step in prepared.scenario.steps),
            steps_ms=tuple(step.duration_ms for step in prepared.scenario.steps),
            sample_hz=config.sample_hz,
            started_wall=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            host=socket.gethostname(),
            data_dir=str(place.data_dir),
            duration_s=config.duration_s,
            last_boot_ms=BootTimes().last_ms(
                prepared.verdict.accelerator, prepared.kernel.release, config.topology
            ),
            allow_writes=config.allow_writes,
            build=config.build,
            watched_files=tuple(path.name for path in self._edits.files) if self._edits is not None else (),
            seed=None if config.determinism is None else config.determinism.seed,
            held_at_ns=config.freeze_at_ns,
            restored_from=config.restored_from,
            instruction_ns=None if config.determinism is None else config.determinism.instruction_ns,
        )
        place.describe({**msgspec.to_builtins(info), "pid": os.getpid()})
        self.stream.emit(RunStarted(info=info, mono_ns=self.time.now_ns()))
        # What else is on this disk is no part of what follows from a seed.
        if self._room_made is not None and config.determinism is None:
            self.stream.emit(self._room_made)

    def _waits_for(self) -> str:
        return being_loaded(self.stream.state, self._reboots.prepared.scenario.steps, self.time.now_ns())

    def _say_goodbye(self, outcome: RunOutcome) -> None:
        state = self.stream.state
        info = state.info
        if (
            info is not None
            and state.boot_ms is not None
            and not (state.from_saved_boot or state.restored_from)
        ):
            BootTimes().remember(info.accelerator, info.kernel, info.topology, state.boot_ms)
        self.stream.emit(outcome.told(state, self._last_words(outcome)))

    def _last_words(self, outcome: RunOutcome) -> tuple[str, ...]:
        if isinstance(outcome.error, SchedulerRejectedError):
            log = [line.text for line in self.stream.state.output if line.source == "sched_log"]
            return tuple(log[-LOG_TAIL_LINES:])
        return outcome.console_tail
