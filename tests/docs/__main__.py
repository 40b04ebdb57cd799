"""Write the generated parts of docs/, or with ``--check`` say which are not current: ``python -m tests.docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.pages import build

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: list[str], checkout: Path = CHECKOUT) -> int:
    """Write what differs and print its name; with ``--check`` only print, and return 1 if there is any."""
    only_check = "--check" in arguments
    files = build(checkout)
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(path.relative_to(checkout))
        if not only_check:
            path.write_text(files[path], "utf-8")
    return int(only_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
