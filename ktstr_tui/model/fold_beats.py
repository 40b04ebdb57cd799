"""Arms of the fold: heartbeats of programs in the guest, and the silences between them.

The rows come whole with every look at the domains; a silence outlives its row, and is over when its program beats again
or its domain ends. All of it is in one frozen record, which every arm replaces.
"""

from __future__ import annotations

from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold_keep import Arms, log
from ktstr_tui.model.state import MAX_SILENCES, RunState, Silence
from ktstr_tui.model.text import printable


def _beats(state: RunState, event: ev.BeatsObserved) -> None:
    state.beats = replace(
        state.beats,
        rows=event.rows,
        tracked=event.tracked,
        threshold_ms=event.threshold_ms,
        counters=event.counters,
        mono_ns=event.mono_ns,
    )


def _beat_stalled(state: RunState, event: ev.BeatStalled) -> None:
    silence = Silence(
        domain=event.domain,
        pid=event.pid,
        comm=printable(event.comm),
        mono_ns=event.mono_ns,
        silent_ms=event.silent_ms,
        text=printable(event.text),
        cause=event.cause,
    )
    silences = (*state.beats.silences, silence)
    excess = len(silences) - MAX_SILENCES
    if excess > 0:
        silences = silences[excess:]
        state.forgotten["silences"] = state.forgotten.get("silences", 0) + excess
    state.beats = replace(state.beats, silences=silences, stalls=state.beats.stalls + 1)
    log(state, event, "error", "beat", event.text)


def _beat_recovered(state: RunState, event: ev.BeatRecovered) -> None:
    silences = tuple(
        replace(it, over=True, silent_ms=event.silent_ms)
        if (it.domain, it.pid) == (event.domain, event.pid) and not it.over
        else it
        for it in state.beats.silences
    )
    state.beats = replace(state.beats, silences=silences, recoveries=state.beats.recoveries + 1)
    who = f"{event.comm or event.domain}[{event.pid}]"
    log(state, event, "info", "beat", f"{who} heartbeat resumed after {event.silent_ms / 1000:.1f} s")


def _beats_ended(state: RunState, event: ev.BeatsEnded) -> None:
    silences = tuple(
        replace(it, over=True) if it.domain == event.domain and not it.over else it
        for it in state.beats.silences
    )
    rows = tuple(row for row in state.beats.rows if row.domain != event.domain)
    left = state.beats.tracked - (len(state.beats.rows) - len(rows)) if rows else 0
    state.beats = replace(state.beats, silences=silences, rows=rows, tracked=left)


def _beat_refused(state: RunState, event: ev.BeatRefused) -> None:
    state.beats = replace(state.beats, refused=state.beats.refused + event.count)
    times = f" ({event.count} of them)" if event.count > 1 else ""
    log(state, event, "warning", "beat", f"{event.kind}: {event.detail}{times}")


ARMS: Arms = {
    ev.BeatsObserved: _beats,
    ev.BeatStalled: _beat_stalled,
    ev.BeatRecovered: _beat_recovered,
    ev.BeatsEnded: _beats_ended,
    ev.BeatRefused: _beat_refused,
}
