"""Says what of snapshots came over the link, for commands that look at one on another machine."""

from __future__ import annotations

from ktstr_tui.memory.find import Found
from ktstr_tui.memory.remote import RemoteStore
from ktstr_tui.text.output import say


def say_travelled(*found: Found) -> None:
    """Say how many pages and bytes came for these, and how many pages of their memory are here now."""
    for it in found:
        if isinstance(it.store, RemoteStore):
            snapshot = it.store.read(it.name)
            total = sum(blob.pages - blob.zero_pages for blob in snapshot.memory)
            say_removed(it)
            say(f"{it.store.travelled.words()}; {it.store.here(snapshot)} of {total} are here now")


def say_removed(found: Found) -> None:
    """Say what of other runs had to go for this one."""
    if isinstance(found.store, RemoteStore):
        for it in found.store.removed:
            say(it.words())
