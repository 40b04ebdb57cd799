"""BPF arrays, and what the kernel builds like them: per-CPU arrays, arrays of pointers, struct_ops.

Mirrors ``struct bpf_array`` (include/linux/bpf.h), whose values are one behind another in steps of ``elem_size``. Of a
per-CPU array, ``pptrs`` in their place are per-CPU pointers; of an array of maps, programs or perf events, ``ptrs`` are
pointers or NULL. ``struct bpf_struct_ops_map`` (kernel/bpf/bpf_struct_ops.c) has one value. User space sees the ids of
inner maps and programs in place of their addresses, and so does the report. A perf event's ring is ``struct
perf_buffer`` (kernel/events/internal.h): what was written and lost; ``data_tail`` is how far user space has read.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import MAX_MAP_BYTES, Copier, RawMap, Ready, index_key
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError


class Arrays:
    """Copies arrays whose values are bytes.

    Args:
        btf: The kernel's BTF.
        cpus: Its CPUs.
    """

    def __init__(self, btf: Btf, cpus: Cpus) -> None:
        self._cpus = cpus
        self._array = Layout(btf, "bpf_array", {"elem_size": "elem_size"})
        self._values = self._array.offset("value")
        self._ops_value = Layout(btf, "bpf_struct_ops_map", {}).find_offset("kvalue")
        self.copiers: dict[str, Copier] = {
            "ARRAY": self._copy_array,
            "PERCPU_ARRAY": self._copy_percpu_array,
            "STRUCT_OPS": self._copy_struct_ops,
        }

    def value_address(self, address: int) -> int:
        """Where the first value of the array at an address is."""
        return address + self._values

    def _copy_array(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        size = min(raw.row["value_size"], MAX_MAP_BYTES)
        raw.truncated = size < raw.row["value_size"]
        count = min(raw.row["max_entries"], limit)
        step = self._array.read(space, address)["elem_size"] if count > 1 else size
        if not size <= step <= size + 8:
            raise MemoryReadError(f"elements of {step} bytes for values of {size}", address)
        data = space.read(address + self._values, step * (count - 1) + size) if count else b""
        raw.entries = [(index_key(k), data[k * step : k * step + size]) for k in range(count)]
        raw.truncated |= count < raw.row["max_entries"]

    def _copy_percpu_array(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        count = min(raw.row["max_entries"], limit)
        pointers = memoryview(space.read(address + self._values, 8 * count)).cast("Q")
        for k, pointer in enumerate(pointers):
            raw.entries.append((index_key(k), self.each_cpu(space, pointer, raw.row["value_size"])))
        raw.truncated = count < raw.row["max_entries"]

    def each_cpu(self, space: AddressSpace, pointer: int, size: int) -> tuple[bytes, ...]:
        """Read the value of every CPU behind a per-CPU pointer."""
        size = min(size, MAX_MAP_BYTES)
        return tuple(space.read(self._cpus.per_cpu(pointer, cpu), size) for cpu in range(self._cpus.count))

    def _copy_struct_ops(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        if self._ops_value is None or not limit:
            raw.error = "this kernel's struct_ops maps have no kvalue"
            return
        value = space.read(address + self._ops_value, min(raw.row["value_size"], MAX_MAP_BYTES))
        raw.entries = [(b"\0\0\0\0", value)]


class PointerArrays:
    """Copies arrays of maps, of programs and of perf events.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._pointers = Layout(btf, "bpf_array", {}).offset("value")
        self._map_id = Layout(btf, "bpf_map", {"id": "id"})
        self._prog = Layout(btf, "bpf_prog", {"aux": "aux"})
        self._prog_id = Layout(btf, "bpf_prog_aux", {"id": "id"})
        self._event_entry = Layout(btf, "bpf_event_entry", {"event": "event"})
        self._event = Layout(btf, "perf_event", {"cpu": "cpu", "ring": "rb"})
        paths = {"head": "head", "lost": "lost", "pages": "nr_pages", "user": "user_page"}
        self._ring = Layout(btf, "perf_buffer", paths)
        self._tail = Layout(btf, "perf_event_mmap_page", {"tail": "data_tail"})
        self.copiers: dict[str, Copier] = {
            "ARRAY_OF_MAPS": self._copy_maps,
            "PROG_ARRAY": self._copy_programs,
            "PERF_EVENT_ARRAY": self._copy_events,
        }

    def _filled(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> list[tuple[bytes, int]]:
        """The slots that hold a pointer, by key."""
        wanted = raw.row["max_entries"]
        count = min(wanted, MAX_MAP_BYTES // 8)
        raw.truncated = count < wanted
        data = space.read(address + self._pointers, 8 * count)
        slots = memoryview(data).cast("Q")
        found = [(index_key(k), pointer) for k, pointer in enumerate(slots) if pointer >= KERNEL_HALF]
        raw.truncated |= len(found) > limit
        return found[:limit]

    def _copy_maps(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        for key, inner in self._filled(space, address, raw, limit):
            raw.entries.append((key, {"map_id": self._map_id.read(space, inner)["id"]}))

    def _copy_programs(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        for key, prog in self._filled(space, address, raw, limit):
            aux = self._prog.read(space, prog)["aux"]
            raw.entries.append((key, {"prog_id": self._prog_id.read(space, aux)["id"]}))

    def _copy_events(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        for key, entry in self._filled(space, address, raw, limit):
            event = self._event.read(space, self._event_entry.read(space, entry)["event"])
            raw.entries.append((key, {"cpu": event["cpu"], **self._ring_state(space, event["ring"])}))

    def _ring_state(self, space: AddressSpace, address: int) -> Ready:
        if address < KERNEL_HALF:
            return {}
        ring = self._ring.read(space, address)
        state = {"head": _number(ring["head"]), "lost": _number(ring["lost"]), "pages": ring["pages"]}
        if ring["user"] >= KERNEL_HALF:
            state["data_tail"] = self._tail.read(space, ring["user"])["tail"]
        return state


def _number(value: int | bytes) -> int:
    """A ``local_t`` is a struct of one word."""
    return value if isinstance(value, int) else int.from_bytes(value, "little")
