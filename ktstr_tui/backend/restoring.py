"""A guest that starts from a snapshot: what is looked up, filled and changed before it runs.

fill RAM from the store ─▶ QEMU loads the state, stopped ─▶ memory typed, slot 0 armed ─▶ writes ─▶ the guest runs

Its memory is typed while QEMU starts, which takes longer: nothing is won by letting the guest run before.

To everybody else the guest is one that is frozen from its beginning, so that whatever looks at a frozen guest looks at
this one, and nothing of what it does is missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.lazily import load_rest
from ktstr_tui.backend.opening import RestoredGuest
from ktstr_tui.backend.scheduler_change import keep_object
from ktstr_tui.backend.setup import Setup
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.guest.topology_args import segments
from ktstr_tui.kernel.memory import GuestRam, RamImage
from ktstr_tui.kernel.program import KernelNotFound
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.memory.restored import RestoredOrigin
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.model.commands import ReplaceScheduler
from ktstr_tui.model.control import RunKernelWrite
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged, ScenarioChanged, StepStarted
from ktstr_tui.model.snapshot_events import GuestRestored, RestorePhase
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.now import Now

WHO = "restore"
"""Who asks for what is changed before the guest runs, in the audit."""
FROZEN = "the restore"
"""For what a restored guest counts as frozen at first."""


@contextmanager
def open_origin(
    config: RunConfig, directory: Path, emit: Callable[[Event], object]
) -> Iterator[Origin | None]:
    """Open the snapshot that a run starts from; None for a run that boots.

    Raises:
        KtstrError: It is damaged, or cannot be read.
    """
    if config.restore is None:
        yield None
        return
    origin = Origin(Path(config.restore), directory, emit)
    try:
        yield origin
    finally:
        origin.close()


class Origin(RestoredOrigin):
    """A snapshot as what the machine of a run starts from; says how far its memory has come.

    Args:
        path: The snapshot's file.
        directory: Where the state is written for QEMU.
        emit: Takes events, on the trio thread.
    """

    def __init__(self, path: Path, directory: Path, emit: Callable[[Event], object]) -> None:
        self.began_ns = time.monotonic_ns()
        super().__init__(path, directory)
        self._emit = emit
        # The memory is read by type while QEMU starts and loads the state, which waits for neither.
        self._typist = ThreadPoolExecutor(1, "ktstr-restore-view")
        self._stack.callback(self._typist.shutdown, cancel_futures=True)
        self._view: Future[KernelView | None] | None = None
        self.tell("filling", sum(blob.pages - blob.zero_pages for blob in self.snapshot.memory))

    def copy_ram(self, ram_fds: Sequence[int]) -> None:
        """Fill the RAM files, unless they are paged, and begin to read the kernel by type. Blocks, while QEMU starts.

        Raises:
            DamagedError: A page is not what was stored.
            OSError: There is no memory.
        """
        super().copy_ram(ram_fds)
        nodes = tuple(blob.size_bytes for blob in self.snapshot.memory)
        parts = [(ram_fds[it.fd_index], it.offset, it.guest_phys, it.length) for it in segments(nodes)]
        ram = self.readable(GuestRam.from_fds(parts))
        self._view = self._typist.submit(_read_by_type, ram, self.snapshot.vmcoreinfo or None)

    def wait_view(self) -> KernelView | None:
        """Return the memory by type, once `copy_ram` has begun that; None when it cannot be read so. Blocks."""
        return None if self._view is None else self._view.result()

    def tell(self, phase: RestorePhase, pages_left: int = 0) -> None:
        """Say how far the restore has come."""
        self._emit(
            GuestRestored(
                snapshot=f"{self.snapshot.info.run}/{self.snapshot.info.name}",
                phase=phase,
                pages=self.filled_pages if self.pager is None else self.pager.statistics().loaded,
                pages_left=pages_left,
                took_ms=self.fill_ms if phase == "filled" else (time.monotonic_ns() - self.began_ns) / 1e6,
            )
        )


def _read_by_type(ram: RamImage, note: bytes | None) -> KernelView | None:
    with suppress(KernelNotFound):  # told by whoever needs it
        return KernelView.open(ram, note)
    return None


async def restore_again(setup: Setup, coordinator: Coordinator) -> None:
    """Go on from a snapshot of a run with a seed, whose machine is not kept: this run is that one again, held there.

    What is changed is an intervention, at the desk like any other. The guest stays frozen when one is refused.

    Args:
        setup: What the run is made with.
        coordinator: Has frozen the guest.

    Raises:
        KtstrError: A change was refused.
    """
    config, desk = setup.config, setup.control.desk
    for op in config.sets:
        await desk.ask(WHO, RunKernelWrite(op=msgspec.to_builtins(op), who=WHO))
    if not config.stay_frozen:
        await coordinator.thaw("the restore is complete")
    if config.replace_scheduler is not None:
        await _replace(setup, Path(config.replace_scheduler))


async def _replace(setup: Setup, path: Path) -> None:
    content = await trio.to_thread.run_sync(path.read_bytes)
    request = ReplaceScheduler(file=path.name, content=content)
    await setup.control.desk.ask(WHO, await keep_object(request, setup.place.data_dir))


class Restoring:
    """Brings a guest from its snapshot to running.

    Args:
        setup: What the run is made with.
        stream: Takes the events.
        now: The scenario's step and time, which begin where the snapshot was.
        coordinator: Keeps the guest frozen until it is complete.
        kernel_ops: Writes to its kernel, with an audit.
        nursery: Where another scheduler is loaded, once the guest runs.
    """

    def __init__(
        self,
        setup: Setup,
        stream: Stream,
        now: Now,
        coordinator: Coordinator,
        kernel_ops: KernelOps,
        nursery: trio.Nursery,
    ) -> None:
        self._setup, self._stream, self._now = setup, stream, now
        self._coordinator, self._kernel_ops, self._nursery = coordinator, kernel_ops, nursery

    def of(self, origin: object, settle: Callable[[int], None]) -> RestoredGuest | None:
        """Take over a guest that starts from a snapshot; None for one that does not.

        Args:
            origin: What its machine started from, whose state is loaded.
            settle: Answers a request that the guest had made before, by number.
        """
        if not isinstance(origin, Origin):
            return None
        if origin.pager is None:
            origin.tell("filled")
        origin.tell("loaded", origin.pages_left)
        return RestoredGuest(partial(self.run, origin, settle), origin.wait_view)

    async def run(self, origin: Origin, settle: Callable[[int], None]) -> None:
        """Make the changes that were asked for, and let the guest run; once its memory is readable by type.

        Args:
            origin: The snapshot.
            settle: Answers a request that the guest had made before, by number.

        Raises:
            KtstrError: A write was refused; the guest does not run then.
        """
        origin.tell("typed", origin.pages_left)
        for op in self._setup.config.sets:
            (await self._kernel_ops.run(op, WHO)).raise_for_error()
        self._go_on_from(origin.snapshot)
        for request_id in origin.snapshot.waiting:
            settle(request_id)
        if self._setup.config.stay_frozen:
            origin.tell("frozen")
        else:
            await self._coordinator.thaw("the restore is complete")
            origin.tell("running", origin.pages_left)
        await load_rest(origin)
        if self._setup.config.replace_scheduler is not None:
            self._nursery.start_soon(self._replace, Path(self._setup.config.replace_scheduler))

    def _go_on_from(self, snapshot: Snapshot) -> None:
        if snapshot.elapsed_ns is None:
            return
        elapsed_ms = snapshot.elapsed_ns // 1_000_000
        self._now.clock.start(snapshot.elapsed_ns)
        self._stream.emit(ScenarioChanged(state="started", elapsed_ms=elapsed_ms))
        if snapshot.step is None:
            return
        step = self._now.begin_step(snapshot.step)
        steps = self._setup.prepared.scenario.steps
        groups = steps[snapshot.step].workers or () if snapshot.step < len(steps) else ()
        self._stream.emit(
            StepStarted(
                index=snapshot.step,
                name=self._now.step or "",
                scheduler=step.scheduler if step is not None else "unknown",
                elapsed_ms=elapsed_ms,
                worker_count=sum(group.processes for group in groups),
            )
        )

    async def _replace(self, path: Path) -> None:
        try:
            await _replace(self._setup, path)
        except (KtstrError, OSError, msgspec.ValidationError) as error:
            text = f"the restored guest keeps its scheduler: {error}"
            self._stream.emit(Logged(severity="error", source="restore", text=text))
