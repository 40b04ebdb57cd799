"""Python's collector rests while a screen opens, and works again whatever becomes of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from ktstr_tui.cli import collector
from ktstr_tui.cli.collector import note_opening, opens_screen


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_it_rests_in_a_command_and_works_after_it() -> None:
    @opens_screen
    def command(answer: int) -> int:
        assert not gc.isenabled()
        return answer

    assert command(3) == 3
    assert gc.isenabled()


def test_it_works_after_a_command_that_failed() -> None:
    @opens_screen
    def command() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        command()
    assert gc.isenabled()


def test_once_the_screen_is_open_it_works_without_what_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "OPENING_S", 0.0)

    @opens_screen
    def command() -> tuple[bool, int]:
        async def show() -> tuple[bool, int]:
            note_opening()
            later = asyncio.Event()
            asyncio.get_running_loop().call_later(0.001, later.set)
            await later.wait()
            return gc.isenabled(), gc.get_freeze_count()

        return asyncio.run(show())

    enabled, frozen = command()
    assert enabled
    assert frozen > 1000
