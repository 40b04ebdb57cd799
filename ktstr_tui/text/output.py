"""Standard output is data, standard error is narration, and an error says whose fault it is."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ktstr_tui.model.errors import EXIT_BUG, GuestError, KtstrError, root_cause
from ktstr_tui.model.text import printable

_CONTROLS = re.compile("[\x7f-\x9f]")
_FAULT_WORDS = {
    "user": "usage",
    "host": "this host",
    "guest": "guest",
    "bug": "bug in ktstr-tui",
}


def say(text: str) -> None:
    """Narrate on standard error."""
    print(text, file=sys.stderr, flush=True)


def harmless(document: str) -> str:
    """The same JSON without DEL and C1 control characters, which a guest may have written and a terminal may obey.

    JSON itself escapes the C0 ones. All of these can only stand in strings, where an escape means the same.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(harmless(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def describe(error: KtstrError) -> str:
    """An error as lines of text: what happened, the guest's last words, what to do next."""
    lines = [f"error ({_FAULT_WORDS.get(error.fault, error.fault)}): {printable(error.message)}"]
    if isinstance(error, GuestError) and error.console_tail:
        lines.append("the guest's console ended with:")
        lines += [f"  {printable(line)}" for line in error.console_tail[-12:]]
    if error.hint:
        lines.append(f"next: {error.hint}")
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
    try:
        function()
    except BaseException as error:
        cause = root_cause(error)
        if isinstance(cause, KtstrError):
            fail(cause)
        if isinstance(cause, KeyboardInterrupt):
            raise SystemExit(130) from None
        if isinstance(cause, SystemExit | BrokenPipeError) or not isinstance(cause, Exception):
            raise
        traceback.print_exception(error)
        say("error (bug in ktstr-tui): the traceback above should not have happened")
        say("next: please report it, with the command and the traceback")
        raise SystemExit(EXIT_BUG) from error
