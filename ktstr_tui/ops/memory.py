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
from ktstr_tui.model.errors import GuestError
from ktstr_tui.ops.result import Located, OpResult
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire import kernel_ops as wire


class OpMemory:
    """The memory that operations are carried out in.

    Args:
        view: The kernel.
        writable: The guest's memory, writable; None when the run does not allow writes.
    """

    def __init__(self, view: KernelView, writable: WritableRam | None) -> None:
        self._view = view
        self._writable = writable
        self._guard: WriteGuard | None = None

    def prepare_writes(self) -> None:
        """Find out once what must not be written to; it takes too long to do it while the guest is stopped.

        Raises:
            KtstrError: It cannot be found out.
        """
        if self._guard is None:
            self._guard = WriteGuard(self._view.symbols, self._view.space)

    def check_writes(self, result: OpResult) -> None:
        """Locate and check all entries of a write, after `prepare_writes`, and change nothing.

        Raises:
            KtstrError: An entry must not be written.
        """
        space = self._view.fresh_space()
        for place in result.places:
            self._aim(place, space, hot=result.op.mode == "hot")

    def carry_out(self, result: OpResult) -> None:
        """Read or write all entries; a write, after `prepare_writes`, only when every entry passed every check.

        Raises:
            KtstrError: An entry cannot be read or must not be written.
        """
        hot, writing = result.op.mode == "hot", result.op.direction == "write"
        space = self._view.fresh_space()
        if not writing:
            for place in result.places:
                place.where = place.target.locate(space, writing=False, hot=hot)
                place.before = space.read(place.where.address, place.size_bytes)
            return
        for place in result.places:
            self._aim(place, space, hot)
        for place in result.places:
            self._write(place, hot)

    def _aim(self, place: Located, space: AddressSpace, hot: bool) -> list[Run]:
        # Where a write goes, after all checks.
        assert self._guard is not None
        place.where = place.target.locate(space, writing=True, hot=hot)
        address, size = place.where.address, place.size_bytes
        if address % size and isinstance(place.asked, wire.U32 | wire.U64 | wire.OrU32 | wire.Int):
            raise WriteRefused(
                f"{place.target.text} at {address:#x} is not aligned to {size} bytes", "write bytes"
            )
        return self._guard.runs(space, address, size)

    def _write(self, place: Located, hot: bool) -> None:
        assert self._writable is not None
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
