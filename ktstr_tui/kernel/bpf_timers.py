"""BPF timers in the values of maps: whether one is armed, and for when.

Mirrors ``struct btf_record`` (include/linux/btf.h), which says where in a value the timer is, ``struct bpf_async_kern``
(what ``struct bpf_timer`` hides) and ``struct bpf_hrtimer`` (kernel/bpf/helpers.c). The clock is that with which the
program initialised the timer. ``expires`` of a timer that is not armed is when it was last due: a timer that its
program forgot to arm again has stopped there.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import RawMap
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout, Paths
from ktstr_tui.kernel.memory import MemoryReadError

_MAX_TIMERS = 256
TIMER_STRUCT = "bpf_timer"


class Timers:
    """Reads the timers of copied entries.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._record = Layout(btf, "btf_record", {"at": "timer_off"})
        # Since the 7.2 kernels tried, hrtimers have a flag "is_queued"; 6.19 has a state of bits, 0 for inactive.
        paths: Paths = {"expires": "timer.node.expires", "armed": ("timer.is_queued", "timer.state")}
        self._timer = Layout(btf, "bpf_hrtimer", paths)

    def copy(self, space: AddressSpace, raw: RawMap) -> None:
        """Read the timers behind the copied values; raises ``MemoryReadError``."""
        record = raw.row["record"]
        if not record or record < KERNEL_HALF or record > (1 << 64) - 4096:  # an error in a pointer
            return
        at = self._record.read(space, record)["at"]
        if not 0 <= at <= raw.row["value_size"] - 8:
            return
        for key, value in raw.entries[:_MAX_TIMERS]:
            if isinstance(value, bytes):
                pointer = int.from_bytes(value[at : at + 8], "little")
                try:
                    raw.timers[key] = self._read(space, pointer)
                except MemoryReadError as problem:
                    raw.timers[key] = {"unavailable": problem.message}

    def _read(self, space: AddressSpace, pointer: int) -> dict[str, object]:
        if pointer < KERNEL_HALF:
            return {"initialised": False}
        row = self._timer.read(space, pointer)
        return {"armed": bool(row["armed"]), "expires_ns": row["expires"]}
