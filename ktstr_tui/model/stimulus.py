"""Operations of a scenario's steps: what the guest program does to the guest at a moment of a step.

Each one that was done, failed or was not reached is one stimulus on the stream.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

StimulusKind: TypeAlias = Literal[
    "add-cgroup",
    "remove-cgroup",
    "set-cpuset",
    "set-weight",
    "set-cpu-max",
    "freeze-cgroup",
    "thaw-cgroup",
    "move-workers",
    "set-affinity",
    "attach-scheduler",
    "detach-scheduler",
    "replace-scheduler",
    "restart-scheduler",
    "capture",
    "watch",
    "write-kernel",
    "offline-cpu",
    "online-cpu",
]
"""What an operation does; ``add-cgroup`` is also what a cgroup of the scenario itself is made by."""
STIMULUS_KINDS: tuple[StimulusKind, ...] = get_args(StimulusKind)
"""All of them; on the wire a kind is its place here, counted from 1."""

Outcome: TypeAlias = Literal["done", "failed", "not-reached"]
"""What became of an operation. One is not reached when an ejection or the end of the run comes before."""
MAX_STIMULI = 256
"""Stimuli that a run's state keeps; as many operations as a scenario may have."""


class StimulusState(msgspec.Struct, frozen=True, kw_only=True):
    """A stimulus, for lists."""

    mono_ns: int
    step: int | None
    kind: StimulusKind
    text: str
    outcome: Outcome
    reason: str = ""
