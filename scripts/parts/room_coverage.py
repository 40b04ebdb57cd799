"""Prints how much of each room the tests ran, from the data that ``coverage run`` left.

Run ``.venv/bin/coverage run -m pytest -m "not guest"`` and ``.venv/bin/coverage combine`` first. Lines that ran in a
process that was killed are not counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException


def room_of(path: Path, package: Path) -> str:
    """Name of the room that a file is in; the package's own name for files at its top."""
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else package.name


def table(rows: Iterable[tuple[str, int, int]]) -> list[str]:
    """Lines of text, one for each room and one for all, of (room, statements, statements that did not run)."""
    statements: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for room, count, not_run in rows:
        for name in (room, "all"):
            statements[name] += count
            missed[name] += not_run
    lines = [f"{'room':<12}{'statements':>11}{'not run':>9}{'covered':>9}"]
    for name in [*sorted(statements.keys() - {"all"}), "all"]:
        count = statements[name]
        share = f"{100 * (count - missed[name]) / count:.1f} %" if count else "-"
        lines.append(f"{name:<12}{count:>11}{missed[name]:>9}{share:>9}")
    return lines


def measured(package: Path) -> list[tuple[str, int, int]]:
    """One (room, statements, statements that did not run) for each file of the package, also those never loaded.

    Raises:
        CoverageException: There are no data.
    """
    coverage = Coverage()
    coverage.load()
    if not coverage.get_data().measured_files():
        raise CoverageException(f"no data in {coverage.get_data().data_filename()}")
    rows = []
    for path in sorted(package.rglob("*.py")):
        _, statements, _, missing, _ = coverage.analysis2(str(path))
        rows.append((room_of(path, package), len(statements), len(missing)))
    return rows


def main() -> int:
    """Print the table; leave with 1 when there is nothing to print."""
    try:
        lines = table(measured(Path.cwd() / "ktstr_tui"))
    except CoverageException as error:
        print(
            f"coverage: {error}; run first: .venv/bin/coverage run -m pytest -m 'not guest'", file=sys.stderr
        )
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
