"""Functions of the kernel by name, and what they were called with: their parameters from BTF, values from registers.

The registers are those of the first instruction, so the calling convention says where each argument is (System V ABI,
AMD64 supplement, 3.2.3): integers and pointers in six registers, and then on the stack above the return address. A
struct that is passed by value may be in either, so the arguments end before one. The compiler drops arguments of
static functions that it changes; it names those anew (``.isra.0``), and BTF does not describe them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.c_types import CType, CTypes, ExpressionError, near
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.typed_values import TypedValues
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import Argument
from ktstr_tui.model.text import counted

IN_REGISTERS: Final = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
MAX_ARGUMENTS: Final = 12
_SCALARS = (Kind.INT, Kind.PTR, Kind.ENUM, Kind.ENUM64)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that may be called.

    Args:
        name: Its name.
        address: Of its first instruction.
        parameters: Name and type id of each, as far as they can be told; None when BTF does not describe it.
        note: Why not all of them can be told, and functions that may have been meant; empty when nothing is to be said.
    """

    name: str
    address: int
    parameters: tuple[tuple[str, int], ...] | None
    note: str = ""

    def arguments(self, view: KernelView, registers: Mapping[str, int]) -> tuple[Argument, ...]:
        """What it was called with; needs a guest that is stopped at its first instruction.

        Args:
            view: The guest's memory.
            registers: Of the vCPU that calls.
        """
        values, types = TypedValues(view.btf, view.symbols), CTypes(view.btf)
        found = []
        for number, (name, type_id) in enumerate(self.parameters or ()):
            raw, kind = _raw(view, registers, number), CType(type_id)
            if raw is None:
                value = "unreadable"
            else:
                size = view.btf.size_of(type_id)
                decoded = values.decode(kind, raw.to_bytes(8, "little")[:size])
                value = f"{raw:#x}" if decoded is None else decoded.text
                if raw and _is_task(view.btf, type_id):
                    value = _task(view, raw) or value
                elif name == "dsq_id":
                    value = dsq_words(view.btf, raw)
            found.append(Argument(name=name, type=types.name_of(kind), value=value))
        return tuple(found)


def find_function(btf: Btf, symbols: Symbols, name: str, *, suggest: bool = True) -> Function:
    """The function of a name.

    Args:
        btf: Describes its parameters.
        symbols: Know where it is.
        name: Its name.
        suggest: Whether an unknown one is answered with names that look like it, which takes long.

    Raises:
        ExpressionError: There is none, or several.
    """
    found = symbols.find_all(name) if name.isprintable() else []
    if not found:
        alike = near(name, btf.function_index) if suggest else []
        raise ExpressionError(
            f"this kernel has no function {name!r}", f"Did you mean {', '.join(alike)}?" if alike else ""
        )
    if len(found) > 1:
        raise ExpressionError(f"{counted(len(found), 'function')} of this kernel are called {name}")
    start, end = symbols.find("_stext"), symbols.find("_etext")
    if start is not None and end is not None and not start <= found[0] < end:
        raise ExpressionError(f"{name} is data, not a function", f"watch writes to it: watch add {name}")
    parameters, cut = _parameters(btf, name)
    # BPF programs call the version of a kfunc that they were built for: scx_bpf_dsq_insert___v2.
    versions = sorted(it for it in btf.function_index if it.startswith(f"{name}___"))
    note = "; ".join(filter(None, (cut, f"this kernel also has {', '.join(versions)}" if versions else "")))
    return Function(name, found[0], parameters, note)


def dsq_words(btf: Btf, dsq_id: int) -> str:
    """A DSQ's id as the kernel's enumerators name it; that of a scheduler's own queue as a number."""
    names = ("SCX_DSQ_LOCAL", "SCX_DSQ_GLOBAL", "SCX_DSQ_BYPASS")
    named = next((it for it in names if btf.enum_value(it, -1) == dsq_id), None)
    if named is not None:
        return named
    on = btf.enum_value("SCX_DSQ_LOCAL_ON", 0)
    if on and dsq_id & on == on:
        return f"SCX_DSQ_LOCAL_ON | {dsq_id & btf.enum_value('SCX_DSQ_LOCAL_CPU_MASK', 0xFFFF_FFFF)}"
    return f"{dsq_id:#x}"


def _parameters(btf: Btf, name: str) -> tuple[tuple[tuple[str, int], ...] | None, str]:
    """Those that can be told, and why not all."""
    type_id = btf.function_index.get(name)
    if type_id is None:
        return None, "BTF does not describe its arguments"
    try:
        known = btf.parameters(btf.resolve(btf.record(type_id).size_or_type).id)
        for number, (parameter, kind) in enumerate(known):
            if not kind or number == MAX_ARGUMENTS:
                return known[:number], "it takes more arguments than are told"
            if btf.resolve(kind).kind not in _SCALARS:
                return known[:number], f"{parameter} is passed by value, and so is not told"
    except BtfError as error:
        return None, error.message
    return known, ""


def _raw(view: KernelView, registers: Mapping[str, int], number: int) -> int | None:
    if number < len(IN_REGISTERS):
        return registers.get(IN_REGISTERS[number])
    stack = registers.get("rsp")
    if stack is None:
        return None
    try:
        return view.fresh_space().u64(stack + 8 * (number - len(IN_REGISTERS) + 1))
    except MemoryReadError:
        return None


def _is_task(btf: Btf, type_id: int) -> bool:
    record = btf.resolve(type_id)
    if record.kind != Kind.PTR:
        return False
    target = btf.resolve(record.size_or_type)
    return target.kind == Kind.STRUCT and target.name == "task_struct"


def _task(view: KernelView, address: int) -> str | None:
    try:
        row = Layout(view.btf, "task_struct", {"pid": "pid", "comm": "comm"}).read(
            view.fresh_space(), address
        )
    except (MemoryReadError, BtfError):
        return None
    return f"{text(row['comm'])}[{row['pid']}]"
