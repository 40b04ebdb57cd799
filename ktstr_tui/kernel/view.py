"""One live kernel, typed: what the sampler, the coordinator and the reports read through.

The view holds no lock and may be used from several threads at once: whatever remembers translations is
cloned per look. Opening takes about 0.1 s of CPU, most of it for unpacking kallsyms and, of a snapshot, pages.
"""

from __future__ import annotations

import struct
import time
from functools import cached_property

from drgn import BadDataError, FaultError, MissingDebugInfoError, ObjectAbsentError, OutOfBoundsError, Program

from ktstr_tui.kernel.address import MASK64, AddressSpace
from ktstr_tui.kernel.bpf_lines import BpfLines
from ktstr_tui.kernel.bpf_maps import BpfMaps
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.dsq import BuiltinDsqs, Dsqs
from ktstr_tui.kernel.expressions import Expressions
from ktstr_tui.kernel.hz import find_hz
from ktstr_tui.kernel.init_program import InitProgram
from ktstr_tui.kernel.memory import MemoryReadError, RamImage
from ktstr_tui.kernel.orc import OrcRefused, Unwinder
from ktstr_tui.kernel.program import KernelNotFound, KernelParts, open_parts
from ktstr_tui.kernel.sched_tree import NO_SUBS, SchedTree, Subs
from ktstr_tui.kernel.scx import ExitText, Scx
from ktstr_tui.kernel.symbols import BpfSymbols, Symbols
from ktstr_tui.kernel.tasks import Tasks
from ktstr_tui.kernel.torn import Torn
from ktstr_tui.kernel.trace.clock import trace_now_ns
from ktstr_tui.kernel.trace.reader import TraceReader

_NONSENSE = (
    *(LookupError, ValueError, ArithmeticError, RecursionError, MemoryError, struct.error),
    *(BadDataError, FaultError, MissingDebugInfoError, ObjectAbsentError, OutOfBoundsError),
)
"""What damaged symbols, types and notes end in, far from where they are read."""


class KernelView:
    """Typed access to a kernel in guest RAM.

    Args:
        parts: What ``open_parts`` gave.
        typed_ms: How long it took.
    """

    def __init__(self, parts: KernelParts, typed_ms: float = 0.0) -> None:
        self.prog: Program = parts.prog
        self.btf: Btf = parts.btf
        self.release: str = parts.info.release
        self.vmcoreinfo: bytes = parts.info.note
        """The kernel's own note for crash dumps, which spares whoever opens this memory again the search for it."""
        self.space: AddressSpace = parts.space
        self.symbols = Symbols(parts.symbols)
        self.cpus = Cpus(self.btf, self.symbols, self.space)
        self.nr_cpus: int = self.cpus.count
        self.hz, self.hz_source = find_hz(self.btf, self.symbols, self.space)
        self._jiffies = self.symbols.find("jiffies") or self.symbols.address("jiffies_64")
        self.scx: Scx | None = None
        self.scx_missing: str | None = None
        """Why there is no ``scx``."""
        self.tasks = Tasks(self.btf, self.cpus)
        self._init = InitProgram(self.btf, self.symbols)
        try:
            self.scx = Scx(self.btf, self.symbols, self.cpus)
            self.dsqs = Dsqs(self.btf, self.symbols, self.cpus, self.space)
            self.sched_tree = SchedTree(self.btf, self.symbols, self.scx)
        except BtfError as problem:
            self.scx, self.scx_missing = None, problem.message
        self.bpf_symbols = BpfSymbols(self.btf, self.symbols)
        self.bpf_lines = BpfLines(self.btf)
        self._builtin: tuple[tuple[object, ...], BuiltinDsqs] | None = None
        self.typed_ms: float = typed_ms

    @classmethod
    def open(cls, ram: RamImage, vmcoreinfo: bytes | None = None) -> KernelView:
        """Open the kernel in ``ram``.

        Args:
            ram: Guest memory, live or stored.
            vmcoreinfo: What ``find_vmcoreinfo`` gave, to spare a second search.

        Raises:
            KernelNotFound: If there is none yet, or it lacks kallsyms or BTF, or these make no sense.
        """
        start = time.perf_counter()
        try:
            view = cls(open_parts(ram, vmcoreinfo))
            view.typed_ms = (time.perf_counter() - start) * 1e3
            view.prepare()
        except _NONSENSE as problem:
            text = f"kernel metadata is inconsistent ({type(problem).__name__}: {problem})"
            raise KernelNotFound(text, "a program in the guest may have overwritten it") from problem
        return view

    def prepare(self) -> None:
        """Load what the first capture would load while the guest is frozen."""
        _ = self.unwinder, self.maps, self.trace
        if self.scx is not None:
            self.builtin_dsqs(None)

    def fresh_space(self) -> AddressSpace:
        """Return the memory with no remembered translations, for one look."""
        return self.space.clone()

    @property
    def jiffies_address(self) -> int:
        """Where the kernel's tick counter is."""
        return self._jiffies

    def jiffies(self) -> int:
        """Read the kernel's tick counter."""
        return self.space.u64(self._jiffies)

    def trace_now_ns(self, space: AddressSpace) -> int:
        """Read the clock of the trace, as near as it is known; 0 when it is not."""
        if isinstance(self.trace, str):
            return 0
        try:
            clocks = [
                self.cpus.rq.read(space, self.cpus.rq_address(cpu))["clock"] for cpu in range(self.nr_cpus)
            ]
        except MemoryReadError:
            clocks = []
        return trace_now_ns(self.symbols, space, self.trace.last_ns(space), clocks)

    def age_ms(self, runnable_at: int, jiffies: int) -> float:
        """Return the milliseconds between two tick counts, 0 when a tick came in between.

        Raises:
            Torn: If ``runnable_at`` lies in the future by more than a second.
        """
        ticks = (jiffies - runnable_at) & MASK64
        if ticks >> 63:
            if MASK64 + 1 - ticks > self.hz:
                raise Torn(f"runnable_at {runnable_at} is later than jiffies {jiffies}")
            ticks = 0
        return ticks * 1e3 / self.hz

    def scx_root_slot(self) -> int:
        """Return the address of the variable ``scx_root``; raises ``BtfError`` on a kernel without sched_ext."""
        scx = self._need_scx()
        assert scx.root_slot is not None
        return scx.root_slot

    def scx_root(self) -> int | None:
        """Read the address of the loaded scheduler; None when there is none."""
        return self._need_scx().root(self.space)

    def exit_kind_address(self, sch: int) -> int:
        """Return the address of ``sch->exit_kind``, four bytes wide."""
        return sch + self._need_scx().exit_kind_offset

    def exit_kind(self, sch: int) -> int:
        """Read ``sch->exit_kind``; raises ``MemoryReadError``."""
        return self._need_scx().exit_kind(self.space, sch)

    def subs(self, root: int | None, *, frozen: bool) -> Subs:
        """Read the schedulers below the loaded one.

        Raises:
            Torn: If the tree changed meanwhile, or is none; not when the guest is frozen.
            MemoryReadError: If a pointer led nowhere; not when the guest is frozen.
        """
        return NO_SUBS if self.scx is None else self.sched_tree.read(self.fresh_space(), root, frozen=frozen)

    def newest_sub_slot(self, root: int) -> int | None:
        """Return the address of the pointer that links every new scheduler; None when none can attach below."""
        if self.scx is None or not self.sched_tree.accepts(self.fresh_space(), root):
            return None
        return self.sched_tree.newest_slot

    def exit_info(self, sch: int) -> ExitText | None:
        """Read ``sch->exit_info``, which stays when ``exit_kind`` moves on to DONE; None when unreadable."""
        try:
            return self._need_scx().exit_text(self.space, sch)
        except (MemoryReadError, Torn):
            return None

    def exit_kind_name(self, kind: int) -> str:
        """Return ``ERROR_STALL`` for 1026, in this kernel's words; the number for an unknown one."""
        return self._need_scx().exit_kind_name(kind)

    def init_comm(self) -> str | None:
        """Read the comm of process 1; None when it cannot be read."""
        try:
            return self._init.comm(self.fresh_space())
        except MemoryReadError:
            return None

    def read_scheduler_name(self, sch: int) -> str | None:
        """Read ``sch->ops.name``; None when it cannot be read."""
        try:
            return self._need_scx().read(self.space, sch).name
        except (MemoryReadError, Torn):
            return None

    def _need_scx(self) -> Scx:
        if self.scx is None:
            raise BtfError(self.scx_missing or "this kernel has no sched_ext")
        return self.scx

    def builtin_dsqs(self, sched: int | None, subs: Subs = NO_SUBS) -> BuiltinDsqs:
        """Find the kernel's own queues, remembered while the same schedulers are loaded."""
        space, known, cgroups = self.fresh_space(), self._builtin, subs.cgroups()
        identity = self.dsqs.identity(space, sched, cgroups)
        if known is None or known[0] != identity:
            known = self._builtin = (identity, self.dsqs.builtin(space, sched, cgroups))
        return known[1]

    @cached_property
    def unwinder(self) -> Unwinder | OrcRefused:
        """The stack unwinder, or why there is none; loaded at first use (a few milliseconds)."""
        try:
            return Unwinder(self.space, self.symbols)
        except OrcRefused as refused:
            return refused

    @cached_property
    def trace(self) -> TraceReader | str:
        """The reader of the kernel's trace, or why there is none."""
        try:
            return TraceReader(self.btf, self.symbols, self.space, self.nr_cpus)
        except BtfError as problem:
            return problem.message

    @cached_property
    def expressions(self) -> Expressions:
        """What finds the address of a C expression."""
        return Expressions(self.btf, self.symbols, self.cpus)

    @cached_property
    def maps(self) -> BpfMaps:
        """BPF maps."""
        return BpfMaps(self.btf, self.symbols, self.cpus)
