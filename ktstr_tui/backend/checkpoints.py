"""Checkpoints: proof that a run with a seed is the same run again, or where it left the track.

At every so many stations a line is written beside the recording: instructions of each vCPU, what the guest has sent so
far, jiffies, and a hash over what the scheduler's state in memory reads as (rq clocks, what runs and waits on each CPU,
the scheduler, its queues). The newest earlier run with the same identity is read along; at the first line that differs
the run says in what, once, and at the end how far the two were identical.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec

from ktstr_tui.model.events import Event, Logged, RunCompared
from ktstr_tui.model.sample import Sample
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.model.text import counted

CHECKPOINTS_FILE: Final = "checkpoints.jsonl"
STATIONS_EACH: Final = 20
"""Stations from one checkpoint to the next."""
MAX_REFERENCE_BYTES: Final = 64 << 20


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a guest at one station."""

    instructions: int
    counts: tuple[int, ...]
    """Instructions of each vCPU."""
    sent_bytes: int
    """By the guest over its bulk port."""
    sent_sha256: str
    jiffies: int | None = None
    """None before memory was readable by type."""
    scheduler_sha256: str | None = None


_WORDS = {
    "instructions": "the instructions executed",
    "counts": "the turns of the vCPUs",
    "sent_bytes": "what the guest sent",
    "sent_sha256": "what the guest sent",
    "jiffies": "jiffies",
    "scheduler_sha256": "the scheduler's state",
}


def scheduler_hash(sample: Sample) -> str:
    """SHA-256 over what is the guest's in a sample."""
    ours = msgspec.structs.replace(sample, read_us=0.0, retries=0, torn=0, shared_cpu_time_ns=None)
    return hashlib.sha256(msgspec.json.encode(ours, order="sorted")).hexdigest()


def find_reference(directory: Path, again: Path | None = None) -> tuple[str, tuple[Checkpoint, ...]] | None:
    """The newest run beside ``directory`` with the same identity that kept checkpoints, by name; None without one.

    Args:
        directory: Of this run.
        again: Of the run that this one is again; it comes first.
    """
    try:
        if again is not None and (kept := _read(again / CHECKPOINTS_FILE)):
            return again.name, kept
        own = (directory / IDENTITY_FILE).read_bytes()
        others = [
            it for it in directory.parent.iterdir() if it != directory and (it / IDENTITY_FILE).is_file()
        ]
        dated = sorted(((it / IDENTITY_FILE).stat().st_mtime_ns, it) for it in others)
        for _, other in reversed(dated):
            if (other / IDENTITY_FILE).read_bytes() == own and (kept := _read(other / CHECKPOINTS_FILE)):
                return other.name, kept
    except OSError:
        return None
    return None


def _read(path: Path) -> tuple[Checkpoint, ...]:
    """Whole lines of a file; a run that was killed leaves half a line."""
    if not path.is_file() or path.stat().st_size > MAX_REFERENCE_BYTES:
        return ()
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    try:
        return tuple(msgspec.json.decode(line, type=Checkpoint) for line in whole.splitlines())
    except msgspec.MsgspecError:
        return ()


class Checkpoints:
    """Keeps the checkpoints of one run and compares them with those of an earlier one; closed by its owner.

    Args:
        directory: Where the file is kept.
        reference: Name and checkpoints of the run to compare with; None for none.
        emit: Takes events.
        over: Whether somebody ended the run: how the guest is taken down then is no part of its history.
    """

    def __init__(
        self,
        directory: Path,
        reference: tuple[str, tuple[Checkpoint, ...]] | None,
        emit: Callable[[Event], object],
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._over = over
        self.identical = 0
        """Checkpoints that were the reference's."""
        self._until_ms = 0.0
        self.left: str | None = None
        """Where and in what this run differs from the reference; None while it does not."""
        self.lost = 0
        """Lines that could not be written."""
        self.kept = 0
        self._path = directory / CHECKPOINTS_FILE
        self._name, self._reference = reference or ("", ())
        self._emit = emit
        self._file: IO[bytes] | None = None
        self._stations = 0

    def due(self) -> bool:
        """Count a station; whether a checkpoint is to be kept at it."""
        self._stations += 1
        return self._stations % STATIONS_EACH == 0 and not self._over()

    def keep(self, checkpoint: Checkpoint, at_ms: float) -> None:
        """Write one down and compare it.

        Args:
            checkpoint: What the guest is.
            at_ms: Time of the run, without that for which the guest was frozen.
        """
        number, self.kept = self.kept, self.kept + 1
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._file.write(msgspec.json.encode(checkpoint) + b"\n")
        except OSError:
            self.lost += 1
        if self.left is None and number < len(self._reference):
            self._compare(number, checkpoint, self._reference[number], at_ms)

    def _compare(self, number: int, mine: Checkpoint, theirs: Checkpoint, at_ms: float) -> None:
        fields = [
            name for name in Checkpoint.__struct_fields__ if getattr(mine, name) != getattr(theirs, name)
        ]
        if not fields:
            self.identical += 1
            self._until_ms = at_ms
            return
        what = ", ".join(dict.fromkeys(_WORDS[name] for name in fields))
        self.left = f"checkpoint {number + 1}, at {mine.instructions} instructions: {what}"
        text = f"this run left the track of {self._name} at {self.left}"
        self._emit(Logged(severity="warning", source="seed", text=text))

    def finish(self) -> None:
        """Say how far this run and the reference are identical."""
        if not self._name:
            text = (
                f"{counted(self.kept, 'checkpoint')} kept; another run with this seed is compared with them"
            )
            self._emit(Logged(severity="info", source="seed", text=text))
            return
        self._emit(
            RunCompared(
                run=self._name,
                kept=self.kept,
                run_kept=len(self._reference),
                identical=self.identical,
                until_ms=self._until_ms,
                left=self.left or "",
            )
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def drops(self) -> dict[str, int]:
        """Return what was not written down."""
        return {"checkpoints-unwritten": self.lost}
