"""Say which files of docs/ are generated, whole or in part, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.docs.markdown import fill
from tests.docs.reference_tables import reference_blocks
from tests.docs.schemas import schemas
from tests.docs.wire_tables import recording_blocks, wire_blocks

PAGES: Final[Mapping[str, Callable[[], dict[str, str]]]] = {
    "wire.md": wire_blocks,
    "recording.md": recording_blocks,
    "reference.md": reference_blocks,
}
"""Pages that people write, and who makes the tables in them."""


def build(checkout: Path) -> dict[Path, str]:
    """What each generated file must hold, by its path.

    Args:
        checkout: The directory of ``pyproject.toml``.
    """
    docs = checkout / "docs"
    pages = {docs / name: fill((docs / name).read_text("utf-8"), make()) for name, make in PAGES.items()}
    return pages | {docs / "schemas" / f"{name}.schema.json": text for name, text in schemas().items()}
