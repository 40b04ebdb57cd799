"""Lets trio take tasks in the order in which they became runnable.

Trio turns that order round by chance, so that no program relies on it. A run with a seed must: which of two parts of
the backend speaks first at a station is part of its stream of events. There is no public way to ask for it; what is
replaced here is what trio itself names as the place for that (``_r``, see its comment on Hypothesis).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

from trio._core import _run


class _AlwaysTurned(random.Random):
    """A batch is taken from its end, so it is turned round each time."""

    def random(self) -> float:
        return 0.0

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x.reverse()


@contextmanager
def tasks_in_order(wanted: bool) -> Iterator[None]:
    """Take tasks in their order as long as the context is open, if that is wanted."""
    trio_run: Any = _run
    before = trio_run._r
    if wanted:
        trio_run._r = _AlwaysTurned()
    try:
        yield
    finally:
        trio_run._r = before
