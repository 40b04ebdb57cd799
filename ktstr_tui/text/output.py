"""The one gate to the terminal: standard output is data, standard error is narration.

A task's name, a scheduler's message, a recording from elsewhere, a ``run.json``: any text may hold escape sequences
that a terminal obeys, or characters that turn a line around (U+202E). So every command prints through this module,
which strips them from text and writes them as escapes in JSON; a test refuses ``print`` and the like elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

from ktstr_tui.model.errors import (
    EXIT_BUG,
    EXIT_EJECTED,
    EXIT_USAGE,
    GuestError,
    KtstrError,
    host_limit,
    name_too_long,
    root_cause,
)
from ktstr_tui.model.text import DIRECTIONS, SURROGATES, printable

_CONTROLS = re.compile(f"[\x7f-\x9f{DIRECTIONS}{SURROGATES}]")
EXIT_BROKEN_PIPE = 141
"""Whoever read standard output left: what a shell reports of a program that SIGPIPE ended."""
DUMB = frozenset(("dumb", "unknown"))
"""What a terminal calls itself, in ``TERM``, that can only print."""
_FAULT_WORDS = {
    "user": "usage",
    "host": "this host",
    "guest": "guest",
    "bug": "bug in ktstr-tui",
}


class RunExit(SystemExit):
    """Leave with the exit code of a run. Nothing else leaves with `EXIT_EJECTED`."""


def say(text: str) -> None:
    """Narrate on standard error; where that takes nothing, a run goes on and a command ends as it would."""
    with _narrating():
        _write(sys.stderr, printable(text) + "\n")


def ask(question: str) -> str:
    """Ask on standard error and return the line that standard input answers."""
    with _narrating():
        _write(sys.stderr, printable(question))
    return sys.stdin.readline().strip()


def print_line(text: str) -> None:
    """Print one line of data on standard output; a newline in ``text`` becomes a space."""
    _write(sys.stdout, printable(text).replace("\n", " ") + "\n")


def print_json_line(document: str) -> None:
    """Print a JSON document of one line on standard output; the caller flushes."""
    _write(sys.stdout, harmless(document) + "\n")


def flush() -> None:
    """Hand on what was printed."""
    sys.stdout.flush()


def harmless(document: str) -> str:
    """The same JSON with escapes for DEL, C1 control characters, and those that change the direction of text.

    JSON itself escapes the C0 ones. All of these can only stand in strings, where an escape means the same.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    _write(sys.stdout, harmless(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


@contextmanager
def _narrating() -> Iterator[None]:
    try:
        yield
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        # The locale lacks a character: its escape says more than an error would.
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, errors="backslashreplace").decode(encoding))


def describe(error: KtstrError) -> str:
    """An error as lines of text: what happened, the guest's last words, what to do next."""
    lines = [f"error ({_FAULT_WORDS.get(error.fault, error.fault)}): {printable(error.message)}"]
    if isinstance(error, GuestError) and error.console_tail:
        lines.append("the guest's console ended with:")
        lines += [f"  {printable(line)}" for line in error.console_tail[-12:]]
    if error.hint:
        lines.append(f"next: {printable(error.hint)}")
    return "\n".join(lines)


def fail(error: KtstrError) -> NoReturn:
    """Print the error and leave with its exit code."""
    say(describe(error))
    raise SystemExit(error.exit_code)


def guarded(function: Callable[[], None]) -> None:
    """Run a command; known errors become a message and an exit code, others a report of a bug.

    Raises:
        SystemExit: With the exit code of the error.
    """
    _open_what_is_closed()
    try:
        try:
            function()
        finally:
            sys.stdout.flush()
    except BaseException as error:
        cause = root_cause(error)
        if isinstance(cause, KtstrError):
            fail(cause)
        if isinstance(cause, KeyboardInterrupt):
            raise SystemExit(130) from None
        # click makes an exit with 1 of a broken pipe.
        if isinstance(cause, BrokenPipeError) or isinstance(cause.__context__, BrokenPipeError):
            _give_up(sys.stdout)
            _give_up(sys.stderr)
            raise SystemExit(EXIT_BROKEN_PIPE) from None
        if isinstance(cause, SystemExit):
            _leave(cause)
        if not isinstance(cause, Exception):
            raise
        limit = name_too_long(cause) or host_limit(cause)
        if limit is not None:
            _give_up(sys.stdout)
            fail(limit)
        with _narrating():
            traceback.print_exception(error)
        say("error (bug in ktstr-tui): the traceback above should not have happened")
        say("next: please report it, with the command and the traceback")
        raise SystemExit(EXIT_BUG) from error


def _leave(exit_: SystemExit) -> NoReturn:
    """Leave as asked, but with `EXIT_EJECTED` only for a run: click has it for input that ends early, too."""
    code = exit_.code
    if code is not None and not isinstance(code, int):
        # Python would print it and leave with 1.
        say(str(code))
        code = EXIT_EJECTED
    if code == EXIT_EJECTED and not isinstance(exit_, RunExit):
        raise SystemExit(EXIT_USAGE) from None
    raise exit_


def _open_what_is_closed() -> None:
    """Let a stream that the caller closed (``>&-``) take everything and keep nothing, as /dev/null does."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _give_up(stream: TextIO) -> None:
    """Keep Python from flushing at its end into a stream that takes nothing any more."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
