"""From what an operation names to places in memory: which target, how many bytes, and which ones to write.

A value may leave its size to the target (an integer, or nothing at all for a read) or bring its own; a target may have
a size of its own, have only room, or know neither. What is known on both sides has to agree, with one exception: a
read in bytes may ask for the beginning of something longer. All of it is checked before memory is touched.
"""

from __future__ import annotations

from ktstr_tui.kernel.targets import Fixed, Target, Targets
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.text import counted
from ktstr_tui.ops.result import Located, describe
from ktstr_tui.wire import kernel_ops as wire

MAX_WRITE_BYTES = 4096
"""Of all entries of a write together; before and after are written down in full."""
_READ_OVERHEAD_BYTES = 64
"""Of a value in a reply, and of the reply around all values."""


def compile_places(targets: Targets, op: wire.KernelOp, *, suggest: bool, each: bool) -> list[Located]:
    """The entries of an operation.

    Args:
        targets: Finds what is named.
        op: What is asked.
        suggest: Whether to look for names like an unknown one.
        each: Whether an entry that is wrong keeps its error, and the others go on.

    Raises:
        KtstrError: An entry is invalid, or its size is wrong, and not ``each``.
    """
    places = []
    for entry in op.entries:
        try:
            target = _find(targets, entry.target, suggest)
            size, data = _sized(target, entry.value, op.direction == "write")
            places.append(Located(target, entry.value, size, data))
        except KtstrError as error:
            if not each:
                raise
            places.append(Located(Fixed(describe(entry.target), 0), entry.value, 0, error=error))
    return places


def check_sizes(places: list[Located], *, writing: bool, reply_bytes: int) -> None:
    """Check the sizes of all entries together.

    Raises:
        UsageError: It is too much for a write, or for an answer.
    """
    total = sum(place.size_bytes for place in places)
    if writing and total > MAX_WRITE_BYTES:
        raise UsageError(f"a write of {total} bytes, at most {MAX_WRITE_BYTES} are allowed")
    if not writing and total + _READ_OVERHEAD_BYTES * (1 + len(places)) > reply_bytes:
        raise UsageError(f"{total} bytes do not fit into an answer of {reply_bytes}")


def _find(targets: Targets, target: wire.Target, suggest: bool) -> Target:
    if isinstance(target, wire.Symbol):
        return targets.symbol(target.name, suggest=suggest)
    if isinstance(target, wire.Direct):
        return targets.direct(target.kva)
    if isinstance(target, wire.Kva):
        return targets.kva(target.kva)
    if isinstance(target, wire.PerCpuField):
        return targets.per_cpu(target.symbol, target.field, target.cpu)
    return targets.task(target.pid, target.field, target.expected_start_time_ns)


def _sized(target: Target, value: wire.Value | None, writing: bool) -> tuple[int, bytes]:
    """The size of an access and, for a write, its bytes."""
    if isinstance(value, wire.U32 | wire.OrU32):
        size, data = 4, value.value.to_bytes(4, "little")
    elif isinstance(value, wire.U64):
        size, data = 8, value.value.to_bytes(8, "little")
    elif isinstance(value, wire.Bytes):
        size, data = len(value.data), value.data
    elif isinstance(value, wire.Span):
        size, data = value.length, b""
    else:
        size, data = _natural(target, value)
    if writing and (value is None or isinstance(value, wire.Span)):
        raise UsageError(f"{target.text}: no bytes to write")
    if not writing and isinstance(value, wire.OrU32):
        raise UsageError(f"{target.text}: bits can be set by writes only")
    if not size:
        raise UsageError(f"{target.text}: no bytes")
    exact = isinstance(value, wire.Bytes | wire.Span) and not writing
    if (
        target.size_bytes is not None
        and size != target.size_bytes
        and not (exact and size < target.size_bytes)
    ):
        raise UsageError(f"{target.text} has {counted(target.size_bytes, 'byte')}, not {size}")
    if target.room_bytes is not None and size > target.room_bytes:
        raise UsageError(f"{target.text} has room for {counted(target.room_bytes, 'byte')}, not {size}")
    return size, data


def _natural(target: Target, value: wire.Int | None) -> tuple[int, bytes]:
    size = target.whole_bytes if value is None and target.size_bytes is None else target.size_bytes
    if size is None or (value is not None and size not in (1, 2, 4, 8)):
        raise UsageError(
            f"the size of {target.text} is not known, or not that of an integer",
            f"add it: {target.text}:u32, :u64, or a number of bytes",
        )
    if value is None:
        return size, b""
    if not -(1 << 8 * size - 1) <= value.value < 1 << 8 * size:
        raise UsageError(f"{value.value} does not fit into the {counted(size, 'byte')} of {target.text}")
    return size, (value.value % (1 << 8 * size)).to_bytes(size, "little")
