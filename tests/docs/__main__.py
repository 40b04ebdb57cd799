"""Write the generated parts of docs/, or with ``--check`` say which are not current: ``python -m tests.docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.pages import build

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Write what differs; with ``--check`` only name it. Returns the exit code."""
    stale = [
        path
        for path, text in build(CHECKOUT).items()
        if not path.is_file() or path.read_text("utf-8") != text
    ]
    for path in stale:
        print(path.relative_to(CHECKOUT))
        if "--check" not in arguments:
            path.write_text(build(CHECKOUT)[path], "utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
