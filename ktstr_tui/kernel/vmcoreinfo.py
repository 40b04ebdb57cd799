"""Finding the kernel in RAM: the vmcoreinfo note that it keeps for crash dumps.

The note is one page of ``KEY=value`` lines. It says where KASLR put the kernel and where its symbol table is:
everything else is found from there. A page that merely looks like it (an old kernel's, a copy in a file's
page cache) is recognised by its memory: the release in the note must also be at the note's own
``init_uts_ns``.
"""

from __future__ import annotations

import re

from ktstr_tui.kernel.memory import PAGE_BYTES, MemoryReadError, RamImage

START_KERNEL_MAP = 0xFFFFFFFF80000000
_UTS_FIELD_BYTES = 65
_MARK = b"OSRELEASE="
_LINE = re.compile(rb"^(?:(SYMBOL|NUMBER|OFFSET|SIZE|LENGTH)\(([^)]+)\)|([A-Z][A-Z-]*))=(.*)$", re.MULTILINE)


class Vmcoreinfo:
    """The parsed note.

    Args:
        note: The bytes of the note, without the padding behind it.
    """

    def __init__(self, note: bytes) -> None:
        self.note = note
        self._values: dict[str, str] = {}
        for kind, name, plain, value in _LINE.findall(note):
            key = plain or kind + b"(" + name + b")"
            self._values[key.decode("ascii", "replace")] = value.decode("ascii", "replace")

    @property
    def release(self) -> str:
        """``uname -r`` of the kernel."""
        return self._values.get("OSRELEASE", "")

    def symbol(self, name: str) -> int:
        """The address of a symbol; raises ``KeyError`` when the note has none of that name."""
        return int(self._values[f"SYMBOL({name})"], 16)

    def find_symbol(self, name: str) -> int | None:
        """Do as ``symbol``; None when the note has none of that name."""
        return self.symbol(name) if f"SYMBOL({name})" in self._values else None

    def number(self, name: str, default: int | None = None) -> int:
        """A ``NUMBER(...)``; raises ``KeyError`` when absent and no default is given."""
        text = self._values.get(f"NUMBER({name})")
        if text is None:
            if default is None:
                raise KeyError(name)
            return default
        return int(text, 0)

    def offset(self, name: str) -> int:
        """An ``OFFSET(struct.member)`` in bytes; raises ``KeyError``."""
        return int(self._values[f"OFFSET({name})"])

    def image_physical(self, address: int) -> int:
        """Where a virtual address of the kernel's image is in guest-physical memory."""
        return address - START_KERNEL_MAP + self.number("phys_base")


def find_vmcoreinfo(ram: RamImage) -> bytes | None:
    """The note of the kernel that owns this RAM, or None while there is none yet.

    Looks only at what the guest has touched, so it may be asked again and again during boot. When several
    notes check out, the one that was written last wins (the longest: notes only grow).
    """
    found: list[bytes] = []
    for start, length in ram.data_ranges():
        for phys, heads in ram.page_heads(start, length):
            page = heads.find(_MARK[:1])
            while page >= 0:
                note = _note_at(ram, phys + page * PAGE_BYTES)
                if note is not None and _is_of_this_kernel(ram, note):
                    found.append(note)
                page = heads.find(_MARK[:1], page + 1)
    return max(found, key=len, default=None)


def _note_at(ram: RamImage, phys: int) -> bytes | None:
    if ram.read(phys, len(_MARK)) != _MARK:
        return None
    note = ram.read(phys, PAGE_BYTES).partition(b"\0")[0]
    return note if b"SYMBOL(init_uts_ns)=" in note and note.endswith(b"\n") else None


def _is_of_this_kernel(ram: RamImage, note: bytes) -> bool:
    """Whether ``init_uts_ns`` of the note holds the note's own release."""
    parsed = Vmcoreinfo(note)
    try:
        name = parsed.image_physical(parsed.symbol("init_uts_ns")) + parsed.offset("uts_namespace.name")
        release = ram.read(name + 2 * _UTS_FIELD_BYTES, _UTS_FIELD_BYTES)
    except (KeyError, ValueError, MemoryReadError):
        return False
    return release.partition(b"\0")[0].decode("ascii", "replace") == parsed.release
