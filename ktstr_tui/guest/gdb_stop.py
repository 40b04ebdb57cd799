"""Reads the stop replies of the gdb stub.

A reply names one vCPU and one signal, although all vCPUs are stopped. A watchpoint is recognised by its address, a
stop that was asked for by SIGINT; anything else is a stop that nobody here caused.
"""

from __future__ import annotations

from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import InternalError

_SIGINT = 2


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
        raise InternalError(f"QEMU's gdb stub sent an unexpected stop reply {text[:80]!r}") from error
    if address is not None:
        return Stop("watch", vcpu, address)
    return Stop("interrupt" if signal == _SIGINT else "other", vcpu)
