"""The three layouts that a file of captures may have, told apart by its field ``schema``.

* ``single``: a `CaptureReport`, the state of a machine that stood still.
* ``degraded``: a `DegradedReport`, what is known of a stop in which not every vCPU was heard: the deadline passed,
  or the guest went away. Its ``reason`` begins with one of two words that never change, for programs.
* ``dual``: a `DualReport`, the early and the late capture of one scheduler's end with their difference. One of the
  two may be missing; ``outcome`` says how it went.

Each is written with a ``sha256`` of its values as compact JSON, so that what a disk or a hand changed is noticed; older
files have none.

A file says itself what it is. One without ``schema`` is refused, because nobody knows what it was meant to be; so is
one with a value that is not known here, because a newer program may have written it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from ktstr_tui.model.diff import ReportDiff
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import SCHEMA, CaptureReport, VcpuReport

SCHEMA_DUAL = "dual"
SCHEMA_DEGRADED = "degraded"
SCHEMAS = (SCHEMA, SCHEMA_DUAL, SCHEMA_DEGRADED)
"""All that `decode_report` reads."""

TIMED_OUT = "rendezvous timed out"
"""How the reason of a degraded report begins when the deadline passed."""
ABORTED = "aborted"
"""How it begins when the guest or QEMU went away meanwhile."""

DualOutcome: TypeAlias = Literal[
    "both",
    "late-only",
    "early-degraded",
    "early-pre-late-degraded",
    "early-only-late-suppressed",
    "early-only-late-never-fired",
]
"""How the two captures of a scheduler's end went:

* ``both``: both are there, and their difference.
* ``late-only``: there was no reason for an early one, or no way to take it. Understood, but not written: the late
  capture says by itself why it is alone.
* ``early-degraded``: the early one failed.
* ``early-pre-late-degraded``: the early one is there, the late one is degraded.
* ``early-only-late-suppressed``: the late one failed for another reason than time or the guest.
* ``early-only-late-never-fired``: the scheduler was not ejected: it was detached as asked, or the run ended first.
"""
_T = TypeVar("_T")
_HINT = "name a JSON file from a run's captures directory, as this version of ktstr-tui writes them"
_DAMAGED_HINT = "the file was changed after it was written; the run's recording holds the same capture"
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


class DegradedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A stop for a capture in which not every vCPU was heard."""

    schema: str = SCHEMA_DEGRADED
    tag: str
    """That of the capture it stands for, or stands beside."""
    trigger: Trigger
    trigger_detail: str = ""
    reason: str
    """`TIMED_OUT` or `ABORTED`, then after how long and how many vCPUs answered."""
    vcpus: tuple[VcpuReport, ...] = ()
    """All of them, with the registers of those that answered; ``unavailable`` names those that did not."""
    watchpoint_hit: bool = False
    """A watchpoint stopped the guest for this capture."""
    exit_kind: int | None = None
    """Of the scheduler that the capture is about, as memory told it then; None without one, or when it could not be
    read."""
    exit_kind_name: str = ""
    """The same in the words of the guest's kernel; empty in files that lack it."""
    scheduler: str | None = None
    """Who was ejected, for the capture of an ejection."""
    cgroup: str | None = None
    """Cgroup of the sub-scheduler that was ejected; None for the loaded scheduler."""
    elapsed_ms: float
    """How long the vCPUs were waited for, in host time."""
    mono_ns: int = 0
    """Host monotonic clock when the wait began."""
    step: str | None = None
    step_index: int | None = None
    wall_time: str = ""
    kernel: str = ""


class DualReport(msgspec.Struct, frozen=True, kw_only=True):
    """The early and the late capture of one scheduler's end. Decode it with `decode_report` only."""

    schema: str = SCHEMA_DUAL
    tag: str
    """Of the late capture; of the early one when there is no late one."""
    outcome: DualOutcome
    early: CaptureReport | None = None
    """A placeholder when it failed."""
    late: CaptureReport | DegradedReport | None = None
    early_max_age_ms: float | None = None
    """The longest that the sampler saw a task of this scheduler wait."""
    early_threshold_ms: float | None = None
    """Age at which the early capture was due."""
    early_skipped_reason: str | None = None
    """Why there is no whole early capture."""
    late_skipped_reason: str | None = None
    """Why there is no whole late capture."""
    diff: ReportDiff | None = None
    """From early to late; None unless both are whole."""


AnyReport: TypeAlias = CaptureReport | DualReport | DegradedReport


def degraded_reason(prefix: str, elapsed_ms: float, answered: int, vcpus: int, detail: str) -> str:
    """The reason of a degraded report, with what happened behind its stable beginning."""
    return f"{prefix} after {elapsed_ms:.0f} ms: {answered} of {vcpus} vCPUs answered; {detail}"


def why_alone(report: DualReport) -> str | None:
    """Why a dual report has no difference; None when it has both captures."""
    if report.outcome == "both":
        return None
    if report.outcome in ("late-only", "early-degraded"):
        return report.early_skipped_reason or "there is no early capture"
    return report.late_skipped_reason or "there is no late capture"


def decode_report(data: bytes) -> AnyReport:
    """A file of captures, whichever of the three it is.

    Args:
        data: The whole file.

    Raises:
        UsageError: It is no JSON, says no ``schema`` or one that is not known, or has a value of a wrong type.
    """
    schema = _schema_of(data)
    if schema == SCHEMA_DUAL:
        return _decode_dual(data)
    if schema == SCHEMA_DEGRADED:
        return _decode(data, DegradedReport, schema)
    return _decode(data, CaptureReport, schema)


CHECKSUM_FIELD = "sha256"


def encode_report(report: AnyReport) -> bytes:
    """A file of captures, with its checksum, for people to read.

    Raises:
        TypeError, ValueError: It holds a value that JSON lacks.
    """
    plain = msgspec.json.decode(msgspec.json.encode(report))
    return (
        msgspec.json.format(msgspec.json.encode({**plain, CHECKSUM_FIELD: _checksum(plain)}), indent=2)
        + b"\n"
    )


def is_checked(data: bytes) -> bool:
    """Whether a file of captures that `decode_report` accepts has a checksum, and is what was written.

    Raises:
        UsageError: It has one, and holds other values than were written.
    """
    try:
        plain = msgspec.json.decode(data)
    except _ERRORS as error:
        raise UsageError(f"a broken report: {error}", _HINT) from error
    told = plain.pop(CHECKSUM_FIELD, None)
    if told is None:
        return False
    if told != _checksum(plain):
        raise UsageError("a damaged capture: its checksum does not fit what is in it", _DAMAGED_HINT)
    return True


def _checksum(plain: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()


class _Head(msgspec.Struct):
    schema: Any = msgspec.UNSET


class _Dual(msgspec.Struct, kw_only=True):
    """A `DualReport` whose captures are still bytes: which of two types the late one is, its schema tells."""

    tag: str
    outcome: DualOutcome
    early: msgspec.Raw = msgspec.Raw(b"null")
    late: msgspec.Raw = msgspec.Raw(b"null")
    early_max_age_ms: float | None = None
    early_threshold_ms: float | None = None
    early_skipped_reason: str | None = None
    late_skipped_reason: str | None = None
    diff: ReportDiff | None = None


def _schema_of(data: bytes, where: str = "", known: tuple[str, ...] = SCHEMAS) -> str:
    of = f" of {where}" if where else ""
    knows = f"known {'here ' if where else ''}are {', '.join(map(repr, known))}"
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError as error:
        raise UsageError(f"not a capture: JSON, but not an object{of} ({error})", _HINT) from error
    except _ERRORS as error:
        raise UsageError(f"not a capture: broken JSON{of} ({error})", _HINT) from error
    if head.schema is msgspec.UNSET:
        raise UsageError(f"not a capture: no schema{of}; {knows}", _HINT)
    if not isinstance(head.schema, str) or head.schema not in known:
        raise UsageError(f"schema {head.schema!r:.80}{of} is not known; {knows}", _HINT)
    return head.schema


def _decode(data: bytes, kind: type[_T], schema: str, where: str = "") -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except _ERRORS as error:
        of = f", its {where} capture" if where else ""
        raise UsageError(f"a broken {schema!r} report{of}: {error}", _HINT) from error


def _decode_dual(data: bytes) -> DualReport:
    parts: _Dual = _decode(data, _Dual, SCHEMA_DUAL)
    fields = msgspec.structs.asdict(parts)
    kinds: dict[str, dict[str, type[Any]]] = {
        "early": {SCHEMA: CaptureReport},
        "late": {SCHEMA: CaptureReport, SCHEMA_DEGRADED: DegradedReport},
    }
    for where, known in kinds.items():
        part = bytes(fields[where])
        if part == b"null":
            fields[where] = None
            continue
        schema = _schema_of(part, where, tuple(known))
        fields[where] = _decode(part, known[schema], SCHEMA_DUAL, where)
    return DualReport(**fields)
