"""A scheduler program that never attaches: the run that waited for it is no success."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktstr_tui.model.errors import EXIT_INCONCLUSIVE
from tests.guest.runs import call, private_environment

pytestmark = pytest.mark.guest


def test_a_program_that_never_attaches_within_the_duration_is_inconclusive(tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    arguments = ("--duration", "6", "--scheduler", "/bin/sleep", "--", "600")
    done = call("run", "--headless", "--no-seed", "--json", *arguments, env=env)
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["verdict"]) == (EXIT_INCONCLUSIVE, "inconclusive"), summary["end_reason"]
    assert summary["end_reason"].startswith("inconclusive: ")
    assert "was still being loaded and had not attached" in summary["end_reason"]
    assert "duration of 6 s reached" in summary["end_reason"]
    assert summary["exit_code"] == done.returncode
