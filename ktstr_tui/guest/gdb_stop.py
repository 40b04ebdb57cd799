"""Why and where the guest stands, as the stub's stop reply tells it.

The reply names one vCPU and one signal, although all vCPUs stand. A watchpoint is told by its address, a stop that was
asked for by SIGINT; anything else is a stop that nobody here caused.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ktstr_tui.model.errors import InternalError

_SIGINT = 2


class Stop(msgspec.Struct, frozen=True):
    """Why and where the guest stands."""

    signal: int
    """Unix signal number as the stub tells it: 2 after an interrupt, 5 after a watchpoint."""
    vcpu: int
    """The vCPU that stopped first, numbered from 0."""
    watch_address: int | None
    """Guest-virtual address that was written; None when no watchpoint stopped the guest."""
    kind: Literal["watch", "interrupt", "other"]


def parse_stop(text: str) -> Stop:
    """Read a stop reply such as ``T05thread:01;watch:ff25e97382efe350;``.

    Raises:
        InternalError: It is not one.
    """
    try:
        signal = int(text[1:3], 16)
        pairs = [pair.partition(":") for pair in text[3:].split(";") if pair] if text[0] == "T" else []
        fields = {name: value for name, _, value in pairs}
        # A multiprocess-aware stub writes pPID.TID.
        thread = fields.get("thread", "1").rpartition(".")[2].lstrip("p")
        watch = next((fields[name] for name in ("watch", "awatch", "rwatch") if name in fields), None)
        address = None if watch is None else int(watch, 16)
        vcpu = max(int(thread, 16) - 1, 0)
    except (ValueError, IndexError) as error:
        raise InternalError(f"QEMU's gdb stub sent a strange stop reply {text[:80]!r}") from error
    if address is not None:
        return Stop(signal, vcpu, address, "watch")
    return Stop(signal, vcpu, None, "interrupt" if signal == _SIGINT else "other")
