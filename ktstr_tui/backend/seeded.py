"""What the host does at the stations of a run with a seed, and what it keeps of that beside the recording.

What the host gave the guest is a line for each piece of it, with the number of instructions after which it was given.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import IO, Final

import msgspec
import trio

from ktstr_tui.backend.checkpoints import Checkpoint, Checkpoints, find_reference, scheduler_hash
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.guest_clock import GuestClock
from ktstr_tui.backend.interventions import INTERVENTIONS_FILE, Apply, Interventions, read_interventions
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.determinism import STATION_NS, Determinism
from ktstr_tui.guest.guest_time import START_NS, GuestTime, RunTime
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import Machine
from ktstr_tui.guest.pacing import Pacer
from ktstr_tui.guest.stations import Given, StationedStream, Stations
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.port import GuestPort

GIVEN_FILE: Final = "given.jsonl"
HUNG_STATIONS: Final = 4
"""Stations that a guest misses whose clock stands."""


def of_boot(name: str, boot: int) -> str:
    """The name of a file of a boot of a run, such as ``given-2.jsonl``."""
    stem, dot, suffix = name.rpartition(".")
    return name if boot == 1 else f"{stem}-{boot}{dot}{suffix}"


class GivenBytes:
    """Writes down what a guest was given; closed by its owner.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.given = 0
        self.lost = 0
        """Pieces that could not be written down."""

    def keep(self, given: Given) -> None:
        """Write one down."""
        self.given += 1
        line = {
            "instructions": given.instructions,
            "port": given.port,
            "data": base64.b64encode(given.data).decode(),
        }
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def drops(self) -> dict[str, int]:
        """Return what was not written down."""
        return {"given-unwritten": self.lost}


class Seeded:
    """The files of a run with a seed; made by `open_seeded`.

    Args:
        given: Keeps what the guest was given.
        interventions: Keeps what people changed, and does it again.
        checkpoints: Keeps what it was like; None for a run that is not observed, or booted again.
        emit: Takes events.
        keeps_pace: Whether the guest's time may not run ahead of the host's.
    """

    def __init__(
        self,
        given: GivenBytes,
        interventions: Interventions,
        checkpoints: Checkpoints | None,
        emit: Callable[[Event], object],
        *,
        keeps_pace: bool,
    ) -> None:
        self._given, self._emit, self._keeps_pace = given, emit, keeps_pace
        self._begun: tuple[RunTime, int, int] | None = None
        self.interventions = interventions
        self.checkpoints = checkpoints
        self._reader: SampleReader | None = None
        self._stations: Stations | None = None

    def serve(
        self,
        machine: Machine,
        outbox: Outbox,
        port: GuestPort,
        view: Callable[[], KernelView | None],
        time: RunTime,
        apply: Apply,
    ) -> None:
        """Let the host speak to the guest of an observed machine at its stations only; nothing for others.

        Args:
            machine: The machine.
            outbox: What is to be given.
            port: Takes what the guest sends.
            view: Returns its memory by type, once it can be read.
            time: Goes on at its stations.
            apply: Carries out an intervention of the run that this one is again.
        """
        stations, bulk, engine = machine.stations, machine.bulk, machine.engine
        if stations is None or not isinstance(bulk, StationedStream) or not isinstance(engine, HoldEngine):
            return

        self.interventions.serve(engine, stations, apply)
        self._stations = stations
        self._begun = time, time.now_ns(), monotonic_ns()
        since_ns = time.guest_ns() if isinstance(time, GuestTime) else time.now_ns()
        clock, pacer = GuestClock(machine.spec.determinism, since_ns), Pacer()

        def note() -> None:
            if isinstance(time, GuestTime) and engine.held is not None:
                time.note(clock.read_ns(engine.held.total, view()))

        async def tell() -> None:
            await self.interventions.at_station(stations.last)
            if isinstance(time, GuestTime):
                await time.wake(stations.rest)
            if (known := view()) is not None and machine.spec.determinism is not None:
                _hold_at_next_station(engine, known, machine.spec.determinism)

        def look() -> None:
            if self.checkpoints is not None and self.checkpoints.due():
                at_ms = (time.guest_ns() - START_NS) / 1e6 if isinstance(time, GuestTime) else 0.0
                self.checkpoints.keep(self._checkpoint(engine, bulk, view()), at_ms)

        async def pace() -> None:
            if engine.held is not None:
                await pacer.keep(clock.read_ns(engine.held.total, view()))

        stations.settle = partial(_settle, stations, bulk, outbox, port, time)
        stations.pull, stations.on_given = outbox.pull, self._given.keep
        stations.pace = pace if self._keeps_pace else None
        stations.at_station, stations.note_time, stations.tell_time = look, note, tell

    def begin(self) -> None:
        """Let the guest run: everybody who looks at it is there."""
        if self._stations is not None:
            self._stations.begin()

    def finish(self) -> None:
        """Say how fast the guest's time went, what the comparison came to, and what was not done again."""
        if self._begun is not None:
            time, guest_ns, host_ns = self._begun
            guest_s, host_s = (time.now_ns() - guest_ns) / 1e9, (monotonic_ns() - host_ns) / 1e9
            text = f"{guest_s:.1f} s of the guest's time took {host_s:.1f} s"
            self._emit(Logged(severity="info", source="seed", text=text))
        self.interventions.finish()
        if self.checkpoints is not None:
            self.checkpoints.finish()

    def drops(self) -> dict[str, int]:
        """Return what was not written down."""
        lost = {} if self.checkpoints is None else self.checkpoints.drops()
        return {**self._given.drops(), **self.interventions.drops(), **lost}

    def _checkpoint(self, engine: HoldEngine, bulk: StationedStream, view: KernelView | None) -> Checkpoint:
        held = engine.held
        if view is not None and self._reader is None:
            self._reader = SampleReader(view)
        sample = None if self._reader is None else self._reader.sample()
        return Checkpoint(
            instructions=0 if held is None else held.total,
            counts=() if held is None else held.counts,
            sent_bytes=bulk.received_bytes,
            sent_sha256=bulk.received_sha256,
            jiffies=None if sample is None else sample.jiffies,
            scheduler_sha256=None if sample is None else scheduler_hash(sample),
        )


@contextmanager
def open_seeded(
    directory: Path,
    boot: int,
    emit: Callable[[Event], object],
    config: RunConfig,
    ending: RunEnd,
    *,
    observed: bool,
) -> Iterator[Seeded]:
    """The files of a run with a seed, or of one without, which then stay away.

    A rerun has the first boot again, so the files of a later one get names of their own and nothing is compared.

    Args:
        directory: Where they are kept.
        boot: Number of the boot of the run, from 1.
        emit: Takes events.
        config: Says which run this one is again, and which of its interventions are left out.
        ending: Knows whether somebody ended the run.
        observed: Whether the machine can be held.

    Raises:
        UsageError: What the earlier run kept cannot be read.
    """
    again = None if config.again is None else Path(config.again)
    before = () if again is None else read_interventions(again)
    wanted = [it for it in enumerate(before, 1) if it[0] not in config.without]
    with (
        closing(GivenBytes(directory / of_boot(GIVEN_FILE, boot))) as given,
        closing(Interventions(directory / of_boot(INTERVENTIONS_FILE, boot), wanted, emit)) as interventions,
    ):
        if not observed or boot > 1:
            yield Seeded(given, interventions, None, emit, keeps_pace=config.keeps_pace)
            return

        def over() -> bool:
            return ending.outcome is not None and ending.outcome.early

        with closing(Checkpoints(directory, find_reference(directory, again), emit, over)) as checkpoints:
            yield Seeded(given, interventions, checkpoints, emit, keeps_pace=config.keeps_pace)


async def _settle(
    stations: Stations, bulk: StationedStream, outbox: Outbox, port: GuestPort, time: RunTime
) -> None:
    """Wait until what the guest has sent was taken and what it waits for is answered."""
    while not (bulk.drained or port.ended.is_set()):
        await trio.lowlevel.checkpoint()
    await stations.rest()
    while not outbox.owes_nothing and not port.ended.is_set():
        # The guest waits, and its clock with it, for a decision that is due at a tick.
        if isinstance(time, GuestTime):
            time.hasten()
        await stations.rest()
        await trio.lowlevel.checkpoint()


def _hold_at_next_station(engine: HoldEngine, known: KernelView, determinism: Determinism) -> None:
    """Have the machine held at the tick of its clock at which the next station is due."""
    each = max(1, known.hz * STATION_NS // 1_000_000_000)
    at = (known.jiffies() // each + 1) * each
    engine.hold_at_time(known.jiffies_address, at, determinism.station_instructions * HUNG_STATIONS)
