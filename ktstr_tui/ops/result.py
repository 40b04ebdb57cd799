"""One kernel operation and what became of it, as the host, the guest and the audit get it.

A write may fail after some of its entries were carried out, and nothing undoes them. So an operation can have an error
*and* entries that were written, and says both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ktstr_tui.kernel.targets import Target, Where
from ktstr_tui.kernel.typed_values import TypedValue, TypedValues
from ktstr_tui.model.errors import GuestError, HostError, KtstrError
from ktstr_tui.model.facts import KernelOpPlace
from ktstr_tui.model.report import Pause
from ktstr_tui.model.text import counted
from ktstr_tui.wire import kernel_ops as wire


@dataclass(eq=False, slots=True)
class Located:
    """One entry of an operation and what became of it."""

    target: Target
    asked: wire.Value | None
    size_bytes: int
    data: bytes = b""
    """What to write; for `wire.OrU32` the bits."""
    where: Where | None = None
    before: bytes | None = None
    """What was read, or what a write replaced."""
    after: bytes | None = None
    error: KtstrError | None = None
    """Why this entry alone was not read."""
    typed: tuple[TypedValue | None, TypedValue | None] = (None, None)
    """``before`` and ``after`` by their type, once `decode` was called; None where the type is not known."""

    def decode(self, values: TypedValues) -> None:
        """Decode what was read by its type, unless another form was asked for."""
        kind = self.target.type
        if kind is None or not isinstance(self.asked, wire.Int | wire.OrU32 | None):
            return
        before, after = (
            None if data is None else values.decode(kind, data) for data in (self.before, self.after)
        )
        self.typed = before, after

    def told(self) -> KernelOpPlace:
        """For events and answers."""
        before, after = self.typed
        return KernelOpPlace(
            target=self.target.text,
            address=self.where.address if self.where else None,
            size_bytes=self.size_bytes or None,
            before=_number(self.before, before),
            after=_number(self.after, after),
            before_text=self._text(self.before, before),
            after_text=self._text(self.after, after),
            start_time_ns=self.where.start_time_ns if self.where else None,
            comm=self.where.comm if self.where else None,
        )

    def intended(self) -> dict[str, object]:
        """For the record of what is about to be written."""
        return {
            "target": self.target.text,
            "address": self.where.address if self.where else None,
            "size_bytes": self.size_bytes,
            "or_bits" if isinstance(self.asked, wire.OrU32) else "value": _number(self.data, None),
        }

    def effect(self) -> str:
        """What a write that was checked would change, in words that stay the same while nothing moves."""
        where = "nowhere" if self.where is None else f"{self.where.address:#x}"
        whose = "" if self.where is None or self.where.start_time_ns is None else f" of {self.where.comm}"
        how = "gets the bits" if isinstance(self.asked, wire.OrU32) else "becomes"
        size = counted(self.size_bytes, "byte")
        return f"{self.target.text} at {where}{whose}: {size}, {how} {self._text(self.data)}"

    def _text(self, data: bytes | None, typed: TypedValue | None = None) -> str | None:
        """By its type or, without one, both ways in which a negative number's bytes can be read."""
        if data is None or typed is not None:
            return None if typed is None else typed.text
        if len(data) > 8:
            return f"hex:{data.hex()}"
        number, signed = (int.from_bytes(data, "little", signed=signed) for signed in (False, True))
        if number != signed and isinstance(self.asked, wire.Int | None):
            return f"{signed} or {number} ({number:#x}, type not known)"
        return f"{number} ({number:#x})"

    def value(self) -> wire.Value:
        """What was read, in the form that was asked for."""
        data = self.before or b""
        number = int.from_bytes(data, "little")
        if isinstance(self.asked, wire.U32):
            return wire.U32(number)
        if isinstance(self.asked, wire.U64):
            return wire.U64(number)
        if isinstance(self.asked, wire.Int) or (self.asked is None and len(data) <= 8):
            return wire.Int(number)
        return wire.Bytes(data)


@dataclass(eq=False, slots=True)
class OpResult:
    """What became of an operation."""

    op: wire.KernelOp
    each: bool = False
    """Whether an entry of a read that is wrong has an error of its own, and the others are read."""
    places: list[Located] = field(default_factory=list)
    error: KtstrError | None = None
    pause: Pause | None = None
    intent: int | None = None
    """Of a write, the number of its intent in the audit; None when it did not come to that."""

    @property
    def success(self) -> bool:
        """Whether all entries were carried out; of a read of `each`, whether it took place."""
        return self.error is None

    @property
    def reason(self) -> str:
        """Why not, and how far a write came; empty when they were."""
        if self.error is None or not self.changed:
            return "" if self.error is None else self.error.message
        done = sum(place.before is not None for place in self.places)
        return f"{self.error.message} ({done} of {len(self.places)} entries were written)"

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return self.op.direction == "write" and any(place.before is not None for place in self.places)

    def entries(self) -> tuple[KernelOpPlace, ...]:
        """The entries as they were found, or as they were asked for."""
        if self.places:
            return tuple(place.told() for place in self.places)
        return tuple(KernelOpPlace(target=describe(entry.target)) for entry in self.op.entries)

    def decode(self, values: TypedValues) -> None:
        """Decode what was read or written by its type."""
        for place in self.places:
            place.decode(values)

    def intended(self) -> list[dict[str, object]]:
        """The entries of a write that was checked, as they will be written."""
        return [place.intended() for place in self.places]

    def raise_for_error(self) -> None:
        """Return when all entries were carried out and, if they changed anything, recorded.

        Raises:
            KtstrError: They were not; a write that was carried out in part is the guest's fault, one that could
                not be recorded the host's.
        """
        if self.error is not None and self.changed:
            kind = HostError if isinstance(self.error, HostError) else GuestError
            raise kind(self.reason, self.error.hint)
        if self.error is not None:
            raise self.error

    def reply(self, request_id: int) -> wire.KernelOpReply:
        """For the guest."""
        read = self.success and self.op.direction == "read"
        values = tuple(place.value() for place in self.places) if read else ()
        return wire.KernelOpReply(request_id, self.success, self.reason, values)


def describe(target: wire.Target) -> str:
    """A target in words, before it is known whether there is one."""
    if isinstance(target, wire.Symbol):
        return target.name
    if isinstance(target, wire.PerCpuField):
        return f"{target.symbol}@{target.cpu}.{target.field}".rstrip(".")
    if isinstance(target, wire.TaskField):
        return f"task {target.pid}.{target.field}"
    return f"{target.kva:#x}"


def _number(data: bytes | None, typed: TypedValue | None) -> int | str | None:
    if data is None:
        return None
    if typed is not None and typed.number is not None:
        return typed.number
    return int.from_bytes(data, "little") if len(data) <= 8 else data.hex()
