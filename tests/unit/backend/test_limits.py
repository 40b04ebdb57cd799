"""The limit of open files, raised as far as needed and allowed before a run begins."""

from __future__ import annotations

import resource

import pytest

from ktstr_tui.backend.limits import MIN_OPEN_FILES, WANTED_OPEN_FILES, require_open_files
from ktstr_tui.model.errors import HostError


class Limit:
    """RLIMIT_NOFILE of a made-up process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _which: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (32, 4096, WANTED_OPEN_FILES),
        (32, resource.RLIM_INFINITY, WANTED_OPEN_FILES),
        (32, MIN_OPEN_FILES, MIN_OPEN_FILES),
        (8192, 8192, 8192),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_soft_limit_is_raised(soft: int, hard: int, raised: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(monkeypatch, soft, hard)
    require_open_files()
    assert limit.now == (raised, hard)


def test_a_hard_limit_that_is_too_low_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Limit(monkeypatch, 32, MIN_OPEN_FILES - 1)
    with pytest.raises(HostError, match="255 open files, and a run needs 256") as caught:
        require_open_files()
    assert "ulimit -n" in caught.value.hint
