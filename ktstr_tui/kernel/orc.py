"""Exact kernel stacks from the kernel's own ORC tables.

For every range of code addresses the tables say where the caller's stack pointer, return address and frame
pointer are. They lie in memory as two arrays: sorted addresses, each relative to its own place, and 6-byte
entries.

Mirrors ``struct orc_entry`` (arch/x86/include/asm/orc_types.h): s16 sp_offset, s16 bp_offset, then 16 bits: sp_reg (4
of them), bp_reg (4), type (3), signal (1). What to do with them is in arch/x86/kernel/unwind_orc.c, step by step:
``unwind_next_frame()``.

The hard thing: the numbers that stand for registers in an entry have changed, and nothing in the entry says so. The 20
bytes before the tables do: since Linux kernel commit b9f174c811e3 ("x86/unwind/orc: Add ELF section with ORC version
identifier") (in v6.4) they are a hash of the header that defines the numbers. A hash that is not known here is
calibrated (nearly every function begins with ``SP + 8``, so the number of SP shows itself) and refused when the answer
is not clear. Kernels before v6.4 have other types of entries, and no hash; they have no sched_ext either.

JIT-compiled BPF has no entries but keeps a frame pointer; such a frame is followed by it and marked as a guess, as is
the step of any other code that the tables do not cover.

How exact is this? A stack that was copied while the guest was frozen is exact but for frames marked as a guess. That of
a sleeping task in a running guest is exact while it sleeps.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.model.errors import GuestError

MAX_FRAMES = 64
NEVER_RAN = "has not run yet"
_MAX_ENTRIES = 8_000_000
_HASH_BYTES = 20
_ENTRY = struct.Struct("<hhH")
_UNDEFINED, _END_OF_STACK, _CALL, _REGS, _REGS_PARTIAL = range(5)

# Since Linux kernel commit 1735858caa4b ("objtool/x86: Reorder ORC register numbering") (in v7.1) the numbers are the
# new ones. Before that, from commit fb799447ae29 ("x86,objtool: Split UNWIND_HINT_EMPTY in two") (in v6.4) on, which
# gave the types of entries their numbers, they are the old ones.
_OLD_NUMBERS = {
    0: "undefined", 1: "prev_sp", 2: "rdx", 3: "rdi", 4: "rbp", 5: "rsp", 6: "r10", 7: "r13",
    8: "bp_indirect", 9: "sp_indirect",
}  # fmt: skip
_NEW_NUMBERS = {
    0: "undefined", 1: "rax", 2: "rdx", 3: "rsp", 4: "rbp", 5: "rdi", 6: "r10", 7: "r13",
    8: "prev_sp", 9: "sp_indirect", 10: "bp_indirect",
}  # fmt: skip
_KNOWN = {
    "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24": _OLD_NUMBERS,
    "137c36ad7627c4dd55932176bb0ecdbd5041fc82": _NEW_NUMBERS,
}
_PT_REGS = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbp": 32, "rbx": 40, "r11": 48, "r10": 56, "r9": 64, "r8": 72,
    "rax": 80, "rcx": 88, "rdx": 96, "rsi": 104, "rdi": 112,
}  # fmt: skip
_IRET_IP, _IRET_CS, _IRET_SP = 128, 136, 152
_CALIBRATION_SAMPLES = 400
_CALIBRATION_SHARE = 0.9

ReadU64 = Callable[[int], int]


class OrcRefused(GuestError):
    """The kernel's unwind tables are missing or in an unknown layout."""


class RawFrame(NamedTuple):
    """A return address, or at the top the address that the CPU executes."""

    address: int
    guess: bool
    exact: bool = False
    """This is executed; a return address belongs to the call before it."""


class Unwinder:
    """Walks stacks of one kernel.

    Args:
        space: Its memory; the tables are copied from it once (4 MB, a few milliseconds).
        symbols: Its kallsyms.

    Raises:
        OrcRefused: If the tables are missing, damaged or of an unknown layout.
    """

    def __init__(self, space: AddressSpace, symbols: Symbols) -> None:
        self._space = space
        try:
            self._base = symbols.address("__start_orc_unwind_ip")
            stop = symbols.address("__stop_orc_unwind_ip")
            rows = symbols.address("__start_orc_unwind")
            self._text = (symbols.address("_text"), symbols.find("_einittext") or symbols.address("_etext"))
        except LookupError as problem:
            raise OrcRefused(
                f"no ORC unwind tables: {problem}", "build with CONFIG_UNWINDER_ORC=y"
            ) from problem
        count = (stop - self._base) // 4
        if not 0 < count <= _MAX_ENTRIES:
            raise OrcRefused(f"ORC tables of {count} entries are implausible")
        self._ips = array("i", space.read(self._base, 4 * count))
        self._rows = space.read(rows, _ENTRY.size * count)
        self.header_hash = space.read(self._base - _HASH_BYTES, _HASH_BYTES).hex()
        self.numbers = _KNOWN.get(self.header_hash) or self._calibrated()
        # Since Linux kernel commit 3aec4ecb3d1f ("x86: Rewrite ret_from_fork() in C") (in v6.5) new tasks begin in
        # "ret_from_fork_asm". Before that, in "ret_from_fork".
        self._first = symbols.find("ret_from_fork_asm") or symbols.find("ret_from_fork")

    def __len__(self) -> int:
        """Return the number of entries of the tables."""
        return len(self._ips)

    def _calibrated(self) -> dict[int, str]:
        """The numbering that fits a sample spread over the tables."""
        step = max(1, len(self._ips) // _CALIBRATION_SAMPLES)
        return calibrate((self.entry(k) for k in range(0, len(self._ips), step)), self.header_hash)

    def entry(self, place: int) -> tuple[int, int, int]:
        """Return ``(sp_offset, bp_offset, bits)`` of one entry."""
        return _ENTRY.unpack_from(self._rows, _ENTRY.size * place)

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """All entries, ascending: from which address on, and ``(sp_offset, bp_offset, bits)``."""
        base = self._base
        for place, (ip, entry) in enumerate(zip(self._ips, _ENTRY.iter_unpack(self._rows), strict=True)):
            yield (base + 4 * place + ip, *entry)

    @property
    def end(self) -> int:
        """Where the code that the entries are of ends."""
        return self._text[1]

    def _lookup(self, address: int) -> tuple[int, int, int] | None:
        """The entry that covers a code address; None where the tables end."""
        start, end = self._text
        if not start <= address < end:
            return None
        base, ips = self._base, self._ips
        at = bisect_right(range(len(ips)), address, key=lambda k: base + 4 * k + ips[k]) - 1
        return None if at < 0 else self.entry(at)

    def unwind_registers(
        self,
        rip: int,
        rsp: int,
        rbp: int,
        others: Mapping[str, int] | None = None,
        read: ReadU64 | None = None,
    ) -> tuple[list[RawFrame], str]:
        """Unwind the stack of a CPU at ``rip``, innermost first; also return why it ends.

        Args:
            rip: Instruction pointer.
            rsp: Stack pointer.
            rbp: Frame pointer.
            others: More registers by name, for the few places whose caller is found through another one.
            read: Reads a word of stack memory; the live memory when None.
        """
        return _Walk(self, rip, rsp, rbp, dict(others or {}), True, read or self._space.clone().u64).run()

    def unwind_task(self, sp: int, read: ReadU64 | None = None) -> tuple[list[RawFrame], str]:
        """Unwind the stack of a task that does not run, from its ``thread.sp``.

        There the context switch saved r15, r14, r13, r12, rbx, rbp and the return address
        (``struct inactive_task_frame``). That of a task which was forked and has not run is where it will begin: no
        function was called yet.
        """
        get = read or self._space.clone().u64
        try:
            rbp, rip = get(sp + 40), get(sp + 48)
        except MemoryReadError as problem:
            return [], f"unreadable: {problem.message}"
        if rip == self._first:
            return [], NEVER_RAN
        return _Walk(self, rip, sp + 56, rbp, {}, False, get).run()


class _Stop(Exception):
    """The walk is over, for the reason it carries."""


class _Walk:
    """One stack. Mirrors the steps of the kernel's own ``unwind_next_frame()``."""

    def __init__(
        self,
        owner: Unwinder,
        ip: int,
        sp: int,
        bp: int,
        registers: dict[str, int],
        exact: bool,
        read: ReadU64,
    ) -> None:
        self._owner, self._read = owner, read
        self._ip, self._sp, self._bp = ip, sp, bp
        self._registers = registers
        self._exact = exact
        """The address is what is executed, not one behind a call."""

    def run(self) -> tuple[list[RawFrame], str]:
        frames: list[RawFrame] = []
        guess = False
        try:
            while len(frames) < MAX_FRAMES:
                if self._ip < KERNEL_HALF:
                    return frames, "user" if self._ip else "end of stack"
                frames.append(RawFrame(self._ip, guess, self._exact))
                guess = self._step()
        except _Stop as stop:
            return frames, str(stop)
        except MemoryReadError as problem:
            return frames, f"unreadable: {problem.message}"
        return frames, f"cut after {MAX_FRAMES} frames"

    def _step(self) -> bool:
        """Go to the caller; True when that was a guess."""
        entry = self._owner._lookup(self._ip if self._exact else self._ip - 1)
        if entry is None:
            self._follow_frame_pointer()
            return True
        sp_offset, bp_offset, bits = entry
        kind = bits >> 8 & 7
        if kind == _UNDEFINED:
            raise _Stop("no unwind entry for this address")
        if kind == _END_OF_STACK:
            raise _Stop("end of stack")
        before = self._sp
        base = self._base(bits & 15, sp_offset)
        if kind == _CALL:
            self._ip, self._sp = self._read(base - 8), base
            self._restore_bp(bits >> 4 & 15, base, bp_offset)
            self._registers = {}
        elif kind in (_REGS, _REGS_PARTIAL):
            self._restore_regs(base if kind == _REGS else base - _IRET_IP, full=kind == _REGS)
            if kind == _REGS_PARTIAL:
                self._restore_bp(bits >> 4 & 15, base, bp_offset)
        else:
            raise _Stop(f"unwind entry of unknown type {kind}")
        self._exact = bool(bits >> 11 & 1)
        if self._sp == before:
            raise _Stop("stack does not continue")
        return False

    def _base(self, number: int, offset: int) -> int:
        """The caller's stack pointer, or where saved registers lie."""
        register = self._owner.numbers.get(number, "")
        if register == "rsp":
            return self._sp + offset & MASK64
        if register == "rbp":
            return self._bp + offset & MASK64
        if register == "sp_indirect":
            return self._read(self._sp) + offset & MASK64
        if register == "bp_indirect":
            return self._read(self._bp + offset & MASK64)
        if register in self._registers:
            return self._registers[register]
        raise _Stop(f"needs register {register or number}, which is not saved")

    def _restore_bp(self, number: int, base: int, offset: int) -> None:
        how = self._owner.numbers.get(number, "")
        if how == "prev_sp":
            self._bp = self._read(base + offset & MASK64)
        elif how == "rbp":
            self._bp = self._read(self._bp + offset & MASK64)
        elif how != "undefined":
            raise _Stop(f"unknown rule {number} for the frame pointer")

    def _restore_regs(self, regs: int, *, full: bool) -> None:
        """Continue at a ``struct pt_regs``, of which a partial one has only what the CPU itself pushed."""
        if self._read(regs + _IRET_CS) & 3:
            raise _Stop("user")
        self._ip, self._sp = self._read(regs + _IRET_IP), self._read(regs + _IRET_SP)
        if full:
            self._registers = {name: self._read(regs + offset) for name, offset in _PT_REGS.items()}
            self._bp = self._registers["rbp"]

    def _follow_frame_pointer(self) -> None:
        frame = self._bp
        if frame < KERNEL_HALF or frame & 7:
            raise _Stop("no unwind entry and no frame pointer")
        if frame < self._sp:
            raise _Stop("no unwind entry, and the frame pointer points below the stack")
        self._bp, self._ip, self._sp = self._read(frame), self._read(frame + 8), frame + 16
        self._exact, self._registers = False, {}


def calibrate(entries: Iterable[tuple[int, int, int]], header_hash: str) -> dict[int, str]:
    """Find the register numbering of a sample of table entries.

    Args:
        entries: ``(sp_offset, bp_offset, bits)`` each, spread over the tables.
        header_hash: For the message.

    Raises:
        OrcRefused: If not nearly all plain entries agree on the number of SP, or no known numbering has it.
    """
    counts: dict[int, int] = {}
    for sp_offset, _, bits in entries:
        if bits >> 8 & 7 == _CALL and sp_offset == 8:
            counts[bits & 15] = counts.get(bits & 15, 0) + 1
    total = sum(counts.values())
    best = max(counts, key=lambda n: counts[n], default=0)
    if total >= _CALIBRATION_SAMPLES // 20 and counts[best] >= _CALIBRATION_SHARE * total:
        for numbers in (_NEW_NUMBERS, _OLD_NUMBERS):
            if numbers.get(best) == "rsp":
                return numbers
    raise OrcRefused(f"ORC tables of an unknown layout (header hash {header_hash})")
