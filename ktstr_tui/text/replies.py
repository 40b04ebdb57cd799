"""The sentence for a request that was carried out."""

from __future__ import annotations

from ktstr_tui.model.commands import (
    AddWatch,
    Changed,
    DetachDebugger,
    Freeze,
    HoldAutomation,
    Rebuild,
    RemoveWatch,
    Reply,
    Request,
    RestartGuest,
    ResumeAutomation,
    ResumeWatch,
    Thaw,
    WatchAdded,
)


def done_words(request: Request, reply: Reply) -> str:
    """Return what a successful request did; empty when its effect shows by itself."""
    match request:
        case Freeze():
            return "Guest frozen."
        case Thaw():
            return "Guest thawed."
        case DetachDebugger():
            return "Debugger detached." if reply.answer(Changed).changed else "No debugger is attached."
        case HoldAutomation(for_s=for_s):
            return f"Automation is held for {for_s:g} s."
        case ResumeAutomation():
            return "Automation continues." if reply.answer(Changed).changed else "Automation was not held."
        case Rebuild(cancel=True):
            return "The build is cancelled." if reply.answer(Changed).changed else "Nothing is being built."
        case Rebuild():
            return "" if reply.answer(Changed).changed else "A build is due already."
        case RestartGuest():
            return "The guest boots again."
        case RemoveWatch():
            return "Watch removed."
        case AddWatch():
            added = reply.answer(WatchAdded)
            detail = added.watch.get("detail", "")
            return f"Slot {added.slot} is {added.watch.get('state', 'gone')}" + (
                f": {detail}" if detail else "."
            )
        case ResumeWatch():
            changed = reply.answer(Changed)
            return (
                f"The watch is {changed.watch.get('state', 'gone')}."
                if changed.changed
                else "The watch was not paused."
            )
    return ""
