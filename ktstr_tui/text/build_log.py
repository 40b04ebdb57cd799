"""What a build or a loader printed: the line that matters, and the log with that line first."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ERROR = re.compile(r"\b(fatal )?error\b\s*(\[\w+\])?:", re.IGNORECASE)
"""As compilers write it: ``a.bpf.c:3:1: error: …``, ``error[E0425]: …``, ``ld: error: …``."""
_WEAKER = (
    re.compile(r"\bundefined (reference|symbol)\b|\bNo rule to make target\b|\bnot found\b|No such file"),
    re.compile(r"^\S*make\S*: \*\*\*"),
)
_VERIFIER_FRAME = re.compile(
    r"^(processed \d+ insns|-- (BEGIN|END) PROG|--- (begin|end) |verification time|stack depth"
    r"|libbpf: (prog|failed|map|-- )"
    r"|\d+: \([0-9a-f]{2}\)|;|\s*$|from \d+|R\d+=|mark_precise|max_states)"
)
"""Lines of a loader's log that frame the verifier's verdict, or lead to it."""


def line_that_matters(lines: Sequence[str]) -> str:
    """Return the line of a failed build that says why; the last one when none does, empty for no line."""
    for pattern in (_ERROR, *_WEAKER):
        for line in lines:
            if pattern.search(line):
                return line.strip()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def verdict_line(lines: Sequence[str]) -> str:
    """Return the line of a loader's log that says why a scheduler was refused.

    The verifier says it last, between the instruction that it objects to and its statistics.
    """
    for line in reversed(lines):
        if not _VERIFIER_FRAME.match(line):
            return line.strip()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
