"""The asyncio half of the link loads no trio, the trio half no asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("viewer,replay,recfile,source,runs,status,framing", "trio"),
        ("publisher,recording,stream,zsocket", "asyncio"),
    ],
)
def test_each_half_loads_its_own_loop_only(modules: str, unwanted: str, checkout: Path) -> None:
    imports = ";".join(f"import ktstr_tui.link.{module}" for module in modules.split(","))
    check = f"import sys;{imports};sys.exit({unwanted!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=checkout, check=False)
    assert done.returncode == 0
