"""A lock is one process's until it ends, and what goes wrong under it is not taken for somebody else's lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktstr_tui.wire.file_lock import lock_of, try_lock


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock_of(path) as first, lock_of(path) as second:
        assert (first, second) == (True, False)
    with lock_of(path) as again:
        assert again
        other = os.open(path, os.O_RDONLY)
        assert not try_lock(other)
        os.close(other)


def test_an_error_of_whoever_holds_it_stays_that_error(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), lock_of(tmp_path / "lock"):
        raise BlockingIOError
    with pytest.raises(FileNotFoundError), lock_of(tmp_path / "none/lock"):
        pass
