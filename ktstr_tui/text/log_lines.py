"""Lines of the event log as they are shown: what was said a moment ago is not said twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ktstr_tui.model.state import LogLine

LOOK_BACK = 4
"""Lines before one of the verdict in which its reasons are looked for."""


def without_repeats(lines: Sequence[LogLine]) -> Iterator[LogLine]:
    """Yield ``lines``; of a verdict's reasons those that stand in an alert just above are left out."""
    for index, line in enumerate(lines):
        above = lines[max(0, index - LOOK_BACK) : index]
        yield _only_news(line, above) if line.source == "health" else line


def _only_news(line: LogLine, above: Sequence[LogLine]) -> LogLine:
    verdict, _, reasons = line.text.partition(": ")
    rest = f"; {reasons}; "
    for told in above:
        rest = rest.replace(f"; {told.text}; ", "; ")
    rest = rest.removeprefix("; ").removesuffix("; ").removesuffix(";")
    return msgspec.structs.replace(line, text=f"{verdict}: {rest}" if rest else verdict)
