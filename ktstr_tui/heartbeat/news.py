"""From what observers notice to the events and alerts of the stream, at a rate that a screen can bear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.tracked import Origin, TrackedRow
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import BeatRow, Domain, StallCause
from ktstr_tui.model.events import Severity
from ktstr_tui.model.text import counted

TOLD_EVERY_NS: Final = 1_000_000_000
"""Refusals of one kind are told once in this time, with their number."""
MAX_ALERTS: Final = 16
"""Silences with an alert of their own; one alert more counts the others."""
GUEST_PROGRAM_PID: Final = 4194304
"""What the guest program sends for its own pid, which is 1 and not legal on the wire."""
GUEST_PROGRAM: Final = "ktstr-agent"
ORIGIN_WORDS: Final = {
    Origin.HYPERVISOR_ATTESTED: "hypervisor",
    Origin.KERNEL_ATTESTED: "kernel",
    Origin.NETWORK_UNVERIFIED: "nobody",
}
MORE_KEY: Final = "beat-more"


def alert_key(domain: Domain, pid: int) -> str:
    """The key of a sender's alert."""
    return f"beat-{domain}-{pid}"


def shown_pid(pid: int) -> int:
    """The pid that people know a sender by."""
    return 1 if pid == GUEST_PROGRAM_PID else pid


def row_of(domain: Domain, row: TrackedRow, comm: str, now_ns: int) -> BeatRow:
    """A tracked sender as the stream has it."""
    return BeatRow(
        domain=domain,
        pid=shown_pid(row.pid),
        comm=comm,
        status=row.status.name.lower(),
        origin=ORIGIN_WORDS[row.origin],
        age_ms=max(0, now_ns - row.last_ns) / 1e6,
        nonce=row.nonce,
        payload=row.payload,
        beats=row.beats,
        gaps=row.nonce_gaps,
        missed=row.beats_missed,
        stalls=row.stalls,
        stalled=row.stalled,
        terminal=row.terminal,
    )


class Refusals:
    """Tells refused datagrams, each kind at most once in `TOLD_EVERY_NS`."""

    def __init__(self, emit: Callable[[ev.Event], object]) -> None:
        self._emit = emit
        self._told_ns: dict[tuple[Domain, str], int] = {}
        self._waiting: dict[tuple[Domain, str], ev.BeatRefused] = {}

    def add(self, domain: Domain, event: ob.ObserverEvent) -> None:
        """Take one in; `flush` tells it."""
        told = _refusal(domain, event)
        if told is None:
            return
        key = (domain, told.kind)
        before = self._waiting.get(key)
        count = told.count + (before.count if before else 0)
        self._waiting[key] = ev.BeatRefused(
            kind=told.kind, domain=domain, claimed_pid=told.claimed_pid, detail=told.detail, count=count
        )

    def flush(self, now_ns: int) -> None:
        """Tell what is due."""
        for key, event in list(self._waiting.items()):
            last_ns = self._told_ns.get(key)
            if last_ns is None or now_ns - last_ns >= TOLD_EVERY_NS:
                self._told_ns[key] = now_ns
                del self._waiting[key]
                self._emit(event)


def _refusal(domain: Domain, event: ob.ObserverEvent) -> ev.BeatRefused | None:
    claimed, count = None, 1
    match event:
        case ob.DecodeFailed():
            kind, detail = "decode", f"{event.kind}, from {_sender(event.sender_pid)}"
        case ob.AuthFailed():
            kind, claimed = "auth-failure", event.claimed_pid
            who = _sender(event.sender_pid)
            uid = "" if event.sender_uid is None else f" of uid {event.sender_uid}"
            detail = f"a heartbeat of pid {claimed} from {who}{uid} ({event.reason})"
        case ob.OriginConflicted():
            kind, claimed = "origin-conflict", event.claimed_pid
            detail = f"pid {claimed} first sent heartbeats over another transport ({event.observed.name})"
        case ob.NamespaceConflicted():
            kind, claimed = "namespace-conflict", event.claimed_pid
            detail = (
                f"pid {claimed} sends heartbeats from pid namespace {event.observed}, not {event.observer}"
            )
        case ob.ReceiveFailed():
            kind, detail = "io", f"receiving failed with errno {event.error}"
        case ob.ControlTruncated():
            kind, count = "ctrl-truncated", event.count
            detail = "a datagram carried too many file descriptors"
        case _:
            return None
    return ev.BeatRefused(kind=kind, domain=domain, claimed_pid=claimed, detail=detail, count=count)


def _sender(pid: int | None) -> str:
    return "somebody" if pid is None else f"process {pid}"


class StallAlerts:
    """Alerts of standing silences; bounded, so that a thousand silences are one alert more than sixteen."""

    def __init__(self, emit: Callable[[ev.Event], object]) -> None:
        self._emit = emit
        self._own: dict[tuple[Domain, int], ev.AlertRaised] = {}
        self._others: set[tuple[Domain, int]] = set()

    def standing(self) -> list[tuple[Domain, int]]:
        """The silences that have an alert of their own, oldest first."""
        return list(self._own)

    def raise_(self, domain: Domain, pid: int, text: str, cause: StallCause | None) -> None:
        """A sender is silent, or more is known of its silence."""
        key = (domain, pid)
        before = self._own.get(key)
        if before is None and len(self._own) >= MAX_ALERTS:
            self._others.add(key)
            self._tell_others()
            return
        quiet = cause is not None and cause.kind in ("exited", "no-host-cpu")
        severity: Severity = "warning" if quiet else "error"
        alert = ev.AlertRaised(
            key=alert_key(domain, pid),
            kind="silence",
            severity=severity,
            text=text,
            cpu=cause.cpu if cause else None,
            pid=pid,
            capture=before.capture if before else None,
        )
        self._own[key] = alert
        self._emit(alert)

    def captured(self, domain: Domain, pid: int, tag: str) -> None:
        """A capture of the silence was taken."""
        alert = self._own.get((domain, pid))
        if alert is not None:
            alert = msgspec.structs.replace(alert, capture=tag)
            self._own[(domain, pid)] = alert
            self._emit(alert)

    def clear(self, domain: Domain, pid: int) -> None:
        """The silence is over."""
        key = (domain, pid)
        if self._own.pop(key, None) is not None:
            self._emit(ev.AlertCleared(key=alert_key(domain, pid), kind="silence"))
        elif key in self._others:
            self._others.discard(key)
            self._tell_others()

    def clear_all(self, domain: Domain) -> None:
        """All silences of a domain lost their object."""
        for key in (*self._own, *self._others):
            if key[0] == domain:
                self.clear(*key)

    def _tell_others(self) -> None:
        if self._others:
            text = f"{counted(len(self._others), 'more sender')} silent"
            self._emit(ev.AlertRaised(key=MORE_KEY, kind="silence", severity="error", text=text))
        else:
            self._emit(ev.AlertCleared(key=MORE_KEY, kind="silence"))
