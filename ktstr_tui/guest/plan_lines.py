"""Lines of the plan that the guest program reads: a word and ``key=value`` pairs. native/agent/plan.h defines them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str | int]
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-,+")


def _escape(value: str) -> str:
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in value.encode())


def plan_line(word: str, pairs: Iterable[Pair]) -> str:
    """Write one line, without its end."""
    return " ".join([word, *(f"{key}={_escape(str(value))}" for key, value in pairs)])


def cpu_list(cpus: Iterable[int]) -> str:
    """CPUs in ascending order, each once: ``0,2,3``."""
    return ",".join(str(cpu) for cpu in sorted(set(cpus)))
