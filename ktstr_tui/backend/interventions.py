"""What people changed in a run with a seed, at which instruction, and the same again when the run is one again.

Writes to the kernel and changes of the scheduler are part of a history, as the seed is. Each is carried out while the
machine is held, so the number of instructions executed by then says when: a rerun holds the machine at that number
and does the same. Left out on purpose (``--without N``), the rest of the history shows what it made of it.

Most are carried out at a station, where the machine is held anyway; what a person writes to a frozen guest is carried
out wherever it was frozen, and that instant is asked for. A change of the scheduler begins at the station at which the
guest is given its first bytes. What comes later in it (the guest verifies and attaches) follows by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import IO, Final, TypeAlias

import msgspec

from ktstr_tui.backend.scheduler_change import OBJECTS_DIR
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.observer_page import HoldReason
from ktstr_tui.guest.stations import Stations
from ktstr_tui.model.control import Action, AttachScheduler, DetachScheduler, ReplaceScheduler, RunKernelWrite
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.text import counted
from ktstr_tui.ops.result import describe
from ktstr_tui.wire.kernel_ops import U32, U64, Bytes, Entry, Int, KernelOp, OrU32

INTERVENTIONS_FILE: Final = "interventions.jsonl"
MAX_FILE_BYTES: Final = 16 << 20
BY_THEMSELVES: Final = frozenset(("", "guest"))
"""Who asks for what the run repeats by itself: the control loop, and the guest program."""
Change: TypeAlias = RunKernelWrite | AttachScheduler | DetachScheduler | ReplaceScheduler
Apply: TypeAlias = Callable[["Intervention"], Awaitable[None]]


class Intervention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was changed while the machine was held."""

    instructions: int
    """Executed by all vCPUs before."""
    at_station: bool
    """Whether the machine was held there anyway."""
    mono_ns: int
    """On the run's clock."""
    by: str
    change: Change

    @property
    def words(self) -> str:
        """What was changed."""
        match self.change:
            case RunKernelWrite(op=op):
                entries = msgspec.convert(op, KernelOp).entries
                return "write " + ", ".join(f"{describe(it.target)}={_value(it)}" for it in entries)
            case AttachScheduler(name=name):
                return f"attach scheduler {name}".rstrip()
            case DetachScheduler():
                return "detach the scheduler"
            case ReplaceScheduler(name=name, target=target):
                return f"replace scheduler {target}".rstrip() + f" by {name}"


def is_intervention(action: Action, by: str) -> bool:
    """Whether an action changes the guest, and the run would not do it again by itself."""
    if by in BY_THEMSELVES:
        return False
    if isinstance(action, RunKernelWrite):
        return action.op.get("direction") == "write"
    return isinstance(action, AttachScheduler | DetachScheduler | ReplaceScheduler)


def read_interventions(directory: Path) -> tuple[Intervention, ...]:
    """Those of a run, numbered from 1 by their place; objects are those that the run has kept.

    Raises:
        UsageError: They cannot be read.
    """
    path = directory / INTERVENTIONS_FILE
    try:
        if not path.is_file():
            return ()
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is too large", "it was not made by this program")
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        if whole.startswith(b'{"instructions":') and b'"port":' in whole.partition(b"\n")[0]:
            return ()  # of an older version, which kept here what `GivenBytes` keeps
        found = [msgspec.json.decode(line, type=Intervention) for line in whole.splitlines()]
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "take another run") from error
    return tuple(_with_object(it, directory) for it in found)


def check_numbers(without: Iterable[int], known: tuple[Intervention, ...]) -> None:
    """Refuse numbers of interventions that there are not.

    Raises:
        UsageError: One is not there.
    """
    for number in without:
        if not 1 <= number <= len(known):
            has = counted(len(known), "intervention") if known else "no interventions"
            raise UsageError(
                f"there is no intervention {number}: the run has {has}", "see them with: rerun --list"
            )


class Interventions:
    """Writes down the interventions of a run, and carries out those of the run that it is again; closed by its owner.

    Args:
        path: The file that they are kept in.
        again: Those to carry out, each with its number; in the order of their instructions.
        emit: Takes events.
    """

    def __init__(
        self, path: Path, again: Iterable[tuple[int, Intervention]], emit: Callable[[Event], object]
    ) -> None:
        self.lost = 0
        """Interventions that could not be written down."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._emit = emit
        self._again = sorted(again, key=lambda it: (it[1].instructions, it[0]))
        self._apply: Apply | None = None
        self._waiting: list[tuple[Change, str, int]] = []
        self._engine: HoldEngine | None = None
        self._stations: Stations | None = None

    def serve(self, engine: HoldEngine, stations: Stations, apply: Apply) -> None:
        """Connect it to a machine.

        Args:
            engine: Holds it.
            stations: Where it is held anyway.
            apply: Carries out one.
        """
        self._engine, self._stations, self._apply = engine, stations, apply
        engine.at_count = self.at_count

    def note(self, action: Action, by: str, now_ns: int) -> None:
        """Write down what is about to be carried out, if the run would not do it again by itself."""
        engine, stations = self._engine, self._stations
        if engine is None or stations is None or not is_intervention(action, by):
            return
        assert isinstance(action, RunKernelWrite | AttachScheduler | DetachScheduler | ReplaceScheduler)
        held = engine.held
        if held is None or (not isinstance(action, RunKernelWrite) and not stations.visiting):
            self._waiting.append((action, by, now_ns))
            return
        at_station = held.reason is HoldReason.STEP or held.total == stations.last
        self._keep(
            Intervention(instructions=held.total, at_station=at_station, mono_ns=now_ns, by=by, change=action)
        )

    async def at_station(self, total: int) -> None:
        """Carry out what is due at a station; called before anything else is set going there."""
        waiting, self._waiting = self._waiting, []
        for change, by, now_ns in waiting:
            self._keep(
                Intervention(instructions=total, at_station=True, mono_ns=now_ns, by=by, change=change)
            )
        await self._carry_out(total)
        upcoming = self._again[0][1] if self._again else None
        if self._engine is not None and upcoming is not None and not upcoming.at_station:
            self._engine.hold_at(upcoming.instructions)

    async def at_count(self, total: int) -> None:
        """Carry out what is due between two stations."""
        await self._carry_out(total)

    def finish(self) -> None:
        """Say what was not carried out."""
        for number, it in self._again:
            text = f"intervention {number} ({it.words}) was not carried out: the run ended before"
            self._emit(Logged(severity="warning", source="rerun", text=text))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def drops(self) -> dict[str, int]:
        """Return what was not written down."""
        return {"interventions-unwritten": self.lost}

    async def _carry_out(self, total: int) -> None:
        while self._again and self._apply is not None and self._again[0][1].instructions <= total:
            number, it = self._again.pop(0)
            self._keep(msgspec.structs.replace(it, instructions=total))
            text = f"intervention {number}: {it.words}"
            self._emit(Logged(severity="info", source="rerun", text=text))
            try:
                await self._apply(it)
            except KtstrError as error:
                self._emit(Logged(severity="error", source="rerun", text=f"{text}: {error.message}"))
            if self._stations is not None:
                # What is begun must have come as far as it can before the guest is given anything.
                await self._stations.rest()

    def _keep(self, it: Intervention) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._file.write(msgspec.json.encode(it) + b"\n")
        except OSError:
            self.lost += 1


def _with_object(it: Intervention, directory: Path) -> Intervention:
    if not isinstance(it.change, ReplaceScheduler):
        return it
    path = directory / OBJECTS_DIR / f"{it.change.digest}.bpf.o"
    return msgspec.structs.replace(it, change=msgspec.structs.replace(it.change, path=str(path)))


def _value(entry: Entry) -> str:
    match entry.value:
        case Int(value) | U32(value) | U64(value):
            return str(value)
        case OrU32(value):
            return f"|{value:#x}"
        case Bytes(data):
            return f"hex:{data.hex()}"
    return "?"
