"""What the guest's frames say in the end: the bucket of the dispatch, read once when the run has ended.

Some frames were acted on when they came and say more only together: how often a scheduler exited, what the guest's
last word was, which frames were torn. Others have no reader while the run goes on (results and metrics of payloads,
profiles, traces); the bucket is their only way out, and they are handed on as they are.

Which frames get here is decided in one place, the dispatch; a frame with a wrong CRC is in the bucket too, and here is
where that is looked at: it is kept and marked, and says nothing.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ktstr_tui.port.bucket import VerdictEntry
from ktstr_tui.wire.messages import ExitCode, MsgType, PayloadError

RESULT_KINDS: Final = frozenset(
    {
        MsgType.TestResult,
        MsgType.PayloadMetrics,
        MsgType.RawPayloadOutput,
        MsgType.Profraw,
        MsgType.WprofTrace,
        MsgType.ExecExit,
        MsgType.ProbeOutput,
    }
)
"""Frames that nobody reads before the end."""
MAX_SCHEDULER_EXITS: Final = 64
"""Exit codes of schedulers told, the newest."""


class GuestVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the bucket held."""

    guest_exit: int | None = None
    """The guest's last valid Exit; None when it never said one."""
    scheduler_exits: tuple[int | None, ...] = ()
    """Of the schedulers' processes, in order; None for one without a code."""
    torn: dict[str, int] = {}
    """Frames with a wrong CRC, by type."""
    results: tuple[VerdictEntry, ...] = ()
    """Frames of `RESULT_KINDS`, torn ones included, in the order in which they came."""


def judge(entries: Iterable[VerdictEntry]) -> GuestVerdict:
    """Read the bucket's entries, in the order in which they came."""
    guest_exit: int | None = None
    exits: list[int | None] = []
    torn: Counter[str] = Counter()
    results: list[VerdictEntry] = []
    for entry in entries:
        torn[entry.kind.name] += not entry.crc_ok
        if entry.kind in RESULT_KINDS:
            results.append(entry)
        elif entry.kind is MsgType.SchedExit:
            exits.append(_code(entry))
        elif entry.kind is MsgType.Exit:
            code = _code(entry)
            guest_exit = guest_exit if code is None else code
    return GuestVerdict(
        guest_exit=guest_exit,
        scheduler_exits=tuple(exits[-MAX_SCHEDULER_EXITS:]),
        torn={kind: count for kind, count in torn.items() if count},
        results=tuple(results),
    )


def _code(entry: VerdictEntry) -> int | None:
    try:
        return ExitCode.unpack(entry.payload).code if entry.crc_ok else None
    except PayloadError:
        return None


def result_line(entry: VerdictEntry) -> str:
    """A result as one line of JSON: ``value`` for JSON, ``text`` for other UTF-8, ``base64`` for the rest."""
    line: dict[str, Any] = {"index": entry.index, "type": entry.kind.name, "crc_ok": entry.crc_ok}
    try:
        text = entry.payload.decode()
    except UnicodeDecodeError:
        return json.dumps(line | {"base64": base64.b64encode(entry.payload).decode()})
    try:
        # Python reads more than is JSON (NaN, 1e999), and would pass it on to a reader that does not.
        return json.dumps(line | {"value": json.loads(text)}, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(line | {"text": text})
