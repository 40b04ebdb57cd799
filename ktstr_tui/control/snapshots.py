"""Making the snapshot of a tick from the loop's state."""

from __future__ import annotations

from collections import deque

from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.rings import Rings
from ktstr_tui.control.state import LoopState
from ktstr_tui.model.control import BackoffState, ControlSnapshot, PendingAction

RECENT = 1024
"""Newest actions that are kept for reading."""


class Recent:
    """The newest actions that went to the executor."""

    def __init__(self) -> None:
        self._kept: deque[PendingAction] = deque(maxlen=RECENT)
        self._tuple: tuple[PendingAction, ...] | None = ()

    def add(self, pending: PendingAction) -> None:
        """Keep one more."""
        self._kept.append(pending)
        self._tuple = None

    def newest(self) -> tuple[PendingAction, ...]:
        """All that is kept, oldest first."""
        if self._tuple is None:
            self._tuple = tuple(self._kept)
        return self._tuple


def make_snapshot(
    state: LoopState, run_epoch_id: int, recent: tuple[PendingAction, ...], ledger: Ledger, rings: Rings
) -> ControlSnapshot:
    """Copy what readers may see of the state."""
    return ControlSnapshot(
        run_epoch_id=run_epoch_id,
        tick=state.tick,
        now_ns=state.now_ns,
        folded_seq=state.folded_seq,
        phase=state.phase,
        hold=state.hold,
        backoffs={
            name: BackoffState(until_ns=it.until_ns, crashes=len(it.crashes), held=it.held)
            for name, it in state.schedulers.items()
            if it.delay_ns
        },
        probes={name: dict(values) for name, values in state.probes.items()},
        broken_probes=dict(state.broken_probes),
        in_flight=tuple(state.in_flight.values()),
        recent=recent,
        counts=ledger.counts(),
        failures=rings.failures.newest(),
        log=rings.log.newest(),
        backpressure=state.backpressure,
    )
