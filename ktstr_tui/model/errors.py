"""Errors, one class per party at fault, because that decides what the reader does next.

Every error carries three things: what happened (the message), whose fault it is (the class) and what to do
next (``hint``). The command line prints all three and leaves with ``exit_code``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from ktstr_tui.model.signing import Refusal

EXIT_OK = 0
"""The run ended as asked."""
EXIT_EJECTED = 1
"""A scheduler was ejected: it left, and the scenario had not asked for it. Nothing else has this code."""
EXIT_USAGE = 2
"""The request was wrong: arguments, files, names."""
EXIT_HOST = 3
"""This host cannot run guests: a program, a permission or memory is missing."""
EXIT_GUEST = 4
"""The guest failed: it never came up, panicked, hung, rebooted or was killed."""
EXIT_INCONCLUSIVE = 5
"""Nothing can be said of the scheduler: the host stood still while the task waited, or it was still being loaded."""
EXIT_BUG = 70
"""A defect of this program (EX_SOFTWARE of sysexits.h)."""


class KtstrError(Exception):
    """Base of all errors that are shown to people.

    Args:
        message: What happened, one or two sentences, without the hint.
        hint: What to do next; empty when there is nothing useful to say.
    """

    fault: ClassVar[str] = "bug"
    """Whose fault it is: ``user``, ``host``, ``guest`` or ``bug``."""
    exit_code: ClassVar[int] = EXIT_BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(KtstrError):
    """The user asked for something that cannot be: a bad argument, file or name."""

    fault = "user"
    exit_code = EXIT_USAGE


class RefusedError(UsageError):
    """Whoever asked may not have that done, or not now.

    Args:
        kind: Why, for programs.
    """

    def __init__(self, message: str, hint: str, kind: Refusal) -> None:
        super().__init__(message, hint)
        self.kind: Refusal = kind


class SchedulerRejectedError(UsageError):
    """The kernel did not accept the user's scheduler; the log of the run says why."""


class HostError(KtstrError):
    """The host lacks a program, a permission, memory or disk space."""

    fault = "host"
    exit_code = EXIT_HOST


class GuestError(KtstrError):
    """The guest did not come up, panicked, hung, rebooted or went away.

    Args:
        console_tail: The last lines of the guest's console, oldest first.
    """

    fault = "guest"
    exit_code = EXIT_GUEST

    def __init__(self, message: str, hint: str = "", console_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.console_tail = console_tail


class InternalError(KtstrError):
    """A defect of this program."""


_LIMITS = {
    errno.ENOSPC: "free some disk space (df)",
    errno.EDQUOT: "free some disk space (quota)",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EIO: "see the host's kernel log (dmesg)",
    errno.EROFS: "choose a directory that can be written to (ktstr-tui locate)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the host has too many open files",
    errno.ENOMEM: "free some memory, or raise the limit (free, ulimit -v)",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
}
"""Errors that are limits of the host, wherever they come up, and what to do about each."""
_NO_MEMORY_TO_LOAD = (
    "failed to map segment",
    "cannot allocate memory",
    "cannot create shared object descriptor",
)
_NO_TEMPORARY = "No usable temporary directory"
_NO_FILES_TO_LOAD = "too many open files"


def host_limit(error: BaseException) -> HostError | None:
    """Say which limit of the host an error is, however it came up; None when it is something else."""
    text = str(error)
    number = getattr(error, "errno", None)
    if isinstance(error, ImportError):
        loader = text.lower()
        no_memory = any(it in loader for it in _NO_MEMORY_TO_LOAD)
        number = errno.ENOMEM if no_memory else errno.EMFILE if _NO_FILES_TO_LOAD in loader else None
    elif isinstance(error, MemoryError):
        number = errno.ENOMEM
    elif isinstance(error, RuntimeError) and "can't start new thread" in text:
        number = errno.EAGAIN
    elif isinstance(error, FileNotFoundError) and _NO_TEMPORARY in text:
        return HostError(f"this host lacks a resource: {text}", "set TMPDIR; see df and ulimit -f")
    if number not in _LIMITS:
        return None
    return HostError(f"this host lacks a resource: {text or 'memory'}", _LIMITS[number])


def name_too_long(error: BaseException) -> UsageError | None:
    """Say that a word is too long for the name of a file, wherever it was used as one; None for something else."""
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    return UsageError(
        f"{str(error.filename)[:40]!r}… is too long for the name of a file", "give a shorter one"
    )


def root_cause(error: BaseException) -> BaseException:
    """The error inside nested exception groups that matters: a `KtstrError` if there is one, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [root_cause(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, KtstrError)), leaves[0])


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the only error in (nested) exception groups by itself, with its cause and traceback.

    A group of several errors is raised as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__
