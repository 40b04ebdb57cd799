"""Who asked for the end of a scheduler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ktstr_tui.capture.watch.leaving import NAME_RUNNING, NAME_STOPPING, was_asked_for


def test_the_names_are_those_of_the_guest_program(checkout: Path) -> None:
    source = (checkout / "native/agent/agent.h").read_text("utf-8")
    names = dict(re.findall(r'#define (NAME_\w+) "([^"]+)"', source))
    assert names == {"NAME_RUNNING": NAME_RUNNING, "NAME_STOPPING": NAME_STOPPING}
    assert all(len(name) < 16 for name in names.values()), "a comm holds no more"


@pytest.mark.parametrize(
    ("kind", "comm", "asked"),
    [
        ("UNREG", NAME_STOPPING, True),
        ("UNREG", NAME_RUNNING, False),
        ("UNREG", "init", True),
        ("UNREG", None, True),
        ("UNREG_BPF", NAME_STOPPING, True),
        ("UNREG_BPF", NAME_RUNNING, False),
        ("UNREG_KERN", NAME_STOPPING, False),
        ("SYSRQ", "init", False),
        ("PARENT", NAME_RUNNING, False),
        ("ERROR_STALL", NAME_STOPPING, False),
    ],
)
def test_who_asked(kind: str, comm: str | None, asked: bool) -> None:
    assert was_asked_for(kind, comm) is asked
