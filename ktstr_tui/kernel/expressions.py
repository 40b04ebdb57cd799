"""Where in memory a C expression points: ``scx_root->exit_kind``, ``runqueues@1.nr_running``, ``0xffff…``.

An expression is *compiled* once, against symbols and types, into a base address and a chain of hops through
pointers. Compiling can be slow and can fail for many reasons; *locating* afterwards is a handful of reads, cheap
enough to be repeated at every stop, and follows the pointers to wherever they lead by then.

expression := '*' expression | '&' expression | '(' type ')' expression | place
place := (symbol ['@' cpu] | 0xADDRESS | '(' expression ')') {'->' member | '.' member | '[' index ']'}

A text that is the name of a symbol, character by character, is that symbol, whatever is in it. BTF knows the
types of per-CPU variables only; those of the globals that matter are listed in `finders`, and everything else
can be given a type by a cast: ``((struct task_struct *)0xffff…)->scx.flags``. As in drgn, ``.`` and ``->``
mean the same. What is known not to be a pointer is neither followed nor cast to one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.c_types import TYPE_WORDS, CType, CTypes, ExpressionError, near
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.finders import GLOBAL_TYPES
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.model.errors import GuestError

__all__ = ["MAX_TEXT", "ExpressionError", "Expressions", "Location", "NullPointer", "check_address"]

MAX_TEXT = 256
POINTER_BYTES = 8
_MAX_DEPTH = 32
_TOKEN = re.compile(r"\s*(->|0[xX][0-9a-fA-F]+|[0-9]+|[A-Za-z_$][\w$]*|[*&().@\[\]])")
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")


class NullPointer(GuestError):
    """A pointer on the way is NULL at the moment."""


@dataclass(frozen=True, slots=True)
class Location:
    """A compiled expression.

    Args:
        text: The expression.
        base: Where the way begins.
        hops: Pointers to follow: how far from here the pointer lies, and what it is called.
        offset: From the last pointer's target (or ``base``) to the place.
        size_bytes: Bytes of the object there; None when its type is not known, or it is no scalar.
        type: Of the object there; None when it is not known.
    """

    text: str
    base: int
    hops: tuple[tuple[int, str], ...] = ()
    offset: int = 0
    size_bytes: int | None = None
    type: CType | None = None

    @property
    def moves(self) -> bool:
        """Whether the place depends on pointers in memory."""
        return bool(self.hops)

    def address(self, space: AddressSpace) -> int:
        """Where the place is now.

        Raises:
            NullPointer: A pointer on the way is NULL.
            MemoryReadError: A pointer on the way leads nowhere.
        """
        here = self.base
        for offset, name in self.hops:
            here = space.u64(here + offset & MASK64)
            if not here:
                raise NullPointer(f"{name} is NULL")
        return here + self.offset & MASK64


def check_address(address: int, length: int) -> None:
    """Whether a write to ``length`` bytes at ``address`` can be watched for.

    Raises:
        ExpressionError: It cannot; the message says why.
    """
    if address == 0:
        raise ExpressionError("address 0 cannot be watched")
    if address < KERNEL_HALF:
        raise ExpressionError(
            f"{address:#x} is in the user half of the address space",
            "only kernel memory can be watched: user addresses differ between processes",
        )
    if address % length:
        raise ExpressionError(
            f"{address:#x} is not aligned to {length} bytes", f"watch {address - address % length:#x} instead"
        )


@dataclass(frozen=True, slots=True)
class _Value:
    """What a part of an expression means: an object in memory, or a pointer that is known as a number."""

    at: Location
    type: CType | None
    is_number: bool = False
    """``at`` is not where the value lies, it is the value."""


class Expressions:
    """Compiles expressions for one kernel.

    Args:
        btf: Its types.
        symbols: Its kallsyms.
        cpus: Its CPUs.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus) -> None:
        self.btf = btf
        self.symbols = symbols
        self.cpus = cpus
        self.types = CTypes(btf)
        start, end = symbols.find("__per_cpu_start"), symbols.find("__per_cpu_end")
        self._per_cpu = range(0) if start is None or end is None else range(start, end)

    def compile(self, text: str, *, suggest: bool = True) -> Location:
        """Find out where ``text`` points.

        Args:
            text: The expression.
            suggest: Whether an unknown symbol is answered with names that look like it, which takes long.

        Raises:
            ExpressionError: It is invalid.
        """
        text = text.strip()
        if not text or len(text) > MAX_TEXT or not text.isprintable():
            raise ExpressionError(f"an expression has 1 to {MAX_TEXT} printable characters")
        try:
            value = self._symbol(text) if self.symbols.find_all(text) else _Parser(self, text, suggest).run()
        except BtfError as error:
            raise ExpressionError(f"{text}: {error.message}") from error
        kind = None if value.is_number else value.type
        return replace(value.at, text=text, size_bytes=self._scalar_bytes(value), type=kind)

    def _scalar_bytes(self, value: _Value) -> int | None:
        size = 0 if value.type is None or value.is_number else self.types.size_of(value.type)
        return size if size in (1, 2, 4, 8) else None

    # -- names -----------------------------------------------------------------------------------------

    def symbol(self, name: str, cpu: int | None, suggest: bool) -> _Value:
        """The variable of that name, on a CPU when it has one for each."""
        if not self.symbols.find_all(name):
            alike = near(name, self.symbols.names()) if suggest else []
            hint = f"Did you mean {', '.join(alike)}?" if alike else "names are those of /proc/kallsyms"
            raise ExpressionError(f"this kernel has no symbol {name!r}", hint)
        return self._symbol(name, cpu)

    def _symbol(self, name: str, cpu: int | None = None) -> _Value:
        addresses = self.symbols.find_all(name)
        if len(addresses) > 1:
            some = ", ".join(f"{it:#x}" for it in addresses[:4])
            raise ExpressionError(
                f"{len(addresses)} symbols are called {name}", f"name the one you mean by its address: {some}"
            )
        (address,) = addresses
        if address in self._per_cpu:
            if cpu is None:
                raise ExpressionError(f"{name} is a per-CPU variable", f"name the CPU: {name}@0")
            if not 0 <= cpu < self.cpus.count:
                raise ExpressionError(f"there is no CPU {cpu}", f"the last one is {self.cpus.count - 1}")
            address = self.cpus.per_cpu(address, cpu)
            name = f"{name}@{cpu}"
        elif cpu is not None:
            raise ExpressionError(f"{name} is not per CPU", f"leave out @{cpu}")
        return _Value(Location(name, address), self._type_of(name.partition("@")[0]))

    def _type_of(self, name: str) -> CType | None:
        if name in GLOBAL_TYPES:
            return self.types.named(GLOBAL_TYPES[name])
        variable = self.btf.find(name, Kind.VAR)
        return None if variable is None else CType(self.btf.record(variable).size_or_type)


class _Parser:
    """One expression. Every method returns what the part it read means."""

    def __init__(self, owner: Expressions, text: str, suggest: bool) -> None:
        self._owner = owner
        self._types = owner.types
        self._text = text
        self._suggest = suggest
        self._tokens = _split(text)
        self._at = 0
        self._depth = 0

    def run(self) -> _Value:
        value = self._unary()
        if self._at < len(self._tokens):
            raise ExpressionError(f"{self._text}: {self._peek()!r} is unexpected here")
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        found = self._peek() in wanted
        self._at += found
        return found

    def _expect(self, pattern: re.Pattern[str] | str, what: str) -> str:
        token = self._peek()
        if not (token == pattern if isinstance(pattern, str) else pattern.fullmatch(token)):
            raise ExpressionError(f"{self._text}: {what} expected before {token or 'the end'!r}")
        self._at += 1
        return token

    def _unary(self) -> _Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError(f"{self._text[:40]}…: nested too deeply")
        try:
            if self._take("*"):
                value = self._unary()
                self._require_pointer(value)
                return self._follow(value)
            if self._take("&"):
                return self._address_of(self._unary())
            if self._is_cast():
                return self._cast()
            return self._postfix(self._primary())
        finally:
            self._depth -= 1

    def _is_cast(self) -> bool:
        """``(`` and a word that only a type begins with, or ``(NAME *``…``)``, which nothing else looks like."""
        ahead = self._tokens[self._at : self._at + _MAX_DEPTH]
        if len(ahead) < 3 or ahead[0] != "(":
            return False
        behind_stars = next((it for it in ahead[2:] if it != "*"), "")
        return ahead[1] in TYPE_WORDS or (ahead[2] == "*" and behind_stars == ")")

    def _cast(self) -> _Value:
        words = []
        self._at += 1
        while self._peek() not in (")", ""):
            words.append(self._peek())
            self._at += 1
        name = " ".join(words)
        self._expect(")", "')'")
        kind = self._types.named(name)
        if kind is None:
            raise ExpressionError(f"this kernel's BTF has no type {name!r}")
        value = self._unary()
        if self._types.target_of(kind) is not None:
            self._require_room_for_pointer(value, name)
        return replace(value, type=kind)

    def _require_pointer(self, value: _Value) -> None:
        """Refuse to follow what holds no address."""
        if self._is_pointer(value):
            return
        text = value.at.text
        if value.type is None:
            raise ExpressionError(
                f"*{text}: the type of {text} is not known: BTF describes per-CPU variables only",
                f"leave out the '*', or give it a type: *(unsigned long *){text}",
            )
        name = self._types.name_of(value.type)
        raise ExpressionError(f"*{text}: {text} is not a pointer: its type is {name}", "leave out the '*'")

    def _require_room_for_pointer(self, value: _Value, wanted: str) -> None:
        """Refuse to take for a pointer what cannot hold one; 64 bits of an integer may be an address."""
        kind = value.type
        if value.is_number or kind is None or self._is_pointer(value):
            return
        if self._types.is_integer(kind) and self._types.size_of(kind) == POINTER_BYTES:
            return
        text, name = value.at.text, self._types.name_of(kind)
        raise ExpressionError(
            f"({wanted}){text}: {text} cannot hold a pointer: its type is {name}",
            f"its address is &{text}",
        )

    def _primary(self) -> _Value:
        if self._take("("):
            value = self._unary()
            self._expect(")", "')'")
            return value
        if _NUMBER.fullmatch(self._peek()):
            address = self._number()
            return _Value(Location(f"{address:#x}", address), None, is_number=True)
        name = self._expect(_NAME, "a symbol")
        cpu = self._number() if self._take("@") else None
        return self._owner.symbol(name, cpu, self._suggest)

    def _number(self) -> int:
        token = self._expect(_NUMBER, "a number")
        number = int(token, 16 if token[1:2] in ("x", "X") else 10)
        if number > MASK64:
            raise ExpressionError(f"{token} has more than 64 bits")
        return number

    def _postfix(self, value: _Value) -> _Value:
        while True:
            if self._take(".", "->"):
                value = self._member(value, self._expect(_NAME, "a member"))
            elif self._take("["):
                index = self._number()
                self._expect("]", "']'")
                value = self._element(value, index)
            else:
                return value

    def _is_pointer(self, value: _Value) -> bool:
        return value.is_number or (value.type is not None and self._types.target_of(value.type) is not None)

    def _follow(self, value: _Value) -> _Value:
        """What a pointer points to."""
        target = None if value.type is None else self._types.target_of(value.type)
        at = value.at
        if not value.is_number:
            at = Location(at.text, at.base, (*at.hops, (at.offset, at.text)))
        return _Value(replace(at, text=f"*{value.at.text}"), target)

    def _address_of(self, value: _Value) -> _Value:
        if value.is_number:
            raise ExpressionError(f"{value.at.text} is a number and has no address")
        kind = None if value.type is None else CType(value.type.id, (None, *value.type.around))
        return _Value(replace(value.at, text=f"&{value.at.text}"), kind, is_number=True)

    def _member(self, value: _Value, name: str) -> _Value:
        text, arrow = value.at.text, "."
        if self._is_pointer(value):
            value, arrow = self._follow(value), "->"
        if value.type is None:
            raise ExpressionError(
                f"the type of {text} is not known: BTF describes per-CPU variables only",
                f"give it one by a cast: ((struct NAME *){text})->{name} if it is a pointer, "
                f"((struct NAME *)&{text})->{name} if it is the struct itself",
            )
        place = self._types.member(value.type, name)
        at = replace(value.at, offset=value.at.offset + place.bit_offset // 8, text=f"{text}{arrow}{name}")
        return _Value(at, CType(place.type_id))

    def _element(self, value: _Value, index: int) -> _Value:
        text = f"{value.at.text}[{index}]"
        array = None if value.type is None or value.is_number else self._types.array_of(value.type)
        if array is not None:
            element, count = array
            # A length of 0 is that of a flexible array.
            if count and index >= count:
                raise ExpressionError(f"{value.at.text} has {count} elements, so there is no [{index}]")
        else:
            target = self._follow(value) if self._is_pointer(value) else None
            if target is None or target.type is None:
                kind = "not known" if value.type is None else self._types.name_of(value.type)
                raise ExpressionError(f"{value.at.text} is not an array: its type is {kind}")
            value, element = target, target.type
        size = self._types.size_of(element)
        if not size:
            raise ExpressionError(f"the elements of {value.at.text} have no known size")
        return _Value(replace(value.at, offset=value.at.offset + index * size, text=text), element)


def _split(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if not text[at:].strip():
                break
            raise ExpressionError(f"{text}: {text[at:].strip()[:1]!r} is unexpected")
        tokens.append(found.group(1))
        at = found.end()
    return tokens
