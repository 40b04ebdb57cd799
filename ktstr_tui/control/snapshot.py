"""What the loop publishes after every tick, and how it is read.

The snapshot is a value that nobody changes. Publishing is one assignment and reading is another, so readers cost the
loop nothing, however many there are and however slow. Who waits for a change is woken only when something other than
the time changed: comparing whole snapshots would wake everybody at every tick.
"""

from __future__ import annotations

import trio

from ktstr_tui.model.control import ControlSnapshot


class SnapshotReader:
    """Reads the newest snapshot of one loop; share it or clone it, it is the same."""

    def __init__(self, cell: SnapshotCell) -> None:
        self._cell = cell

    def read(self) -> ControlSnapshot:
        """The newest snapshot."""
        return self._cell.newest

    def clone(self) -> SnapshotReader:
        """One more reader."""
        return SnapshotReader(self._cell)

    @property
    def version(self) -> int:
        """How often something other than the time has changed."""
        return self._cell.version

    async def wait_changed(self, version: int) -> int:
        """Wait until something has changed since a version; returns the new one."""
        while self._cell.version == version:
            await self._cell.changed.wait()
        return self._cell.version


class SnapshotCell:
    """Holds the newest snapshot.

    Args:
        first: What is read before the first tick.
    """

    def __init__(self, first: ControlSnapshot) -> None:
        self.newest = first
        self.version = 0
        self.changed = trio.Event()
        self._structure = structure(first)

    def publish(self, snapshot: ControlSnapshot) -> None:
        """Put a snapshot in the place of the one before."""
        self.newest = snapshot
        now = structure(snapshot)
        if now != self._structure:
            self._structure = now
            self.version += 1
            self.changed.set()
            self.changed = trio.Event()


def structure(snapshot: ControlSnapshot) -> tuple[object, ...]:
    """What of a snapshot does not change by time alone; values of probes do, their names do not."""
    return (
        snapshot.run_epoch_id,
        snapshot.phase,
        snapshot.hold,
        snapshot.backoffs,
        snapshot.backpressure,
        tuple((probe, tuple(values)) for probe, values in snapshot.probes.items()),
        snapshot.broken_probes,
        tuple(it.id for it in snapshot.in_flight),
        snapshot.recent[-1].id if snapshot.recent else 0,
        snapshot.counts,
        snapshot.failures[-1].seq if snapshot.failures else 0,
        snapshot.log[-1].seq if snapshot.log else 0,
    )
