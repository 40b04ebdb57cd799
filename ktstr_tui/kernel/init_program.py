"""The program that is process 1: ``init_pid_ns.child_reaper``.

Mirrors ``struct pid_namespace`` (include/linux/pid_namespace.h). The pointer never changes while the guest runs.

How exact is this? Its name is copied in one read and may be changing in a running guest; in a stopped one it is exact.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text


class InitProgram:
    """Reads process 1.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        self._namespace = symbols.find("init_pid_ns")
        found = btf.find("pid_namespace", Kind.STRUCT)
        place = None if found is None else btf.place(found, "child_reaper")
        self._reaper = None if place is None else place.bit_offset // 8
        self._task = Layout(btf, "task_struct", {"comm": "comm"})

    def comm(self, space: AddressSpace) -> str | None:
        """Read its name; None where this kernel does not say who it is. Raises ``MemoryReadError``."""
        if self._namespace is None or self._reaper is None:
            return None
        task = space.u64(self._namespace + self._reaper)
        return text(self._task.read(space, task)["comm"]) if task >= KERNEL_HALF else None
