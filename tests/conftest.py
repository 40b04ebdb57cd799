"""What all tests share: where the checkout is, and how hypothesis behaves on a busy machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline measures the machine's load, not the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# No configuration file of whoever runs the tests decides about them, nor about the programs that they start.
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no-config")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The directory of ``pyproject.toml``."""
    return Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what boots kernels and what draws screens, so that ``-m 'not guest'`` leaves the former out."""
    for item in items:
        folder = item.path.relative_to(item.config.rootpath).parts[1:2]
        if "guest" in folder:
            item.add_marker("guest")
        elif "tui" in folder:
            item.add_marker("screen")
