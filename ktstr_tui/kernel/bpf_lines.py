"""Source lines of JIT-compiled BPF code.

The verifier keeps, with each program, the line information that the compiler made (``struct bpf_line_info``,
include/uapi/linux/bpf.h) and the address at which the code of each line begins (``bpf_prog_aux->jited_linfo``,
include/linux/bpf.h). File names and the text of the lines are strings of the program's own BTF. Programs that were
compiled without ``-g`` have none of it.

How exact is this? An optimising compiler moves code between lines, so a line is where the compiler says the instruction
comes from. The tables are fixed once the program is loaded.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import BpfSymbol

MAX_LINES = 1 << 17
"""Line records of one program."""
MAX_LINE_BYTES = 256
_LINE_NUMBER_SHIFT = 10
"""``BPF_LINE_INFO_LINE_NUM``."""


class BpfLines:
    """Finds the source line of an address in a BPF program.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._aux: Layout | None = None
        try:
            paths = {"linfo": "linfo", "jited": "jited_linfo", "count": "nr_linfo", "btf": "btf"}
            aux = Layout(btf, "bpf_prog_aux", paths)
            line = {"file": "file_name_off", "text": "line_off", "place": "line_col"}
            self._line = Layout(btf, "bpf_line_info", line)
            self._btf = Layout(btf, "btf", {"strings": "strings", "start": "start_str_off"})
            self._ksym = aux.offset("ksym")
            self._aux = aux
        except BtfError:
            return

    def find(self, space: AddressSpace, symbol: BpfSymbol, address: int, *, exact: bool) -> str | None:
        """Return ``stall.bpf.c:41  source text``; None where there is no line information.

        Args:
            space: Where to read.
            symbol: The code that holds the address.
            address: In that code.
            exact: False for a return address: the line is that of the call before it.
        """
        if self._aux is None or not symbol.ksym:
            return None
        try:
            return self._find(space, self._aux, symbol, address if exact else address - 1)
        except MemoryReadError:
            return None

    def _find(self, space: AddressSpace, layout: Layout, symbol: BpfSymbol, address: int) -> str | None:
        aux = layout.read(space, symbol.ksym - self._ksym)
        count = aux["count"]
        if min(aux["linfo"], aux["jited"], aux["btf"]) < KERNEL_HALF or not 0 < count <= MAX_LINES:
            return None
        starts = memoryview(space.read(aux["jited"], 8 * count)).cast("Q")
        # The array is that of the whole program; this function has a part of it, in the order of addresses.
        best = max(
            (k for k, start in enumerate(starts) if symbol.start <= start <= address),
            key=starts.__getitem__,
            default=None,
        )
        if best is None:
            return None
        line = self._line.read(space, aux["linfo"] + best * self._line.size)
        strings = self._btf.read(space, aux["btf"])
        if strings["strings"] < KERNEL_HALF:
            return None
        base = strings["strings"] - (strings["start"] or 0)
        name = space.string(base + line["file"], MAX_LINE_BYTES).rpartition("/")[2]
        source = space.string(base + line["text"], MAX_LINE_BYTES).strip()
        return f"{name}:{line['place'] >> _LINE_NUMBER_SHIFT}  {source}".rstrip()
