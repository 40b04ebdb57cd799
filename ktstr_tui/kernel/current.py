"""Which task a CPU executes: what the kernel itself calls ``current``.

``rq->curr`` is nearly that, but the scheduler sets it before it switches, so a write in the middle of a switch
would be put down to the wrong task. The per-CPU variable is exact.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.symbols import Symbols


class CurrentTask:
    """Finds ``current``.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        cpus: Its CPUs.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus) -> None:
        self._cpus = cpus
        # Since Linux kernel commit a1e4cc0155ad ("x86/percpu: Move current_task to percpu hot section") (in v6.15) it
        # is the variable current_task again. Before that, from commit e57ef2ed97c1 ("x86: Put hot per CPU variables
        # into a struct") (in v6.2) on, it is a member of struct pcpu_hot.
        self._variable = symbols.find("current_task") or _in_pcpu_hot(btf, symbols)

    def address(self, space: AddressSpace, cpu: int) -> int:
        """Read the address of the ``task_struct`` that ``cpu`` executes; raises ``MemoryReadError``."""
        if self._variable is not None:
            return space.u64(self._cpus.per_cpu(self._variable, cpu))
        return int(self._cpus.rq.read(space, self._cpus.rq_address(cpu))["curr"])


def _in_pcpu_hot(btf: Btf, symbols: Symbols) -> int | None:
    hot = symbols.find("pcpu_hot")
    struct = None if hot is None else btf.find("pcpu_hot", Kind.STRUCT)
    place = None if struct is None else btf.place(struct, "current_task")
    return None if hot is None or place is None else hot + place.bit_offset // 8
