"""Guest memory as QEMU's gdb stub reads it: by its own page walk, independent of ours."""

from __future__ import annotations

from ktstr_tui.guest.gdb import GdbClient
from ktstr_tui.model.errors import GuestError

CHUNK_BYTES = 1024


async def read_memory(gdb: GdbClient, address: int, length: int) -> bytes:
    """Read guest-virtual memory as the vCPU selected last sees it (vCPU 0 at first)."""
    data = bytearray()
    while len(data) < length:
        count = min(CHUNK_BYTES, length - len(data))
        text = await gdb.ask(f"m{address + len(data):x},{count:x}")
        if len(text) != 2 * count:
            raise GuestError(f"address {address + len(data):#x} cannot be read: {text[:80]!r}")
        data += bytes.fromhex(text)
    return bytes(data)


async def read_physical(gdb: GdbClient, address: int, length: int) -> bytes:
    """Read guest-physical memory."""
    assert await gdb.ask("Qqemu.PhyMemMode:1") == "OK"
    try:
        return await read_memory(gdb, address, length)
    finally:
        assert await gdb.ask("Qqemu.PhyMemMode:0") == "OK"
