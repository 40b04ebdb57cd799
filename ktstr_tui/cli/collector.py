"""Python's garbage collector while a screen opens and is open.

A full collection looks at every object that could be part of a cycle: 90,000 once Textual, our modules and the style
sheet are loaded, which takes 40 ms and more, in the middle of whatever goes on. Nearly all of them stay until the end.
So the collector rests while a screen opens, and what is there then is put aside: later collections look at what came
after it only.
"""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

OPENING_S: Final = 2.0
"""How long a screen opens, at most."""


def opens_screen(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let the collector rest while a command opens a screen: until that is open, or the command ends."""

    @functools.wraps(command)
    def quiet(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        gc.disable()
        try:
            return command(*args, **kwargs)
        finally:
            gc.enable()

    return quiet


def note_opening() -> asyncio.TimerHandle:
    """From `OPENING_S` on, collect again, without looking at what there is by then."""
    return asyncio.get_running_loop().call_later(OPENING_S, _opened)


def _opened() -> None:
    gc.freeze()
    gc.enable()
