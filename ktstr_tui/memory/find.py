"""Finds snapshots by what a person calls them: a file, a name, or the run and the name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ktstr_tui.guest.paths import state_dir
from ktstr_tui.memory.remote import RemoteStore, open_remote, socket_of
from ktstr_tui.memory.remote_pages import remote_of
from ktstr_tui.memory.snapshot import SUFFIX
from ktstr_tui.memory.store import DIRECTORY, SnapshotStore
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean

_BEGUN = re.compile(r"-\d{8}-\d{6}(\.\d{1,3})?$")
"""What the directory of a run has behind its name."""


class Found(msgspec.Struct, frozen=True):
    """A snapshot in a store."""

    store: SnapshotStore
    name: str

    @property
    def run(self) -> str:
        """The directory of its run, or the name of a run on another machine."""
        if isinstance(self.store, RemoteStore):
            return self.store.remote.run
        return self.store.directory.parent.name

    @property
    def run_name(self) -> str:
        """The name of its run."""
        return _BEGUN.sub("", self.run)

    @property
    def path(self) -> Path:
        """Its file."""
        return self.store.directory / f"{self.name}{SUFFIX}"


def stores(runs: Path | None = None) -> Iterator[SnapshotStore]:
    """The stores of all runs on this host, by name of the run.

    Args:
        runs: Where runs keep their data; None for where this user's runs do.
    """
    for directory in sorted((runs or state_dir() / "runs").glob(f"*/{DIRECTORY}")):
        yield SnapshotStore(directory)


def all_snapshots(runs: Path | None = None) -> list[Found]:
    """All snapshots on this host, those of a run together, oldest first."""
    return [Found(store, name) for store in stores(runs) for name in store.names()]


def find_snapshot(wanted: str, runs: Path | None = None) -> Found:
    """Find one snapshot.

    Args:
        wanted: Its file, its name, ``RUN/NAME`` with the run's directory or its name, or the directory of the
            (forwarded) sockets of a run and the name of a snapshot there.
        runs: As for `stores`.

    Raises:
        UsageError: There is none, or the name means several.
        HostError: The machine where it lies does not answer.
    """
    path = Path(wanted)
    if path.name.endswith(SUFFIX) and path.exists():
        remote = remote_of(path.parent)
        store = SnapshotStore(path.parent) if remote is None else RemoteStore(path.parent, remote)
        return Found(store, path.name.removesuffix(SUFFIX))
    if "/" in wanted and (socket := socket_of(path.parent)) is not None:
        return Found(open_remote(socket, path.name), path.name)
    run, _, name = wanted.rpartition("/")
    known = all_snapshots(runs)
    of_name = [it for it in known if it.name == name]
    found = [it for it in of_name if run in ("", it.run)] or [it for it in of_name if run == it.run_name]
    if not found:
        raise _none(wanted, name, known)
    if len(found) > 1:
        several = ", ".join(f"{it.run}/{it.name}" for it in found)
        raise UsageError(f"{wanted} may be several snapshots: {several}", "name one of these")
    return found[0]


def _none(wanted: str, name: str, known: list[Found]) -> UsageError:
    if not name:
        return UsageError(f"{wanted!r} names no snapshot", "ktstr-tui snapshot list names them all")
    # Of another run's one with this very name it is the run that was mistaken.
    same = [f"{it.run}/{it.name}" for it in known if it.name == name]
    guess = f"; there is {', '.join(same)}" if same else did_you_mean(name, [it.name for it in known])
    return UsageError(f"there is no snapshot {wanted}{guess}", "ktstr-tui snapshot list names them all")


def find_here(wanted: str, runs: Path | None = None) -> Found:
    """As `find_snapshot`, for what changes a store: only one of this machine.

    Raises:
        UsageError: There is none, the name means several, or it lies on another machine.
    """
    path = Path(wanted)
    if "/" in wanted and not path.exists() and socket_of(path.parent) is not None:
        raise UsageError(
            f"{wanted} lies where its run is", "do that there, by its name without the directory"
        )
    return find_snapshot(wanted, runs)
