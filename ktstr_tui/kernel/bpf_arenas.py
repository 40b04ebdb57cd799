"""BPF arenas: memory that a scheduler shares with its user space, and what its globals point to in there.

Mirrors ``struct bpf_arena`` (kernel/bpf/arena.c). A page of the arena has one address in user space, from
``user_vm_start`` on, and one in the kernel: half of the guard area (64 KiB in all) behind ``kern_vm->addr``, plus the
low 32 bits of the user's address. Pages come at their first use, so the page tables say which there are. A kernel
that has ``scratch_page`` maps that one page where a program touched what it had not allocated; it counts as no page.

An arena has no types of its own. But a global or the value of a map that points into it (pointers are stored as the
user's addresses) has one, and so have the pointers in what it points to: they are followed for as long as they lead to
new objects. That is how schedulers keep a context for each task: in the arena, with the pointer in task storage.

How exact is this? A pointer that a program keeps in an integer is not followed, and an object ends where its type does:
an array behind a pointer shows its first element.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import MAX_MAP_BYTES, Copier, RawMap
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import PAGE_BYTES
from ktstr_tui.kernel.render import Renderer
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text
from ktstr_tui.model.report import MapEntry

_GUARD_BYTES = 1 << 16
_MAX_OBJECTS = 256
_MAX_OBJECT_BYTES = 1 << 16
_LOW = (1 << 32) - 1
_MAX_PAGES = 1 << 16


class Arenas:
    """Copies the pages of arenas.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        paths = {"start": "user_vm_start", "area": "kern_vm", "scratch": "scratch_page"}
        self._arena = Layout(btf, "bpf_arena", paths)
        self._area = Layout(btf, "vm_struct", {"addr": "addr"})
        page = btf.find("page", Kind.STRUCT)
        self._page_bytes = 64 if page is None else btf.size_of(page)
        self._vmemmap = symbols.find("vmemmap_base")
        self.copiers: dict[str, Copier] = {"ARENA": self._copy}

    def _copy(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        row = self._arena.read(space, address)
        start, area = row["start"], self._area.read(space, row["area"])["addr"]
        base = area + _GUARD_BYTES // 2 + (start & _LOW)
        pages = min(raw.row["max_entries"], 1 << 20)
        raw.state = {"user_vm_start": f"{start:#x}", "pages_in_use": 0}
        scratch = self._scratch(space, row["scratch"])
        bytes_left = min(limit, MAX_MAP_BYTES)
        for at, frame in space.mapped(base, base + pages * PAGE_BYTES, _MAX_PAGES):
            if frame == scratch:
                continue
            raw.state["pages_in_use"] += 1
            if bytes_left < PAGE_BYTES:
                raw.truncated = True
                continue
            bytes_left -= PAGE_BYTES
            raw.pages[start + at - base] = space.memory.read(frame, PAGE_BYTES)

    def _scratch(self, space: AddressSpace, page: int | None) -> int | None:
        """The frame of the page that stands in for pages that were not allocated."""
        if not page or page < KERNEL_HALF or self._vmemmap is None:
            return None
        return (page - space.u64(self._vmemmap)) // self._page_bytes * PAGE_BYTES


def objects_in(arena: RawMap, btf: Btf, holders: Iterable[tuple[str, int, bytes]]) -> Iterator[MapEntry]:
    """Yield what the pointers of data sections and of values lead to inside the arena, each object once.

    Args:
        arena: The copied arena.
        btf: The types of the holders.
        holders: Name, id of the type, and bytes of whatever holds pointers; the variables of a section have names.
    """
    renderer, seen = Renderer(btf), set[tuple[int, int]]()
    waiting = deque(it for name, type_id, data in holders for it in _pointers(btf, type_id, data, name))
    while waiting and len(seen) < _MAX_OBJECTS:
        name, target, address = waiting.popleft()
        if (target, address) in seen:
            continue
        size = btf.size_of(target)
        found = _bytes_at(arena, address, size) if 0 < size <= _MAX_OBJECT_BYTES else None
        if found is not None:
            seen.add((target, address))
            yield MapEntry(f"*{name}", renderer.render(target, found))
            waiting.extend(_pointers(btf, target, found, name))
    arena.truncated |= bool(waiting)


def _bytes_at(arena: RawMap, address: int, size: int) -> bytes | None:
    """Bytes of an object that lies in copied pages; None when it does not."""
    first = address & -PAGE_BYTES
    pages = [arena.pages.get(page) for page in range(first, address + size, PAGE_BYTES)]
    known = [page for page in pages if page is not None]
    return b"".join(known)[address - first :][:size] if len(known) == len(pages) else None


def _pointers(btf: Btf, type_id: int, data: bytes, name: str) -> Iterator[tuple[str, int, int]]:
    """Name, type of target and value of the pointers in a section or a struct."""
    record = btf.resolve(type_id)
    if record.kind == Kind.PTR:
        yield name, record.size_or_type, int.from_bytes(data[:8], "little")
    elif record.kind == Kind.DATASEC:
        for variable, offset, _ in btf.section(record.id):
            place = btf.record(variable)
            if place.kind == Kind.VAR and btf.resolve(place.size_or_type).kind == Kind.PTR:
                yield from _pointers(btf, place.size_or_type, data[offset : offset + 8], place.name)
    elif record.kind == Kind.STRUCT:
        for member in btf.members(record.id):
            if not member.bit_size and btf.resolve(member.type_id).kind == Kind.PTR:
                at = member.bit_offset // 8
                yield from _pointers(btf, member.type_id, data[at : at + 8], f"{name}->{member.name}")


def add_objects(arenas: list[RawMap], holder: RawMap, btf: Btf | None) -> dict[int, list[MapEntry]]:
    """Follow the pointers in a map's values into the arenas of the same object, by the arena's id.

    A value is named after the map and its key, ``context_of[105]``; of a section of globals the variables are.
    """
    found: dict[int, list[MapEntry]] = {}
    value_type = holder.row["value_type"]
    if btf is None or not value_type or holder.pages:
        return found
    map_name = text(holder.row["name"])
    values = [
        (f"{map_name}[{_key_words(key)}]", value_type, value)
        for key, value in holder.entries
        if isinstance(value, bytes)
    ]
    for arena in arenas:
        try:
            found[arena.row["id"]] = list(objects_in(arena, btf, values))
        except BtfError as problem:
            arena.error = problem.message
    return found


def _key_words(key: bytes) -> str:
    """A key in few words: a number, or the beginning of its bytes."""
    return str(int.from_bytes(key, "little")) if len(key) <= 8 else f"{key[:8].hex()}…"
