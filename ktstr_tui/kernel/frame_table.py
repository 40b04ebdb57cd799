"""The kernel's ORC tables as DWARF call frame information, by which a stock gdb or lldb unwinds as the kernel does.

Both say the same: at each address, how the caller's stack pointer (in DWARF the canonical frame address, CFA), its
return address and its registers are found. DWARF is a program for each range of code: a description of a frame (FDE)
with the rules at its start, then steps to the next address and the rules that change there.

The hard things: a row that tells of saved registers (``struct pt_regs``) has other rules than its neighbours, so rows
of different kinds are different FDEs. A frame that was interrupted, or from which the stack changes, is marked as that
of a signal handler, for debuggers take the address behind it as executed and allow its caller to lie anywhere; they
show it as ``<signal handler called>``. User space begins where the stack of the kernel ends: a frame there has no
caller.

Mirrors DWARF 5, 6.4 (the section ``.debug_frame``, 32-bit format) and ``unwind_next_frame()``, as `kernel.orc` has it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

OrcRow = tuple[int, int, int, int]
"""From which address on, and ``(sp_offset, bp_offset, bits)`` of the entry."""

_REGISTERS: Final = {
    "rax": 0, "rdx": 1, "rcx": 2, "rbx": 3, "rsi": 4, "rdi": 5, "rbp": 6, "rsp": 7,
    "r8": 8, "r9": 9, "r10": 10, "r11": 11, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
}  # fmt: skip
_RBP: Final = 6
_RETURN: Final = 16
_PT_REGS: Final = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
)  # fmt: skip
_IRET_IP, _IRET_SP = 128, 152
_NONE, _CALL, _REGS, _REGS_PARTIAL = 0, 2, 3, 4
_ROWS: Final = 64
"""Of one FDE at most: whoever looks for an address goes through its FDE from the start."""
_USER: Final = (1 << 12, 1 << 47)

_SAME_VALUE, _UNDEFINED, _DEF_CFA, _DEF_CFA_EXPRESSION = 0x08, 0x07, 0x0C, 0x0F
_EXPRESSION, _OFFSET, _ADVANCE = 0x10, 0x80, 0x40
_OP_DEREF, _OP_CONSTS, _OP_PLUS, _OP_PLUS_UCONST, _OP_BREG = 0x06, 0x11, 0x22, 0x23, 0x70
_FDE = struct.Struct("<IIQQ")


class _Rules(NamedTuple):
    """What one row says."""

    kind: int
    """Of the entry; `_NONE` for all that have no caller."""
    signal: bool
    code: bytes

    def follows(self, before: _Rules) -> bool:
        """Whether both may be in one FDE. Code without a caller ends a function, and lldb takes an FDE for one."""
        return self.signal == before.signal and (
            self.kind == before.kind or (before.kind, self.kind) == (_CALL, _NONE)
        )


def make_frame_table(
    rows: Iterable[OrcRow], end: int, numbers: Mapping[int, str], bpf: tuple[int, int] | None
) -> bytes:
    """Encode the content of ``.debug_frame``.

    Args:
        rows: Ascending by address.
        end: Where the last row ends.
        numbers: What the numbers of registers in the rows mean.
        bpf: Where JIT-compiled code is, which keeps a frame pointer; None when there is none.
    """
    plain, signal = _description(b""), _description(b"zS")
    out = bytearray(plain + signal)

    def add(start: int, stop: int, code: bytes, *, is_signal: bool = False) -> None:
        body = (_uleb(0) if is_signal else b"") + code
        body += bytes(-len(body) % 8)
        out.extend(
            _FDE.pack(_FDE.size - 4 + len(body), len(plain) if is_signal else 0, start, stop - start) + body
        )

    for start, stop, rules, code in _stretches(rows, end, numbers):
        add(start, stop, code, is_signal=rules.signal)
    if bpf is not None:
        add(*bpf, bytes((_DEF_CFA, _RBP, 16, _OFFSET | _RBP, 2)))
    add(*_USER, bytes((_UNDEFINED, _RETURN)))
    return bytes(out)


def _description(augmentation: bytes) -> bytes:
    """What frames have in common (CIE): the return address is below the CFA, which is the caller's stack pointer."""
    body = (
        b"\xff\xff\xff\xff\x04" + augmentation + b"\0" + bytes((8, 0)) + _uleb(1) + _sleb(-8) + _uleb(_RETURN)
    )
    if augmentation:
        body += _uleb(0)
    body += bytes((_DEF_CFA, _REGISTERS["rsp"], 8, _OFFSET | _RETURN, 1))
    body += bytes(-(4 + len(body)) % 8)
    return struct.pack("<I", len(body)) + body


def _stretches(
    rows: Iterable[OrcRow], end: int, numbers: Mapping[int, str]
) -> Iterator[tuple[int, int, _Rules, bytes]]:
    """Rows of one kind that follow each other: where they begin and end, and the program of all of them."""
    known: dict[tuple[int, int, int], _Rules] = {}
    code, count, start, at = bytearray(), 0, 0, 0
    current: _Rules | None = None
    for address, *entry in rows:
        key = (entry[0], entry[1], entry[2])
        rules = known.get(key)
        if rules is None:
            rules = known[key] = _rules(*key, numbers)
        if current is not None and count < _ROWS and rules.follows(current):
            code += _advance(address - at) + rules.code
        else:
            if current is not None and address > start:
                yield start, address, current, bytes(code)
            code, count, start = bytearray(rules.code), 0, address
        count, at, current = count + 1, address, rules
    if current is not None and end > start:
        yield start, end, current, bytes(code)


def _rules(sp_offset: int, bp_offset: int, bits: int, numbers: Mapping[int, str]) -> _Rules:
    kind, register, how = bits >> 8 & 7, numbers.get(bits & 15, ""), numbers.get(bits >> 4 & 15, "")
    base = _base(register, sp_offset)
    if kind not in (_CALL, _REGS, _REGS_PARTIAL) or base is None:
        return _Rules(_NONE, False, bytes((_UNDEFINED, _RETURN)))
    if kind == _CALL:
        if register in ("rsp", "rbp") and sp_offset >= 0:
            code = bytes((_DEF_CFA, _REGISTERS[register])) + _uleb(sp_offset)
        else:
            code = bytes((_DEF_CFA_EXPRESSION,)) + _block(base)
        changes_stack = register not in ("rsp", "rbp")
        return _Rules(
            kind, bool(bits >> 11 & 1) or changes_stack, code + _frame_pointer(how, base, bp_offset)
        )
    regs = 0 if kind == _REGS else -_IRET_IP
    code = bytes((_DEF_CFA_EXPRESSION,)) + _block(base + _plus(regs + _IRET_SP) + bytes((_OP_DEREF,)))
    code += _saved_at(_RETURN, base + _plus(regs + _IRET_IP))
    if kind == _REGS_PARTIAL:
        return _Rules(kind, True, code + _frame_pointer(how, base, bp_offset))
    places = enumerate(_PT_REGS)
    code += b"".join(_saved_at(_REGISTERS[name], base + _plus(8 * place)) for place, name in places)
    return _Rules(kind, True, code)


def _base(register: str, offset: int) -> bytes | None:
    """The caller's stack pointer, or where saved registers lie, as an expression; None when that is not known."""
    if register in ("rsp", "rbp"):
        return _register(register, offset)
    if register == "sp_indirect":
        return _register("rsp", 0) + bytes((_OP_DEREF,)) + _plus(offset)
    if register == "bp_indirect":
        return _register("rbp", offset) + bytes((_OP_DEREF,))
    return _register(register, 0) if register in _REGISTERS else None


def _frame_pointer(how: str, base: bytes, offset: int) -> bytes:
    if how == "prev_sp":
        return _saved_at(_RBP, base + _plus(offset))
    if how == "rbp":
        return _saved_at(_RBP, _register("rbp", offset))
    return bytes((_SAME_VALUE, _RBP))


def _saved_at(register: int, expression: bytes) -> bytes:
    return bytes((_EXPRESSION, register)) + _block(expression)


def _register(name: str, offset: int) -> bytes:
    return bytes((_OP_BREG + _REGISTERS[name],)) + _sleb(offset)


def _plus(offset: int) -> bytes:
    if offset >= 0:
        return bytes((_OP_PLUS_UCONST,)) + _uleb(offset) if offset else b""
    return bytes((_OP_CONSTS,)) + _sleb(offset) + bytes((_OP_PLUS,))


def _block(expression: bytes) -> bytes:
    return _uleb(len(expression)) + expression


def _advance(by: int) -> bytes:
    if by < 0x40:
        return bytes((_ADVANCE | by,))
    if by < 0x100:
        return bytes((0x02, by))
    return struct.pack("<BH", 0x03, by) if by < 0x10000 else struct.pack("<BI", 0x04, by)


def _uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | 0x80 if value else low)
        if not value:
            return bytes(out)


def _sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        if (value, low & 0x40) in ((0, 0), (-1, 0x40)):
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)
