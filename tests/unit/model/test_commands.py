"""Answers of a backend, as the types that answer each request."""

from __future__ import annotations

import pytest

from ktstr_tui.model.commands import Captured, Changed, Command, Failure, Freeze, Reply, WatchAdded
from ktstr_tui.model.errors import GuestError, HostError


def test_an_answer_comes_back_as_its_type() -> None:
    reply = Command(id=3, request=Freeze()).done(Changed(changed=True))
    assert reply.answer(Changed) == Changed(changed=True)


@pytest.mark.parametrize("result", [{}, {"slot": "one", "watch": {}}, {"watch": {}}, {"slot": 1, "watch": 7}])
def test_an_answer_of_another_shape_is_named_and_says_what_to_do(result: dict[str, object]) -> None:
    with pytest.raises(HostError, match="answer is not understood") as error:
        Reply(id=1, result=result).answer(WatchAdded)
    assert "same version" in error.value.hint


def test_a_refusal_is_raised_before_the_answer_is_looked_at() -> None:
    with pytest.raises(GuestError, match="gone"):
        Reply(id=1, error=Failure(message="gone", fault="guest")).answer(Captured)
