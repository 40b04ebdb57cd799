"""What tests of memory share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit.memory.paged import ram_file


@pytest.fixture
def ram_fd() -> Iterator[int]:
    """An empty RAM file."""
    fd = ram_file(1024)
    yield fd
    os.close(fd)
