"""What became of a wish to attach, detach or replace the scheduler of a running guest.

The old scheduler runs until the new one has been verified, so most of what can go wrong leaves it running. Where a
value says what is ``loaded``, that is what the scheduler calls itself, or nothing for the kernel's own.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

MAX_OBJECT_BYTES = 16 << 20
"""Largest BPF object that is loaded into a running guest."""
MAX_LOG_LINES = 100
"""Of a refused scheduler's log, its end."""

SwapOp: TypeAlias = Literal["attach", "detach", "replace"]
SwapResult: TypeAlias = Literal["attached", "stored", "detached", "rejected", "failed", "timed-out"]
Refuser: TypeAlias = Literal["libbpf", "verifier", "kernel", "program"]
"""Who refused a scheduler: libbpf found the object damaged or the kernel lacking, the verifier one of its programs
unsafe, the kernel the scheduler as a whole, or the loading program ended without attaching anything."""


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="result"):
    took_ms: float
    """From the wish to the answer."""

    @property
    def result(self) -> SwapResult:
        """The tag."""
        tag: SwapResult = type(self).__struct_config__.tag  # type: ignore[assignment]
        return tag


class SwapAttached(_Outcome, frozen=True, tag="attached"):
    """The new scheduler is loaded."""

    loaded: str
    enable_seq: int | None = None
    """How many schedulers the guest's kernel has enabled since boot, with this one; None where it does not count."""


class SwapStored(_Outcome, frozen=True, tag="stored"):
    """The verifier accepted the object. It is loaded with the next step that names the scheduler it replaces."""

    loaded: str


class SwapDetached(_Outcome, frozen=True, tag="detached"):
    """The kernel's own scheduler has taken over, until the next step that names another."""


class SwapRejected(_Outcome, frozen=True, tag="rejected"):
    """The new scheduler was refused."""

    by: Refuser
    reason: str
    """In one line: the one that matters."""
    log: tuple[str, ...] = ()
    """The end of what its loader printed."""
    loaded: str = ""


class SwapFailed(_Outcome, frozen=True, tag="failed"):
    """It could not be tried, or came to nothing for a reason that is not the scheduler's."""

    reason: str
    log: tuple[str, ...] = ()
    loaded: str = ""


class SwapTimedOut(_Outcome, frozen=True, tag="timed-out"):
    """The guest did not answer in time, and was told to give it up."""


ReplaceOutcome: TypeAlias = (
    SwapAttached | SwapStored | SwapDetached | SwapRejected | SwapFailed | SwapTimedOut
)


def outcome_words(op: SwapOp, name: str, outcome: ReplaceOutcome) -> str:
    """Say in one line what became of it.

    Args:
        op: What was asked for.
        name: The scheduler that it was about; empty for that of the step.
        outcome: What became of it.
    """
    what = name or "the scheduler"
    match outcome:
        case SwapAttached(loaded=loaded):
            return f"{what} attached as {loaded or 'a scheduler without a name'} in {outcome.took_ms:.0f} ms"
        case SwapStored():
            return f"{what} verified; attached with the next step that names it"
        case SwapDetached():
            return f"detached in {outcome.took_ms:.0f} ms: the kernel's own scheduler runs"
        case SwapRejected() | SwapFailed():
            return f"{what}: {outcome.reason}; {_left(outcome.loaded)}"
        case SwapTimedOut():
            return f"{op} of {what}: no answer from the guest in {outcome.took_ms / 1e3:.0f} s"


def _left(loaded: str) -> str:
    return f"{loaded} is attached" if loaded else "no scheduler is attached"
