"""Virtual addresses of the kernel to bytes, without asking anybody.

Three regions cover what an observer reads. The image and the direct map are each one subtraction. Everything
else (vmalloc: stacks, BPF maps, late per-CPU memory) takes a walk of the kernel's page tables, four or five
levels with huge pages at two of them. The direct map's base is randomised and is itself read from the image.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ktstr_tui.kernel.memory import PAGE_BYTES, MemoryReadError, PhysicalMemory
from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP, Vmcoreinfo

_PRESENT = 1
_WRITABLE = 1 << 1
_HUGE = 1 << 7
_NO_EXECUTE = 1 << 63
_FRAME_MASK = 0x000FFFFFFFFFF000
_U64 = struct.Struct("<Q")
KERNEL_HALF = 1 << 63
MASK64 = (1 << 64) - 1


class NotMapped(MemoryReadError):
    """A virtual address that the kernel's page tables do not map."""


class MappedPage(NamedTuple):
    """A page as the kernel's page tables map it."""

    frame: int
    """Its guest-physical address."""
    writable: bool
    executable: bool


class AddressSpace:
    """Reads a kernel's virtual memory.

    Translations of vmalloc pages are remembered until ``forget()``; callers that read a running kernel forget
    before each look, because vmalloc areas come and go.

    Args:
        memory: Guest-physical memory.
        info: The kernel's vmcoreinfo note.
        page_offset: Start of the direct map; None until it is known (only the image can be read then).
    """

    def __init__(self, memory: PhysicalMemory, info: Vmcoreinfo, page_offset: int | None = None) -> None:
        self.memory = memory
        self.page_offset = page_offset
        self.image_shift = info.image_physical(0)
        self.image_end = START_KERNEL_MAP + info.number("KERNEL_IMAGE_SIZE", 1 << 30)
        self._root = info.image_physical(info.symbol("swapper_pg_dir"))
        self._levels = 5 if info.number("pgtable_l5_enabled", 0) else 4
        self._frame_mask = _FRAME_MASK & ~info.number("sme_mask", 0)
        self._direct_start = MASK64 if page_offset is None else page_offset
        self._direct_end = 0 if page_offset is None else page_offset + memory.end
        self._pages: dict[int, int] = {}

    def clone(self) -> AddressSpace:
        """The same space with translations of its own, for another thread."""
        other = object.__new__(AddressSpace)
        other.__dict__.update(self.__dict__)
        other._pages = {}
        return other

    def forget(self) -> None:
        """Drop remembered translations."""
        self._pages = {}

    def physical(self, address: int) -> int:
        """The guest-physical address behind ``address``; raises ``NotMapped``."""
        if self._direct_start <= address < self._direct_end:
            return address - self._direct_start
        if START_KERNEL_MAP <= address < self.image_end:
            return address + self.image_shift
        page = address & -PAGE_BYTES
        frame = self._pages.get(page)
        if frame is None:
            frame = self._pages[page] = self.walk(page).frame
        return frame + (address & (PAGE_BYTES - 1))

    def walk(self, page: int) -> MappedPage:
        """Walk the page tables for the page at ``page``, in any region; raises ``NotMapped``."""
        if page < KERNEL_HALF or page > MASK64:
            raise NotMapped(f"{page:#x} is not a kernel address", page)
        table, rights, denials = self._root, _WRITABLE, 0
        for level in range(self._levels - 1, -1, -1):
            shift = 12 + 9 * level
            entry = self.memory.u64(table + ((page >> shift) & 511) * 8)
            if not entry & _PRESENT:
                raise NotMapped(f"{page:#x} is not mapped", page)
            table = entry & self._frame_mask
            rights, denials = rights & entry, denials | entry
            if level in (1, 2) and entry & _HUGE:
                size = 1 << shift
                table = (table & -size) + (page & (size - 1))
                break
        return MappedPage(table, bool(rights), not denials & _NO_EXECUTE)

    def mapped(self, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
        """Yield ``(address, frame)`` of the 4 KiB pages that are mapped between two kernel addresses.

        Each table is read with one copy, and those that are not there or hold nothing are passed over whole: a
        kernel that prepares the tables of an arena of 4 GiB (7.2 does) has 2048 of them. At most ``limit`` pages;
        raises ``MemoryReadError``.
        """
        found = self._mapped(self._root, self._levels - 1, start & -PAGE_BYTES, end)
        for _, page in zip(range(limit), found, strict=False):
            yield page

    def _mapped(self, table: int, level: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        if start >= end:
            return
        shift = 12 + 9 * level
        span = 1 << shift
        first = (start >> shift) & 511
        count = min(512 - first, ((end - 1) >> shift) - (start >> shift) + 1)
        data = self.memory.read(table + first * 8, count * 8)
        if data.count(0) == len(data):
            return
        for entry in struct.unpack(f"<{count}Q", data):
            following = min(end, (start & -span) + span)
            if entry & _PRESENT and level == 0:
                yield start, entry & self._frame_mask
            elif entry & _PRESENT and not entry & _HUGE:
                yield from self._mapped(entry & self._frame_mask, level - 1, start, following)
            start = following

    def read(self, address: int, n: int) -> bytes:
        """``n`` bytes at virtual ``address``.

        Raises:
            MemoryReadError: If a page of it is not mapped or lies outside RAM.
        """
        if self._direct_start <= address and address + n <= self._direct_end:
            return self.memory.read(address - self._direct_start, n)
        if address >= START_KERNEL_MAP and address + n <= self.image_end:
            return self.memory.read(address + self.image_shift, n)
        parts = []
        while n > 0:
            part = min(n, PAGE_BYTES - (address & (PAGE_BYTES - 1)))
            parts.append(self.memory.read(self.physical(address), part))
            address += part
            n -= part
        return b"".join(parts)

    def u64(self, address: int) -> int:
        """The 64-bit word at virtual ``address``."""
        if self._direct_start <= address and address + 8 <= self._direct_end:
            return self.memory.u64(address - self._direct_start)
        (value,) = _U64.unpack(self.read(address, 8))
        return int(value)

    def u32(self, address: int) -> int:
        """The 32-bit word at virtual ``address``."""
        return int.from_bytes(self.read(address, 4), "little")

    def string(self, address: int, limit: int = 256) -> str:
        """The NUL-terminated string at ``address``, at most ``limit`` bytes of it.

        A string may end just before unmapped memory, so it is read page by page.
        """
        out = b""
        while len(out) < limit:
            part = self.read(address, min(limit - len(out), PAGE_BYTES - (address & (PAGE_BYTES - 1))))
            out += part
            if b"\0" in part:
                break
            address += len(part)
        return out.partition(b"\0")[0].decode("utf-8", "replace")
