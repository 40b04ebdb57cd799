"""What all tests share: where the checkout is, and how hypothesis behaves on a busy machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A deadline measures the machine's load, not the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The directory of ``pyproject.toml``."""
    return Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what boots kernels, so that ``-m 'not guest'`` leaves it out."""
    for item in items:
        if "guest" in item.path.relative_to(item.config.rootpath).parts[1:2]:
            item.add_marker("guest")
