"""A running machine: QEMU, its channels, and the account of how it ended.

`open_machine` starts it and, whatever happens in the body, returns only when QEMU is gone. The end of QEMU is
watched through a pidfd, so it is noticed at once; what it meant says `ktstr_tui.guest.machine_exit`.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress

import msgspec
import trio

from ktstr_tui.guest import qemu, ram, topology_args
from ktstr_tui.guest.console import Console, open_console
from ktstr_tui.guest.gdb import GdbClient, connect_gdb
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine_exit import MachineExit, QemuEnd, account, said
from ktstr_tui.guest.machine_state import load_state
from ktstr_tui.guest.observed import Observed, open_page
from ktstr_tui.guest.observer_page import ObserverPage
from ktstr_tui.guest.origin import Origin
from ktstr_tui.guest.paths import check_socket_path
from ktstr_tui.guest.qemu import MachineSpec
from ktstr_tui.guest.qmp import QmpClient, QmpEvent
from ktstr_tui.guest.saved_boots import SavedBoot, SavedBoots, boot_key
from ktstr_tui.guest.stations import StationedStream, Stations, stream_of
from ktstr_tui.guest.topology_args import RamSegment
from ktstr_tui.model.errors import GuestError, HostError, InternalError, sole_error

__all__ = ["Machine", "MachineExit", "MachineSpec", "RamSegment", "open_machine"]

START_TIMEOUT_S = 60.0
"""From the fork to a guest that runs with both control channels connected."""
QUIT_TIMEOUT_S = 2.0
PANIC_REBOOT_S = 5.0
"""How long a kernel that panicked may take to reboot, which ends QEMU."""
DRAIN_TIMEOUT_S = 1.0
KVM_WATCH_SLOTS = 4
"""Debug registers of an x86 CPU."""
_STDERR_LINES = 40
_STANDING_CHECK_S = 0.5
"""A guest that stands this long is asked about; a capture is over by then."""


class _Vcpu(msgspec.Struct, rename="kebab"):
    """A row of ``query-cpus-fast``."""

    cpu_index: int
    thread_id: int


class _RunState(msgspec.Struct):
    """The answer to ``query-status``."""

    status: str


class Machine:
    """A machine inside `open_machine`; attributes stay readable afterwards."""

    spec: MachineSpec
    ram_fds: tuple[int, ...]
    """The RAM files, one per NUMA node; open as long as the context."""
    segments: tuple[RamSegment, ...]
    """Where the RAM files appear in guest-physical space, ascending."""
    pid: int
    """QEMU's process id (setpriv and the shell have exec'ed into it)."""
    qmp: QmpClient
    engine: GdbClient | HoldEngine
    """Stops the guest."""
    stations: Stations | None
    """Where a machine that is observed takes bytes of the host; None for the others."""
    bulk: trio.SocketStream | StationedStream
    """Our end of the guest's virtio-serial port."""
    stats: trio.SocketStream | StationedStream
    """Our end of the port over which the guest program relays requests for a scheduler's statistics."""
    saved_boot: trio.SocketStream | None
    """Where the guest waits after its boot (`ktstr_tui.guest.boot`); None when it does not."""
    started_s: float
    """Host monotonic time at which QEMU was started, in seconds."""
    origin: SavedBoot | None
    """The saved boot that this guest started from; None when it boots itself, or was restored from another instant."""
    console: Console

    def __init__(
        self,
        spec: MachineSpec,
        ram_fds: tuple[int, ...],
        process: qemu.Process,
        console: Console,
        page: ObserverPage | None = None,
        origin: Origin | None = None,
    ) -> None:
        nodes = topology_args.node_bytes(spec.topology, spec.memory_bytes)
        self.spec = spec
        self.ram_fds = ram_fds
        self.segments = topology_args.segments(nodes)
        self.pid = process.popen.pid
        self.console = console
        self.started_s = time.monotonic()
        self.origin = origin if isinstance(origin, SavedBoot) else None
        self._started_from = origin
        self.saved_boot = None if process.saved_boot is None else stream_of(process.saved_boot)
        self.qmp = QmpClient(stream_of(process.qmp))
        self._process = process
        self._gdb_stream = stream_of(process.gdb)
        self._observed = None if page is None else Observed(page, self._gdb_stream, self.qmp)
        if self._observed is None:
            self.stations = None
            self.bulk, self.stats = stream_of(process.bulk), stream_of(process.stats)
        else:
            self.stations, self.engine = self._observed.stations, self._observed.engine
            self.bulk = StationedStream(self.stations, "bulk", process.bulk)
            self.stations.bulk = self.bulk.stream
            self.stats = StationedStream(self.stations, "stats", process.stats)
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._shutdown_cause: str | None = None
        self._asked_to_quit = False
        self._gave_up = False
        self._exit: MachineExit | None = None
        self._exited = trio.Event()
        self._panicked = trio.Event()
        self._scopes: list[trio.CancelScope] = []
        self._streams_ended = [trio.Event(), trio.Event()]

    def ram_parts(self) -> list[tuple[int, int, int, int]]:
        """The RAM as (file descriptor, file offset, guest-physical address, length) runs."""
        return [(self.ram_fds[s.fd_index], s.offset, s.guest_phys, s.length) for s in self.segments]

    @property
    def gdb(self) -> GdbClient:
        """The gdb stub.

        Raises:
            InternalError: The observer is in its place.
        """
        if not isinstance(self.engine, GdbClient):
            raise InternalError("this machine has no gdb stub: it is held by the observer")
        return self.engine

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """QEMU's own last messages."""
        return tuple(self._stderr)

    async def vcpu_threads(self) -> dict[int, int]:
        """Host thread id of each vCPU; one id for all when QEMU emulates on one thread (`qemu.threads_for`)."""
        rows = msgspec.convert(await self.qmp.execute("query-cpus-fast"), list[_Vcpu])
        return {row.cpu_index: row.thread_id for row in rows}

    async def wait_exit(self) -> MachineExit:
        """Wait until QEMU has ended and its console is drained."""
        while (exit_ := self._exit) is None:
            await self._exited.wait()
        return exit_

    @property
    def exit(self) -> MachineExit | None:
        """How QEMU ended; None while it runs."""
        return self._exit

    async def quit(self) -> MachineExit:
        """End the machine: ask QEMU, and kill it when it does not end within `QUIT_TIMEOUT_S`."""
        self._asked_to_quit = True
        with trio.move_on_after(QUIT_TIMEOUT_S):
            with suppress(GuestError):
                await self.qmp.execute("quit", timeout_s=QUIT_TIMEOUT_S)
            return await self.wait_exit()
        self.kill()
        return await self.wait_exit()

    def kill(self) -> None:
        """Send SIGKILL. The process id is ours until it is reaped, so no other process can be hit."""
        self._process.popen.kill()

    async def _supervise(self) -> None:
        """Wait for the end of the process and put the account together."""
        popen = self._process.popen
        pidfd = os.pidfd_open(popen.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        status = popen.wait()
        # A child of QEMU could hold the pipes open; do not wait for that.
        with trio.move_on_after(DRAIN_TIMEOUT_S):
            for ended in self._streams_ended:
                await ended.wait()
        self.console.close()
        self._exit = self._account(status)
        self._exited.set()

    def drops(self) -> dict[str, int]:
        """Return what was lost on the way from QEMU, by channel and reason."""
        stations = {} if self.stations is None else self.stations.drops()
        return {**self.engine.drops(), **stations, **self.qmp.drops(), **self.console.drops()}

    async def _read_console(self) -> None:
        async with trio.lowlevel.FdStream(self._process.console_fd) as stream:
            async for data in stream:
                self.console.feed(bytes(data))
                if self.console.panic is not None:
                    self._panicked.set()
        self._streams_ended[0].set()

    async def _end_after_panic(self) -> None:
        """End a guest that panicked and does not reboot, as one that was told not to, or died on the way."""
        await self._panicked.wait()
        with trio.move_on_after(PANIC_REBOOT_S):
            await self.wait_exit()
            return
        self.kill()

    async def _read_stderr(self) -> None:
        messages = Console(None)
        async with trio.lowlevel.FdStream(self._process.stderr_fd) as stream:
            async for data in stream:
                self._stderr.extend(messages.feed(bytes(data)))
        self._streams_ended[1].set()

    async def _watch_events(self) -> None:
        """Remember why QEMU shuts down, and end a guest that QEMU itself has given up."""
        standing = False
        while True:
            with trio.move_on_after(_STANDING_CHECK_S if standing else math.inf) as scope:
                try:
                    event = await self.qmp.events.receive()
                except trio.EndOfChannel:
                    return
                self._note(event)
                standing = event.name == "STOP" or (standing and event.name != "RESUME")
            if scope.cancelled_caught:
                standing = False
                await self._check_state()

    async def _check_state(self) -> None:
        with suppress(GuestError, InternalError):
            status = msgspec.convert(await self.qmp.execute("query-status"), _RunState)
            if status.status == "internal-error":
                self._gave_up = True
                self.kill()

    def _note(self, event: QmpEvent) -> None:
        if event.name == "SHUTDOWN":
            self._shutdown_cause = str(event.data.get("reason", ""))
        elif event.name == "GUEST_PANICKED" and self.console.panic is None:
            self.console.panic = "reported by the panic device"

    def _account(self, status: int) -> MachineExit:
        end = QemuEnd(
            status,
            self.console.panic,
            gave_up=self._gave_up,
            asked_to_quit=self._asked_to_quit,
            cause=self._shutdown_cause,
            said=said(self._stderr),
        )
        return account(end, self.console.tail())

    async def _connect(self) -> None:
        origin = self._started_from
        with sole_error():
            async with trio.open_nursery() as nursery:
                if origin is not None:
                    # QEMU takes as long to start, and leaves the RAM alone of a machine whose state is to be loaded.
                    nursery.start_soon(trio.to_thread.run_sync, origin.copy_ram, self.ram_fds)
                await self.qmp.wait_ready()
        if self._observed is not None:
            if origin is not None:
                await self._observed.go_on_from(origin.state)
            return
        if origin is not None:  # before the stub's handshake, which lets the guest run
            await load_state(self.qmp, origin.state)
        slots = KVM_WATCH_SLOTS if self.spec.accelerator == "kvm" else None
        self.engine = await connect_gdb(self._gdb_stream, slots, resume=self.spec.restored is None)


@asynccontextmanager
async def open_machine(spec: MachineSpec, origin: SavedBoot | None = None) -> AsyncIterator[Machine]:
    """Start a machine; on leaving the context QEMU is gone.

    A machine with ``run_files`` goes on from its saved boot where there is one (`Machine.origin`), one with a seed
    from ``origin``. Its guest waits for `ktstr_tui.guest.boot.pass_boot`. One that is ``restored`` is stopped.

    Raises:
        HostError: No space, no QEMU, or QEMU refused to start (with what it said).
        GuestError: The guest cannot go on from ``origin``.
        UsageError: The memory does not fit the topology.
    """
    ram.check_space(spec.memory_bytes)
    check_socket_path(qemu.user_qmp_path(spec))
    async with AsyncExitStack() as stack:
        machine = None if spec.restored else await _go_on(stack, spec, origin)
        if machine is None:
            machine = await stack.enter_async_context(_run_machine(spec, spec.restored))
        yield machine


async def _go_on(stack: AsyncExitStack, spec: MachineSpec, given: SavedBoot | None) -> Machine | None:
    """Start a machine from the boot given or kept, or remove that when it cannot be loaded; None without one."""
    boots, origin = SavedBoots(), given
    if given is None and spec.run_files is not None and spec.determinism is None:
        origin = boots.find(await trio.to_thread.run_sync(boot_key, spec))
    if origin is None:
        return None
    try:
        return await stack.enter_async_context(_run_machine(spec, origin))
    except (GuestError, HostError, OSError) as error:
        boots.remove(origin.directory.name)
        if given is None:
            return None
        raise GuestError(f"no start from the saved boot: {error}", "it was removed; run again") from error


@asynccontextmanager
async def _run_machine(spec: MachineSpec, origin: Origin | None = None) -> AsyncIterator[Machine]:
    nodes = topology_args.node_bytes(spec.topology, spec.memory_bytes)
    with ExitStack() as stack:
        ram_fds = stack.enter_context(ram.open_ram(nodes))
        console = stack.enter_context(open_console(spec.console_log))
        page = stack.enter_context(open_page(spec.determinism)) if spec.observed else None
        if origin is not None:
            console.feed(origin.console)
        process = qemu.spawn(spec, ram_fds, None if page is None else page.fd, origin)
        stack.callback(qemu.user_qmp_path(spec).unlink, missing_ok=True)
        machine = Machine(spec, ram_fds, process, console, page, origin)
        # The tasks in the nursery do not fail, so a group of errors holds what the body raised and nothing else.
        with sole_error():
            async with trio.open_nursery() as nursery:
                _start_tasks(nursery, machine)
                try:
                    await _start(machine)
                    yield machine
                finally:
                    await _end(machine)


def _start_tasks(nursery: trio.Nursery, machine: Machine) -> None:
    tasks = (
        machine.qmp.run,
        machine._watch_events,
        machine._read_console,
        machine._read_stderr,
        machine._supervise,
        machine._end_after_panic,
    )
    for task in tasks:
        nursery.start_soon(_shielded, machine, task)
    if machine._observed is not None:
        nursery.start_soon(_shielded, machine, machine._observed.engine.run)


async def _shielded(machine: Machine, task: Callable[[], Awaitable[None]]) -> None:
    """Run a task that ends with QEMU, or when `_end` says so: a cancelled body still needs its account."""
    with trio.CancelScope(shield=True) as scope:
        machine._scopes.append(scope)
        await task()


async def _start(machine: Machine) -> None:
    """Connect the control channels, or tell why QEMU did not come up."""
    failure: GuestError | None = None
    with trio.move_on_after(START_TIMEOUT_S) as scope:
        try:
            await machine._connect()
        except GuestError as error:
            failure = error
    if failure is None and not scope.cancelled_caught:
        return
    with trio.move_on_after(DRAIN_TIMEOUT_S):
        await machine.wait_exit()
    if machine.exit is None:
        raise HostError(
            f"QEMU does not answer: {failure or f'not up within {START_TIMEOUT_S:g} s'}",
            "is the host overloaded?",
        )
    raise HostError(
        f"QEMU did not start: {machine.exit.detail}",
        "run ktstr-tui doctor; with --accel tcg no KVM is needed",
    )


async def _end(machine: Machine) -> None:
    """Make sure that QEMU is gone, also when cancelled."""
    with trio.CancelScope(shield=True):
        if machine.exit is None:
            machine._asked_to_quit = True
            machine.kill()
            await machine.wait_exit()
        for scope in machine._scopes:
            scope.cancel()
        for stream in (machine.bulk, machine.stats, machine._gdb_stream, machine.saved_boot):
            if stream is not None:
                await trio.aclose_forcefully(stream)
