"""``capture-diff``: what changed between two captures, named by tag or by file."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec

from ktstr_tui.cli.output import print_json
from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.report import SCHEMA, CaptureReport

_HINT = "name the JSON file of a capture, or a tag of a run: ktstr-tui status lists them"
_PIPE_WIDTH = 160
MAX_FILE_BYTES = 256 << 20


def capture_diff_command(before: str, after: str, run_name: str | None, as_json: bool) -> None:
    """Print the difference of two captures.

    Raises:
        UsageError: One of them is not there, or is no capture.
    """
    tags = [name for name in (before, after) if not _is_file(name)]
    captures = _captures(run_name, tags) if tags else {}
    reports = [_read(Path(name)) if _is_file(name) else _tagged(name, captures) for name in (before, after)]
    diff = diff_reports(reports[0], reports[1])
    if as_json:
        print_json(msgspec.to_builtins(diff))
        return
    from ktstr_tui.tui.lines import text_of
    from ktstr_tui.tui.report_diff import diff_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    for line in diff_lines(diff, width):
        print(text_of(line))


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(".json") or Path(name).is_file()


def _read(path: Path) -> CaptureReport:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is too large to be a capture", _HINT)
        report = msgspec.json.decode(path.read_bytes(), type=CaptureReport)
    except OSError as error:
        raise UsageError(f"capture {path} cannot be read: {error.strerror}", _HINT) from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a capture: {error}", _HINT) from error
    if report.schema != SCHEMA:
        raise UsageError(f"{path} has schema {report.schema!r}, and this program knows {SCHEMA!r}", _HINT)
    return report


def _tagged(tag: str, captures: dict[str, CaptureReport]) -> CaptureReport:
    if tag not in captures:
        known = f"there are {', '.join(captures)}" if captures else "it has none"
        raise UsageError(f"the run has no capture {tag!r}: {known}", _HINT)
    return captures[tag]


def _captures(run_name: str | None, tags: list[str]) -> dict[str, CaptureReport]:
    """The captures of a run that goes on, or of the newest one that is over and has these tags."""
    directory = Path(run_name) if run_name else None
    if directory is not None and (directory / "captures").is_dir():
        return _saved(directory)
    try:
        return asyncio.run(_live(run_name))
    except KtstrError:
        if run_name is not None:
            raise
    from ktstr_tui.guest.paths import state_dir

    runs = sorted((state_dir() / "runs").glob("*/captures"), key=lambda it: it.stat().st_mtime, reverse=True)
    for captures in runs:
        found = _saved(captures.parent)
        if all(tag in found for tag in tags):
            return found
    raise UsageError(f"no run has captures {' and '.join(map(repr, tags))}", _HINT)


async def _live(run_name: str | None) -> dict[str, CaptureReport]:
    from ktstr_tui.cli.attach import find_run
    from ktstr_tui.link.viewer import Viewer

    async with Viewer(find_run(run_name)) as viewer:
        await viewer.connect()
        return {it.report.tag: it.report for it in viewer.state.captures}


def _saved(directory: Path) -> dict[str, CaptureReport]:
    reports = (_read(path) for path in sorted((directory / "captures").glob("*.json")))
    return {report.tag: report for report in reports}
