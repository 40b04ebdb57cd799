"""What README and guide tell to type can be typed, and their links lead to headings that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.reference_tables import command_tree

PAGES = ("README.md", "docs/guide.md")
OTHERS = frozenset(("--no-deps", "--wheel-dir", "--slice-us"))
"""Options of pip, and of a scheduler."""


def every_command(command: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own click
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, f"{path} {name}")


def anchors(page: str) -> set[str]:
    """How GitHub names the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_options_are_there(checkout: Path, name: str) -> None:
    known = dict(every_command(command_tree(), "ktstr-tui"))
    page = (checkout / name).read_text("utf-8")
    typed = " | ".join([*re.findall(r"`([^`]+)`", page), *re.findall(r"^    (.+)$", page, re.MULTILINE)])
    named = set(re.findall(r"ktstr-tui\s+([a-z][a-z-]+)", typed))
    assert len(named) > 3
    assert sorted(it for it in named if f"ktstr-tui {it}" not in known) == []
    options = {opt for one in known.values() for it in one.params for opt in (*it.opts, *it.secondary_opts)}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
    assert sorted(told - options - OTHERS - {"--help"}) == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_headings(checkout: Path, name: str) -> None:
    page = checkout / name
    links = re.findall(r"\]\(([^)#:]+)#([^)]+)\)", page.read_text("utf-8"))
    assert links
    broken = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors((page.parent / target).read_text("utf-8"))
    ]
    assert broken == []
