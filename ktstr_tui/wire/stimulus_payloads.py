"""The payload that tells what became of one operation of a scenario's step."""

from __future__ import annotations

import errno
import struct
from typing import Final, Self

import msgspec

from ktstr_tui.model.stimulus import STIMULUS_KINDS, Outcome, StimulusKind
from ktstr_tui.wire.payloads import PayloadError, decode_text, encode_text

STIMULUS_DETAIL_BYTES: Final = 236
"""Bytes of the detail in a `StimulusApplied`."""
BEFORE_STEPS: Final = 0xFFFF
"""The step of a cgroup that is made before the first."""
_HEAD = struct.Struct("<IIIHHI")


class StimulusApplied(msgspec.Struct, frozen=True):
    """Payload of StimulusApplied, 256 bytes."""

    elapsed_ms: int
    """When it was over, since ScenarioStart."""
    took_us: int
    """How long it took, in guest time."""
    error: int
    """0 when it was done, else the number of an error of Linux; ECANCELED when its step ended before."""
    step_index: int
    """As in a `Stimulus`; 65535 for what is done before the first step."""
    op_index: int
    """Its place among the operations of its step."""
    kind: int
    """What it does: its place in the list of kinds, counted from 1."""
    detail: str = ""
    """What the guest has to say; empty for nothing."""

    @property
    def kind_name(self) -> StimulusKind:
        """What it does, by name."""
        return STIMULUS_KINDS[self.kind - 1]

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if not self.error:
            return "done"
        return "not-reached" if self.error == errno.ECANCELED else "failed"

    @property
    def error_name(self) -> str:
        """The error's name: ``EBUSY``; empty for none."""
        return errno.errorcode.get(self.error, f"error {self.error}") if self.error else ""

    def pack(self) -> bytes:
        """Encode, with the detail cut between characters."""
        *head, detail = msgspec.structs.astuple(self)
        return _HEAD.pack(*head) + encode_text(detail, STIMULUS_DETAIL_BYTES).ljust(
            STIMULUS_DETAIL_BYTES, b"\0"
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 256 bytes of a known kind, else `PayloadError`."""
        if len(payload) != _HEAD.size + STIMULUS_DETAIL_BYTES:
            wanted = _HEAD.size + STIMULUS_DETAIL_BYTES
            raise PayloadError("StimulusApplied", f"{len(payload)} bytes instead of {wanted}")
        head = _HEAD.unpack_from(payload)
        if not 1 <= head[-1] <= len(STIMULUS_KINDS):
            raise PayloadError("StimulusApplied", f"kind {head[-1]} is not known")
        elapsed_ms, took_us, error, step_index, op_index, kind = head
        detail = decode_text(payload[_HEAD.size :].partition(b"\0")[0])
        return cls(elapsed_ms, took_us, error, step_index, op_index, kind, detail)
