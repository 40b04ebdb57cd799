"""Making text of the guest safe to show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
DIRECTIONS = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Characters that change the direction of text or begin a line, as a class of a regular expression."""
SURROGATES = "\ud800-\udfff"
"""Stand for bytes of a file's name that are not UTF-8; no stream takes them."""
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{DIRECTIONS}]")
_SURROGATE = re.compile(f"[{SURROGATES}]")


def printable(text: str) -> str:
    """Strip terminal escape sequences, control and text-direction characters; keep newlines, expand tabs.

    A byte of a file's name that is no text becomes U+FFFD.
    """
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", _ESCAPES.sub("", text.expandtabs(8))))


def tag_problem(tag: str, max_characters: int) -> str:
    """Say what is wrong with the tag of a capture, which has to be seen and told from others; empty for nothing."""
    if len(tag) > max_characters:
        return f"a tag of {len(tag)} characters; at most {max_characters} are allowed"
    if not printable(tag).strip():
        return "a tag without anything to see"
    if printable(tag) != tag or "\n" in tag or tag != tag.strip():
        return "a tag with control characters, or with spaces around it"
    return ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a count with its noun: ``1 hit``, ``2 hits``; ``plural`` where an s does not do."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def runnable_tasks(count: int, lacks: str) -> str:
    """Count the runnable tasks of a capture, and say when there may be more.

    Args:
        count: Those that were read.
        lacks: What its lists lack, in words; empty when they are whole.
    """
    return counted(count, "runnable task") + (f" (incomplete, {printable(lacks)})" if lacks else "")


def task_name(comm: str | None, pid: int | None) -> str:
    """Name a task as the kernel's dump does: ``comm[pid]``, with a mark for what is not known."""
    return f"{'?' if comm is None else printable(comm)}[{'–' if pid is None else pid}]"


def runnable_for(comm: str | None, pid: int | None, age_ms: float) -> str:
    """Say how long a task has been runnable without running: ``spin-0[105] runnable for 2.713 s``."""
    return f"{task_name(comm, pid)} runnable for {age_ms / 1000:.3f} s"


def shorten(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` characters, the last being an ellipsis when something was cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is most like a misspelt one: ``. Did you mean "memory"?``; empty when none is.

    A word that differs only in capitals, or in ``_`` for ``-``, is found first.
    """
    names = {_folded(name): name for name in known}
    near = difflib.get_close_matches(_folded(word), names, 1)
    return f'. Did you mean "{names[near[0]]}"?' if near else ""


def _folded(word: str) -> str:
    return word.casefold().replace("_", "-")
