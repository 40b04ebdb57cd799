"""Reading data that somebody else is changing.

A running kernel does not wait for its observer, so a list may be re-linked in the middle of a walk and a
pointer may lead into memory that was freed a microsecond ago. Readers notice (a back pointer that does not
match, a value that no kernel would hold, an address that is not mapped) and raise; the look is then repeated
a few times and at last given up. What is given up is reported as torn, never shown as a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.errors import GuestError

MAX_TRIES = 3
MAX_PLAUSIBLE_DEPTH = 10_000
"""A queue that claims to be deeper than this was read wrong."""
MAX_PID = 1 << 22
_T = TypeVar("_T")


class Torn(GuestError):
    """What was read cannot have been true at any one moment."""


@dataclass(slots=True)
class Attempts:
    """Counts of one sample."""

    retries: int = 0
    torn: int = 0

    def run(self, look: Callable[[], _T]) -> _T:
        """Call ``look`` again while its result is torn, and return it.

        Raises:
            Torn: When the last try was torn too; it says how.
        """
        for attempt in range(MAX_TRIES):
            try:
                return look()
            except (Torn, MemoryReadError) as problem:
                if attempt + 1 == MAX_TRIES:
                    self.torn += 1
                    raise Torn(f"torn: {problem.message}") from problem
                self.retries += 1
        raise AssertionError("unreachable")


def plausible_depth(depth: int, what: str) -> int:
    """Return ``depth`` itself; raises ``Torn`` when no queue is that deep."""
    if not 0 <= depth <= MAX_PLAUSIBLE_DEPTH:
        raise Torn(f"{what} of {depth} is implausible")
    return depth


def plausible_pid(pid: int) -> int:
    """Return ``pid`` itself; raises ``Torn`` when Linux gives no such pid."""
    if not 0 <= pid <= MAX_PID:
        raise Torn(f"pid {pid} is implausible")
    return pid


def text(raw: bytes) -> str:
    """Decode a NUL-terminated ``char`` array."""
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
