"""Who may do what."""

from __future__ import annotations

import pytest

from ktstr_tui.control.authority import Authority
from ktstr_tui.control.commands import LINK_COMMANDS, RUN_COMMANDS, Command, Reply
from ktstr_tui.model.errors import GuestError, UsageError


async def handle(command: Command) -> Reply:
    if command.name == "thaw":
        raise GuestError("gone")
    return command.done(did=command.name)


@pytest.mark.parametrize("name", sorted(LINK_COMMANDS | RUN_COMMANDS))
def test_with_control_everything_known_is_allowed(name: str) -> None:
    authority = Authority()
    authority.check(Command(id=1, name=name))
    assert authority.statistics().allowed == 1


@pytest.mark.parametrize("name", sorted(RUN_COMMANDS))
def test_without_control_looking_is_all(name: str) -> None:
    authority = Authority(control=False)
    with pytest.raises(UsageError, match="no control"):
        authority.check(Command(id=1, name=name))
    authority.check(Command(id=2, name="snapshot"))
    assert (authority.statistics().allowed, authority.statistics().refused) == (1, 1)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no command 'explode'"):
        Authority().check(Command(id=1, name="explode"))


async def test_a_guarded_handler_answers_in_every_case() -> None:
    guarded = Authority().guard(handle)
    assert (await guarded(Command(id=1, name="capture"))).result == {"did": "capture"}
    for name in ("thaw", "explode"):
        reply = await guarded(Command(id=2, name=name))
        assert reply.error is not None
