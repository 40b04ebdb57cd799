"""A kernel operation in the guest's memory: locate, check, change, and look again.

check all ─▶ record the intent ─▶ check all ─▶ for each entry: locate and check ─▶ write ─▶ read, and locate once more

A guest that runs may move a target between any two of these steps: its task may end, its page may be mapped elsewhere.
So each entry is located again right before its write, and again after it; a write that hit something else meanwhile
cannot be taken back, but it is reported.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.targets import WrongTask
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.write import Run, WriteGuard, WriteRefused
from ktstr_tui.model.errors import GuestError, KtstrError
from ktstr_tui.ops.result import Located, OpResult
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire import kernel_ops as wire


class OpReader:
    """Reads the memory of a running or stopped guest.

    Args:
        view: The kernel.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view

    def read(self, result: OpResult) -> None:
        """Read all entries.

        Raises:
            KtstrError: An entry cannot be read, and not each counts for itself.
        """
        space = self._view.fresh_space()
        for place in result.places:
            if place.error is not None:
                continue
            try:
                place.where = place.target.locate(space, writing=False, hot=result.op.mode == "hot")
                place.before = space.read(place.where.address, place.size_bytes)
            except KtstrError as error:
                if not result.each:
                    raise
                place.error = error


class OpWriter:
    """Changes the memory of a running or stopped guest.

    To make one takes long, as it finds out what must not be written to: make it before the guest is stopped.

    Args:
        view: The kernel.
        writable: The guest's memory, writable.

    Raises:
        KtstrError: It cannot be found out what must not be written to.
    """

    def __init__(self, view: KernelView, writable: WritableRam) -> None:
        self._view = view
        self._writable = writable
        self._guard = WriteGuard(view.symbols, view.space)

    def check(self, result: OpResult) -> None:
        """Locate and check all entries of a write, and change nothing.

        Raises:
            KtstrError: An entry must not be written.
        """
        space = self._view.fresh_space()
        for place in result.places:
            self._aim(place, space, hot=result.op.mode == "hot")

    def write(self, result: OpResult) -> None:
        """Write all entries, but only when every entry passed every check.

        Raises:
            KtstrError: An entry must not be written.
        """
        hot, space = result.op.mode == "hot", self._view.fresh_space()
        for place in result.places:
            self._aim(place, space, hot)
        for place in result.places:
            self._write(place, hot)

    def _aim(self, place: Located, space: AddressSpace, hot: bool) -> list[Run]:
        # Where a write goes, after all checks.
        place.where = place.target.locate(space, writing=True, hot=hot)
        address, size = place.where.address, place.size_bytes
        if address % size and isinstance(place.asked, wire.U32 | wire.U64 | wire.OrU32 | wire.Int):
            raise WriteRefused(
                f"{place.target.text} at {address:#x} is not aligned to {size} bytes", "write bytes"
            )
        try:
            return self._guard.runs(space, address, size)
        except WriteRefused as refusal:
            # Of several targets, the one that is wrong is named.
            raise WriteRefused(f"{place.target.text}: {refusal.message}", refusal.hint) from refusal

    def _write(self, place: Located, hot: bool) -> None:
        runs = self._aim(place, self._view.fresh_space(), hot)
        if isinstance(place.asked, wire.OrU32):
            place.before = self._writable.set_bits(runs[0], int.from_bytes(place.data, "little"))
        else:
            place.before = self._writable.swap(runs, place.data)
        self._look_after(place, hot)

    def _look_after(self, place: Located, hot: bool) -> None:
        assert place.where is not None
        written = place.where
        try:
            space = self._view.fresh_space()
            place.after = space.read(written.address, place.size_bytes)
            now = place.target.locate(space, writing=False, hot=hot)
        except (MemoryReadError, WrongTask) as problem:
            raise WrongTask(f"{place.target.text} went away during the write: {problem.message}") from problem
        if now.address != written.address:
            raise WrongTask(f"{place.target.text} moved during the write")
        if not hot and place.after != _expected(place):
            raise GuestError(f"{place.target.text} does not have the value that was written to it")


def _expected(place: Located) -> bytes:
    if not isinstance(place.asked, wire.OrU32):
        return place.data
    before = int.from_bytes(place.before or b"", "little")
    return (before | int.from_bytes(place.data, "little")).to_bytes(4, "little")
