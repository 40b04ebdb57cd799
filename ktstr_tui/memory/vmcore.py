"""A snapshot as a crash dump (an ELF vmcore) that drgn opens by itself.

The program crash looks at no dump before it has a vmlinux with DWARF types of that kernel: 8.0.2 refuses one that has
symbols alone ("no debugging data available"), also with ``--minimal``. So it was not tried beyond that.

kdumpling writes what comes before the memory: the ELF headers, the kernel's own note and the registers of all CPUs. It
would write the memory dense; so it is told sizes only, and the pages are put into their places here, zeros as holes. A
dump of a guest of 512 MiB takes as much disk as the guest has used.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import BinaryIO, cast

from elftools.elf.elffile import ELFFile
from kdumpling import KdumpBuilder

from ktstr_tui.kernel.program import direct_map_of
from ktstr_tui.kernel.vmcoreinfo import find_vmcoreinfo
from ktstr_tui.memory.explore import make_private, not_written, report_of
from ktstr_tui.memory.find import Found
from ktstr_tui.memory.pages import PAGE_BYTES, Pages
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.memory.stored_ram import SnapshotRam
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import VcpuReport

_REGISTER = re.compile(r"r[a-z0-9]{1,2}|eflags|[c-g]s|ss|[fg]s_base")
_CHUNK_PAGES = 1024


def export_vmcore(found: Found, out: Path) -> int:
    """Write a snapshot as an ELF vmcore of mode 0600; returns the bytes of memory in it, zeros not counted.

    Raises:
        UsageError: The file is there already, or there is no kernel in the snapshot.
        DamagedError: The snapshot is not what was stored.
        HostError: The file cannot be written; nothing is left then.
    """
    snapshot = found.store.read(found.name)
    vcpus = report_of(found).vcpus
    make_private(out)
    try:
        with found.store.pages() as pages:
            return _write(snapshot, pages, vcpus, out)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise not_written(out, error) from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _write(snapshot: Snapshot, pages: Pages, vcpus: tuple[VcpuReport, ...], out: Path) -> int:
    ram = SnapshotRam(snapshot, pages)
    note = snapshot.vmcoreinfo or find_vmcoreinfo(ram)
    if not note:
        raise UsageError(
            f"there is no kernel in snapshot {snapshot.info.name}", "take one of a guest that is up"
        )
    page_offset = direct_map_of(ram, note)
    builder = KdumpBuilder(arch="x86_64").set_vmcoreinfo(note)
    for phys, length in ram.segments():
        builder.add_memory_segment(phys, cast("BinaryIO", _Sized(length)), page_offset + phys)
    for vcpu in vcpus:
        registers = {
            name.upper(): value for name, value in vcpu.registers.items() if _REGISTER.fullmatch(name)
        }
        pid = 0 if vcpu.curr is None else vcpu.curr.pid
        builder.add_cpu_context(vcpu.cpu, registers, pid)
    builder.write(str(out))
    return _fill(ram, pages, out)


def _fill(ram: SnapshotRam, pages: Pages, out: Path) -> int:
    written = 0
    with out.open("r+b") as file:
        loads = [it.header for it in ELFFile(file).iter_segments("PT_LOAD")]
        end = max(it.p_offset + it.p_filesz for it in loads)
        file.truncate(end)
        for start, length in ram.data_ranges():
            load = next(it for it in loads if it.p_paddr <= start < it.p_paddr + it.p_filesz)
            file.seek(load.p_offset + start - load.p_paddr)
            for at in range(start, start + length, _CHUNK_PAGES * PAGE_BYTES):
                stop = min(at + _CHUNK_PAGES * PAGE_BYTES, start + length)
                digests = [ram.digest(it) for it in range(at, stop, PAGE_BYTES)]
                written += file.write(b"".join(pages.get_many(digests)))
    return written


class _Sized(io.RawIOBase):
    """Says how long it is, and has nothing to read.

    Args:
        size: In bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place from the beginning, or from the end."""
        self._at = offset + (self._size if whence == io.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Say where it is."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Give nothing: what is there is written afterwards."""
        return b""
