"""Errors out of exception groups."""

from __future__ import annotations

import pytest

from ktstr_tui.model.errors import GuestError, HostError, sole_error


def test_the_only_error_of_nested_groups_is_raised_with_its_cause() -> None:
    cause = OSError("no space")
    error = GuestError("it died")
    error.__cause__ = cause
    with pytest.raises(GuestError) as caught, sole_error():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert caught.value is error
    assert caught.value.__cause__ is cause


def test_several_errors_stay_together() -> None:
    errors = [GuestError("it died"), HostError("no space")]
    with pytest.raises(ExceptionGroup) as caught, sole_error():
        raise ExceptionGroup("both", errors)
    assert list(caught.value.exceptions) == errors


def test_an_error_outside_groups_is_left_alone() -> None:
    with pytest.raises(HostError, match="no space"), sole_error():
        raise HostError("no space")
