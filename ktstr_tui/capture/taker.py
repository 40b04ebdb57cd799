"""Takes one capture of a stopped guest: its name, its stamp, its registers and the copy of its memory.

QEMU writes the registers while memory is copied: the question is sent before (with the stop itself, if there was
one), the answers are fetched afterwards, so the guest is stopped for the longer of the two and not for their sum.

Neither part may spoil the other. What the copier raises becomes the failure of the capture, which keeps its
registers; a vCPU that does not answer leaves a gap, and the reason, in a capture that keeps its memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import msgspec

from ktstr_tui.capture.ejection import Ejection
from ktstr_tui.capture.job import Job, Label
from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.capture.stamp import Moment, Stamp
from ktstr_tui.capture.stop.rendezvous import Rendezvous, RendezvousTimeoutError, Stopwatch, Unheard
from ktstr_tui.capture.stop.seams import Also, Collect
from ktstr_tui.capture.used_tags import UsedTags
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report_files import ABORTED


class CaptureTaker:
    """Takes captures.

    Args:
        rendezvous: Fetches registers.
        collect: Copies the state of the stopped guest.
        memory: The guest's memory, once it is readable by type.
        now: Where the scenario is.
        ejection: Which scheduler is loaded.
        names: The names of captures that were given out.
        at_ejection: Told the tag of the capture of each ejection while the guest is still stopped.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        collect: Collect,
        memory: TypedMemory,
        now: Moment,
        ejection: Ejection,
        names: UsedTags,
        at_ejection: Also | None = None,
    ) -> None:
        self._at_ejection = at_ejection
        self.memory = memory
        self._rendezvous = rendezvous
        self._clock = rendezvous.log.now_ns
        self._ejection = ejection
        self._collect = collect
        self._now = now
        self._names = names

    def label(self, trigger: Trigger, detail: str, tag: str | None) -> Label:
        """Name a capture; a tag is made from the trigger when there is none, and numbered when it was used before."""
        self._names.captures += 1
        number = self._names.captures
        unique = self._names.unique(tag or f"{trigger}-{number:03d}")
        return Label(
            number=number,
            tag=unique,
            kept_as=unique if tag is None or trigger == "on-demand" else tag,
            trigger=trigger,
            detail=detail,
            mono_ns=self._clock(),
            step=self._now.step,
            life=self._ejection.life,
        )

    def stamped(self, stamp: Stamp) -> Stamp:
        """The stamp with the step and the time of now."""
        now = self._now
        return msgspec.structs.replace(stamp, step_index=now.step_index, elapsed_ms=now.elapsed_ms())

    async def take(self, label: Label, timer: Stopwatch, also: Also | None = None) -> Job:
        """Capture the stopped guest, as far as it can be read.

        Args:
            label: What the capture is called.
            timer: Measures the parts of the pause.
            also: What else to do while the guest is stopped, told the capture's tag; must not raise.
        """
        job = await self._take(label, timer)
        also = also or (None if label.exit_kind is None else self._at_ejection)
        if also is not None:
            with timer.part("snapshot"):
                await also(label.tag)
        return job

    async def _take(self, label: Label, timer: Stopwatch) -> Job:
        view = self.memory.view
        if view is None:
            return Job(label=label, registers=[], failure="the kernel's BTF is not loaded yet")
        asked_ns = self._clock()
        with timer.part("registers"):
            refused = await self._rendezvous.ask_registers(view.nr_cpus)
        job = Job(label=label, registers=[], view=view)
        # QEMU writes the answers meanwhile.
        with timer.part("memory"), _copying(job):
            job.raw = self._collect(
                view,
                tag=label.tag,
                trigger=label.trigger,
                trigger_detail=label.detail,
                mono_ns=label.mono_ns,
                step=label.step,
                about=label.about,
            )
        with timer.part("registers"):
            job.registers, missing = await self._rendezvous.take_registers(view.nr_cpus)
        job.unheard = refused or missing
        if job.unheard is not None:
            self._degrade(job, asked_ns)
        with timer.part("memory"), _copying(job):
            if job.raw is not None:
                job.raw.add_registers(job.registers)
        return job

    def failed(self, label: Label, error: GuestError, since_ns: int) -> Job:
        """A capture of a guest that could not be stopped.

        Args:
            label: What the capture would have been called.
            error: Why the guest could not be stopped.
            since_ns: When it was asked to, on the host's monotonic clock.
        """
        timed_out = isinstance(error, RendezvousTimeoutError)
        failure = error.message if timed_out else f"{ABORTED}: {error.message}"
        job = Job(label=label, registers=[], view=self.memory.view, failure=failure, timed_out=timed_out)
        job.unheard = Unheard(failure, timed_out)
        self._degrade(job, since_ns)
        return job

    def _degrade(self, job: Job, since_ns: int) -> None:
        job.waited_ms = (self._clock() - since_ns) / 1e6
        job.wall_time = datetime.now(UTC).isoformat(timespec="milliseconds")
        if job.view is not None:
            job.nr_cpus = job.view.nr_cpus
            # The guest may run, so anything may be torn.
            with suppress(Exception):
                root = job.view.scx_root()
                job.exit_kind = job.view.exit_kind(root) if root else None


@contextmanager
def _copying(job: Job) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        job.raw = None
        job.failure = f"reading memory failed: {type(error).__name__}: {error}"
