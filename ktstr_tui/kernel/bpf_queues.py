"""BPF queues, stacks and ring buffers: maps without keys, where schedulers keep tasks and talk to user space.

Mirrors ``struct bpf_queue_stack`` (kernel/bpf/queue_stack_maps.c), ``max_entries`` + 1 slots in a circle: values are
put in at ``head``; a queue takes out at ``tail``, a stack below ``head``; head = tail is empty. The report has the
entries in the order in which they would come out, numbered from 0.

Mirrors ``struct bpf_ringbuf`` (kernel/bpf/ringbuf.c): positions that only grow, masked into a power of two of bytes
that the kernel maps twice, so that no record is torn at the end. A record is a ``struct bpf_ringbuf_hdr`` of 8 bytes,
whose first word is the length with BPF_RINGBUF_BUSY_BIT (not yet submitted) and BPF_RINGBUF_DISCARD_BIT, and its data,
rounded up to 8 bytes. What lies between ``consumer_pos`` and ``producer_pos`` is not yet read. User space writes
``consumer_pos`` (of a user ring buffer: ``producer_pos``, and the headers), so none of this is believed.
"""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.kernel.address import MASK64, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import MAX_MAP_BYTES, Copier, RawMap, index_key
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError

_BUSY, _DISCARD, _HEADER_BYTES = 1 << 31, 1 << 30, 8
_MAX_RING_BYTES = 1 << 30
_SHOWN_BYTES = 256
"""Of one record."""


class Queues:
    """Copies queues and stacks.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._queue = Layout(btf, "bpf_queue_stack", {"head": "head", "tail": "tail", "size": "size"})
        self._elements = self._queue.offset("elements")
        self.copiers: dict[str, Copier] = {"QUEUE": self._copy, "STACK": self._copy}

    def _copy(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        row, width = self._queue.read(space, address), min(raw.row["value_size"], MAX_MAP_BYTES)
        head, tail, size = row["head"], row["tail"], row["size"]
        if not (head < size and tail < size):
            raise MemoryReadError(f"head {head} and tail {tail} in a queue of {size}", address)
        used = (head - tail) % size
        raw.truncated, raw.own_keys = used > limit or width < raw.row["value_size"], True
        raw.state = {"nr": used}
        for number in range(min(used, limit)):
            slot = (tail + number if raw.type_name == "QUEUE" else head - 1 - number) % size
            value = space.read(address + self._elements + slot * raw.row["value_size"], width)
            raw.entries.append((index_key(number), value))


class Rings:
    """Copies the positions of ring buffers and the records that nobody has read yet.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._map = Layout(btf, "bpf_ringbuf_map", {"ring": "rb"})
        paths = ("mask", "consumer_pos", "producer_pos", "pending_pos", "overwrite_pos", "overwrite_mode")
        self._ring = Layout(btf, "bpf_ringbuf", {path: path for path in paths})
        self._data = self._ring.offset("data")
        self.copiers: dict[str, Copier] = {"RINGBUF": self._copy, "USER_RINGBUF": self._copy}

    def _copy(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        ring = self._map.read(space, address)["ring"]
        row = self._ring.read(space, ring)
        mask, begin, end = row["mask"], row["consumer_pos"], row["producer_pos"]
        if mask & (mask + 1) or not 0 < mask < _MAX_RING_BYTES:
            raise MemoryReadError(f"a ring buffer with mask {mask:#x}", ring)
        if row["overwrite_mode"]:
            begin = max(begin, row["overwrite_pos"])
        unread = (end - begin) & MASK64
        raw.state = {"capacity": mask + 1, "consumer_pos": row["consumer_pos"], "producer_pos": end}
        if row["pending_pos"] is not None:
            raw.state["pending_pos"] = row["pending_pos"]
        raw.state["unread_bytes"], raw.own_keys = unread, True
        if unread > mask + 1:
            raise MemoryReadError(f"{unread} unread bytes in a ring buffer of {mask + 1}", ring)
        for _, (position, length) in zip(
            range(limit + 1), self._records(space, ring + self._data, raw, begin, unread), strict=False
        ):
            if len(raw.entries) >= limit:
                raw.truncated = True
                return
            self._add(space, ring + self._data + (position & mask), raw, position, length)

    def _add(self, space: AddressSpace, header: int, raw: RawMap, position: int, length: int) -> None:
        size = length & ~(_BUSY | _DISCARD)
        word = "busy" if length & _BUSY else "discarded" if length & _DISCARD else "submitted"
        value = {"state": word, "bytes": size}
        if word == "submitted":
            value["data"] = space.read(header + _HEADER_BYTES, min(size, _SHOWN_BYTES)).hex()
            raw.truncated |= size > _SHOWN_BYTES
        raw.entries.append((position.to_bytes(8, "little"), value))

    def _records(
        self, space: AddressSpace, data: int, raw: RawMap, begin: int, unread: int
    ) -> Iterator[tuple[int, int]]:
        """Position and length word of every unread record, up to one that does not fit."""
        at, mask = 0, raw.state["capacity"] - 1
        while at < unread:
            position = (begin + at) & MASK64
            length = space.u32(data + (position & mask))
            step = ((length & ~(_BUSY | _DISCARD)) + _HEADER_BYTES + 7) // 8 * 8
            if step > unread - at:
                raw.error = f"the record at {position} is longer than what is unread"
                return
            yield position, length
            at += step
