"""What viewers may ask of a run, command by command.

A command's arguments come from another process: each is taken out by name and type, and what is missing, odd or
unknown is refused with its name. Results are plain values, for JSON on the other side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import msgspec

from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.capture.watch.watch_spec import HITS_PER_S, WatchSpec
from ktstr_tui.capture.watch.watches import UserWatches
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.state import RunState
from ktstr_tui.ops.command import serve_command

_T = TypeVar("_T")
Handler: TypeAlias = Callable[[Command, LiveGuest, RunState], Awaitable[Reply]]


async def run_command(command: Command, guest: LiveGuest | None, state: RunState) -> Reply:
    """Carry out one command.

    Args:
        command: What is asked.
        guest: The machine; None before it starts and when it is gone.
        state: What is known of the run.

    Raises:
        KtstrError: It failed, or there is no such command.
    """
    if command.name == "watches":
        return command.done(watches=[watch_result(state, slot) for slot in sorted(state.watchpoints)])
    handler = HANDLERS.get(command.name)
    if handler is None:
        raise UsageError(f"there is no command {command.name!r}")
    if guest is None:
        raise GuestError("the guest has not started or is gone")
    return await handler(command, guest, state)


def argument(command: Command, name: str, kind: type[_T], default: _T | None = None) -> _T:
    """An argument of a command.

    Raises:
        UsageError: It is missing, or of another type.
    """
    value = command.args.get(name)
    if value is None:
        value = default
    # A bool is an int to Python, and never meant as one.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{command.name}: {name} must be of type {kind.__name__}")
    return value


def only(command: Command, *names: str) -> None:
    """Refuse arguments that a command does not know."""
    unknown = sorted(set(command.args) - set(names))
    if unknown:
        raise UsageError(
            f"{command.name} has no argument {unknown[0]!r}", f"known commands: {', '.join(names)}"
        )


def watch_result(state: RunState, slot: int) -> dict[str, Any]:
    """A watch slot as plain values; empty when there is nothing in it."""
    watch = state.watchpoints.get(slot)
    return {} if watch is None else msgspec.to_builtins(watch)


async def _capture(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    tag = command.args.get("tag")
    if tag is not None and not isinstance(tag, str):
        raise UsageError("the tag of a capture must be text")
    report = await guest.coordinator.capture("on-demand", command.viewer, tag)
    path = next((entry.path for entry in state.captures if entry.report.tag == report.tag), "")
    return command.done(report=msgspec.to_builtins(report), path=path)


async def _freeze(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    return command.done(changed=await guest.coordinator.freeze(command.viewer or "a viewer"))


async def _thaw(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    return command.done(changed=await guest.coordinator.thaw(command.viewer or "a viewer"))


async def _watch(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    only(command, "expression", "length", "once", "capture", "budget")
    spec = WatchSpec(
        expression=argument(command, "expression", str),
        length_bytes=argument(command, "length", int, 4),
        once=argument(command, "once", bool, False),
        capture=argument(command, "capture", bool, False),
        budget_per_s=argument(command, "budget", int, HITS_PER_S),
    )
    slot = await guest.coordinator.watches.add(spec)
    return command.done(slot=slot, watch=watch_result(state, slot))


async def _unwatch(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    slot, watches = _slot(command, guest)
    return command.done(changed=await watches.remove(slot))


async def _rewatch(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    slot, watches = _slot(command, guest)
    return command.done(changed=await watches.resume(slot), watch=watch_result(state, slot))


async def _kernel_op(command: Command, guest: LiveGuest, state: RunState) -> Reply:
    who = command.viewer or "a viewer"
    return command.done(**await serve_command(guest.kernel_ops, command.args, who))


def _slot(command: Command, guest: LiveGuest) -> tuple[int, UserWatches]:
    only(command, "slot")
    return argument(command, "slot", int), guest.coordinator.watches


HANDLERS: dict[str, Handler] = {
    "capture": _capture,
    "freeze": _freeze,
    "thaw": _thaw,
    "watch": _watch,
    "unwatch": _unwatch,
    "rewatch": _rewatch,
    "kernel-op": _kernel_op,
}
"""Commands that need a guest; ``end`` is the session's own."""
