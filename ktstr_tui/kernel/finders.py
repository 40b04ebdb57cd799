"""What drgn asks when it meets a name: types, variables and enumerators, answered from BTF and kallsyms.

A kernel's BTF describes the type of per-CPU variables only. The other globals that drgn's helpers and this
program look at have their types in ``GLOBAL_TYPES``; a name that is missing there cannot be read by name.

drgn has no BTF reader of its own yet. ``Module.load_btf(*, data=None, …)`` is proposed in osandov/drgn#625; `load_btf`
is called as that will be, so that it and `drgn_types` can go one day.
"""

from __future__ import annotations

from drgn import FindObjectFlags, Object, Program, Type, TypeKind, TypeKindSet
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.drgn_types import TypeFactory

GLOBAL_TYPES = {
    "__cpu_online_mask": "struct cpumask",
    "__cpu_possible_mask": "struct cpumask",
    "__cpu_present_mask": "struct cpumask",
    "__per_cpu_offset": "unsigned long [8192]",
    "btf_idr": "struct idr",
    "btf_vmlinux": "struct btf *",
    "clocksource_jiffies": "struct clocksource",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "init_uts_ns": "struct uts_namespace",
    "jiffies": "volatile unsigned long",
    "jiffies_64": "unsigned long long",
    "link_idr": "struct idr",
    "lpj_fine": "unsigned long",
    "map_idr": "struct idr",
    "modules": "struct list_head",
    "node_states": "nodemask_t [6]",
    "nr_cpu_ids": "unsigned int",
    "nr_node_ids": "unsigned int",
    "page_offset_base": "unsigned long",
    "prb": "struct printk_ringbuffer *",
    "prog_idr": "struct idr",
    "scx_aborting": "_Bool",
    "scx_bypass_depth": "int",
    "scx_enable_seq": "atomic_long_t",
    "scx_enable_state_var": "atomic_t",
    "scx_root": "struct scx_sched *",
    "scx_watchdog_timeout": "unsigned long",
    "task_state_array": "const char * const [9]",
    "tsc_khz": "unsigned int",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
}
"""Types of globals that BTF leaves out."""

_KINDS = {
    TypeKind.INT: (Kind.INT,),
    TypeKind.BOOL: (Kind.INT,),
    TypeKind.FLOAT: (Kind.FLOAT,),
    TypeKind.STRUCT: (Kind.STRUCT,),
    TypeKind.UNION: (Kind.UNION,),
    TypeKind.ENUM: (Kind.ENUM, Kind.ENUM64),
    TypeKind.TYPEDEF: (Kind.TYPEDEF,),
}


def load_btf(prog: Program, *, data: bytes) -> Btf:
    """Let a program find types, per-CPU variables and enumerators of a kernel in its BTF.

    Args:
        prog: The program; symbols must be findable already.
        data: The BTF blob of vmlinux.

    Returns:
        The parsed blob.

    Raises:
        BtfError: It is not well-formed.
    """
    btf = Btf(data)
    BtfFinder(prog, btf).register(prog)
    return btf


def load_own_types(prog: Program) -> None:
    """Let drgn, over a kernel of which it has no debug symbols, find what is in the kernel's memory: kallsyms and BTF.

    In any drgn session::

        $ drgn -c kept.core
        >>> from ktstr_tui.kernel.finders import load_own_types
        >>> load_own_types(prog)

    Args:
        prog: A core dump that ``ktstr-tui snapshot export`` wrote, or another one of a kernel with BTF.

    Raises:
        LookupError: The kernel has no kallsyms, or no BTF.
        BtfError: Its BTF is not well-formed.
    """
    prog.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(prog), enable_index=0)
    start, stop = (prog.symbol(name).address for name in ("__start_BTF", "__stop_BTF"))
    load_btf(prog, data=prog.read(start, stop - start))


class BtfFinder:
    """Answers drgn's questions about names.

    Args:
        prog: The program that asks.
        btf: The kernel's BTF.
    """

    def __init__(self, prog: Program, btf: Btf) -> None:
        self._btf = btf
        self._types = TypeFactory(prog, btf)

    def register(self, prog: Program) -> None:
        """Put both finders first."""
        prog.register_type_finder("btf", self.find_type, enable_index=0)
        prog.register_object_finder("btf", self.find_object, enable_index=0)

    def find_type(self, _prog: Program, kinds: TypeKindSet, name: str, filename: str | None) -> Type | None:
        """Called by drgn; None when BTF has no type of that name and kinds."""
        if filename is not None:
            return None
        for kind in kinds:
            for btf_kind in _KINDS.get(kind, ()):
                type_id = self._btf.find(name, btf_kind)
                if type_id is not None:
                    found = self._types.type(type_id)
                    if found.kind == kind:
                        return found
        return None

    def find_object(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        """Called by drgn; None when the name is neither an enumerator nor a variable of known type."""
        if filename is not None:
            return None
        if name not in GLOBAL_TYPES and flags & FindObjectFlags.CONSTANT:
            enumerator = self._btf.enumerator(name)
            if enumerator is not None:
                return Object(prog, self._types.type(enumerator[0]), enumerator[1])
        if not flags & FindObjectFlags.VARIABLE:
            return None
        kind = self._variable_type(prog, name)
        if kind is None:
            return None
        try:
            return Object(prog, kind, address=prog.symbol(name).address)
        except LookupError:
            return None

    def _variable_type(self, prog: Program, name: str) -> Type | None:
        if name in GLOBAL_TYPES:
            return prog.type(GLOBAL_TYPES[name])
        variable = self._btf.find(name, Kind.VAR)
        return None if variable is None else self._types.type(self._btf.record(variable).size_or_type)
