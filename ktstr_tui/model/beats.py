"""Heartbeats as everybody sees them: one row for each sender, and for each silence its cause.

Senders live in worlds that share no pids: those of the guest, whose beats come through its own port, and those of
the host, which send datagrams. ``domain`` says which. ``network`` are senders over UDP, for whose pids nobody
vouches: they have slots and a rate of their own, and take none from senders that the kernel vouches for. Silence is
counted on the observer's clock, which stands while the guest is frozen and while the observer itself did not run.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.model.report import RunningTask, Stack

Domain: TypeAlias = Literal["guest", "host", "network"]
CauseKind: TypeAlias = Literal["runnable", "running", "blocked", "exited", "no-host-cpu", "unknown"]

MAX_ROWS = 64
"""Rows that one event carries: the stalled ones, then those that were silent longest."""


class BeatRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sender."""

    domain: Domain
    pid: int
    """In the sender's own world; 1 for the guest program."""
    comm: str = ""
    """Its name where it is known."""
    status: str
    """``ok``, ``degraded`` or ``critical``: what the sender itself said last."""
    origin: str
    """Who vouches for the pid: ``hypervisor``, ``kernel`` or ``nobody``."""
    age_ms: float
    """Since its last beat."""
    nonce: int
    payload: int = 0
    beats: int = 0
    gaps: int = 0
    """Beats that came although some before them did not."""
    missed: int = 0
    """Beats that never came, by the holes in the nonces."""
    stalls: int = 0
    stalled: bool = False
    terminal: bool = False
    """Whether the last beat was the last word of a dying process."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a silent task did between two looks at it."""

    over_ms: float
    """Between the looks, frozen time excluded."""
    ran_ms: float
    """By ``p->se.sum_exec_runtime``."""
    preempted: int
    """How often it lost its CPU although it wanted to go on (``p->nivcsw``)."""


class StallCause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task of the guest fell silent, from the kernel's own data at the moment the silence was noticed."""

    kind: CauseKind
    """``runnable`` (waits for a CPU), ``running`` (has one and does not beat), ``blocked`` (waits for something
    else), ``exited``, ``no-host-cpu`` (its vCPU did not run) or ``unknown``, for ``reason``."""
    reason: str = ""
    cpu: int | None = None
    sched_class: str | None = None
    state: str | None = None
    """One letter, as ps prints it."""
    waiting_ms: float | None = None
    """How long it has been runnable without running."""
    dsq: str | None = None
    """The queue it waits in; None when in none."""
    cpus_allowed: str | None = None
    running_there: tuple[RunningTask, ...] = ()
    """What runs on the CPUs that it may use."""
    wchan: str | None = None
    """Where it sleeps."""
    stack: Stack | None = None
    vcpu_ms: float | None = None
    """Host CPU time that its vCPU got during the silence."""
    progress: Progress | None = None
    """What it did meanwhile, once it was looked at before in this silence."""
    torn: bool = False
    """The kernel changed the data in every attempt to read it."""
