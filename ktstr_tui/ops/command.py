"""Kernel operations that viewers ask for in a command."""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.facts import KernelOpPlace
from ktstr_tui.model.outputs import KernelOpEntry, KernelOpResult
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.wire.kernel_ops import KERNEL_OP_TAG_MAX, KernelOp

COMMAND_REPLY_BYTES = 1 << 20
"""What an answer to a viewer may carry."""


async def serve_command(ops: KernelOps, args: dict[str, Any], who: str) -> KernelOpResult:
    """Carry out an operation for a viewer; what it read or changed, as plain values.

    Each target of a read counts for itself: one that is wrong has an error in its place.

    Raises:
        UsageError: The arguments are no operation.
        KtstrError: It was refused or failed.
    """
    try:
        op = msgspec.convert(args, KernelOp)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise UsageError(f"kernel-op: {error}") from error
    if len(op.tag.encode()) > KERNEL_OP_TAG_MAX:
        raise UsageError(f"kernel-op: a tag has at most {KERNEL_OP_TAG_MAX} bytes")
    result = await ops.run(op, who, reply_bytes=COMMAND_REPLY_BYTES, each=True)
    result.raise_for_error()
    errors = [place.error for place in result.places]
    return {
        "mode": op.mode,
        "direction": op.direction,
        "entries": [_entry(entry, error) for entry, error in zip(result.entries(), errors, strict=True)],
        "pause": None if result.pause is None else msgspec.to_builtins(result.pause),
    }


def _entry(place: KernelOpPlace, error: KtstrError | None) -> KernelOpEntry:
    plain: KernelOpEntry = msgspec.to_builtins(place)
    plain["error"] = None
    if error is not None:
        message = error.message if place.target in error.message else f"{place.target}: {error.message}"
        plain["error"] = {"fault": error.fault, "message": message, "hint": error.hint}
    return plain
