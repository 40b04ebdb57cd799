"""Make Markdown tables, and put them between the markers of a page that people write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class PageError(Exception):
    """A page and the tables made for it do not fit together."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """A word in a monospaced font; empty for an empty text."""
    return f"`{text}`" if str(text) else ""


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Replace what is between the markers of a page.

    A block is written as ``<!-- generated: NAME -->``, its text and ``<!-- end -->``.

    Args:
        page: The page.
        blocks: Text by name.

    Raises:
        PageError: The page names a block that nobody makes, or leaves one out.
    """
    named = [match[2] for match in _BLOCK.finditer(page)]
    if sorted(named) != sorted(blocks):
        raise PageError(f"the page has the blocks {sorted(named)}, made are {sorted(blocks)}")
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]].strip()}\n\n{match[3]}", page)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
