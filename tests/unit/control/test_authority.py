"""Who may do what."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from ktstr_tui.control.authority import Authority
from ktstr_tui.model.commands import (
    HELD_REQUESTS,
    READING_REQUESTS,
    Capture,
    Command,
    GetSnapshot,
    Reply,
    Request,
    Thaw,
)
from ktstr_tui.model.control import HoldState
from ktstr_tui.model.errors import GuestError, UsageError

FIELDS = {
    "file": "x.bpf.o",
    "content": b"x",
    "first": 1,
    "last": 2,
    "expression": "jiffies",
    "slot": 1,
    "op": {},
    "request": {"name": "end"},
}


def made(kind: type[Request]) -> Request:
    """A request of a kind, with what it cannot do without."""
    required = {it.name: FIELDS[it.name] for it in msgspec.structs.fields(kind) if it.required}
    return msgspec.convert({"name": kind.__struct_config__.tag, **required}, kind)


async def handle(command: Command) -> Reply:
    if isinstance(command.request, Thaw):
        raise GuestError("gone")
    return command.done(did=command.name)


@pytest.mark.parametrize("kind", get_args(Request))
def test_with_control_everything_is_allowed(kind: type[Request]) -> None:
    authority = Authority()
    authority.check(Command(id=1, request=made(kind)))
    assert authority.drops() == {"commands-refused": 0}


@pytest.mark.parametrize("kind", [it for it in get_args(Request) if it not in READING_REQUESTS])
def test_without_control_looking_is_all(kind: type[Request]) -> None:
    authority = Authority(control=False)
    with pytest.raises(UsageError, match="does not allow"):
        authority.check(Command(id=1, request=made(kind)))
    authority.check(Command(id=2, request=GetSnapshot()))
    assert authority.drops() == {"commands-refused": 1}


async def test_a_guarded_handler_answers_in_every_case() -> None:
    guarded = Authority().guard(handle)
    assert (await guarded(Command(id=1, request=Capture()))).result == {"did": "capture"}
    assert (await guarded(Command(id=2, request=Thaw()))).error is not None


@pytest.mark.parametrize("kind", get_args(Request))
def test_during_a_hold_ordinary_commands_are_refused(kind: type[Request]) -> None:
    authority, hold = Authority(), HoldState(by="ann@build-7", until_ns=9, reason="demo", since_ns=1)
    command = Command(id=1, request=made(kind))
    if kind in HELD_REQUESTS:
        authority.check(command, hold)
    else:
        with pytest.raises(UsageError, match=r"held by ann@build-7 \(demo\)"):
            authority.check(command, hold)
