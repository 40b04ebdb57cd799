"""``capture-diff``: what changed between two captures, named by tag or by file.

One name is enough for what knows its other half: a dual report, or the capture of an ejection with an early one. What
cannot be compared is described instead when it stands alone, and refused when it is one of two.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ktstr_tui.model.diff import ReportDiff, diff_reports
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import (
    AnyReport,
    DegradedReport,
    DualReport,
    decode_report,
    is_checked,
    why_alone,
)
from ktstr_tui.text.output import print_json, print_line, say
from ktstr_tui.wire.user_file import read_user_file

if TYPE_CHECKING:
    from ktstr_tui.text.lines import Line

Known: TypeAlias = dict[str, CaptureReport | DegradedReport]
"""The captures of a run, by tag."""
_HINT = "name the JSON file of a capture, or a tag of a run: ktstr-tui status lists them"
_PIPE_WIDTH = 160
MAX_FILE_BYTES = 256 << 20


def capture_diff_command(before: str, after: str | None, run_name: str | None, as_json: bool) -> None:
    """Print the difference of two captures, or of the two in one dual report.

    Raises:
        UsageError: One of them is not there, is not a capture, or cannot be compared.
    """
    names = [before] if after is None else [before, after]
    tags = [name for name in names if not _is_file(name)]
    known = _captures(run_name, tags) if tags else {}
    reports = [_read(Path(name)) if _is_file(name) else _tagged(name, known) for name in names]
    if after is None:
        _tell(before, reports[0], known, as_json)
        return
    first, second = (_whole(name, report) for name, report in zip(names, reports, strict=True))
    _print_diff(diff_reports(first, second), as_json)


def _tell(name: str, report: AnyReport, known: Known, as_json: bool) -> None:
    """What there is to say of one name."""
    from ktstr_tui.text.report_files import CANNOT_COMPARE, degraded_lines, difference, dual_lines

    if isinstance(report, DegradedReport):
        if as_json:
            print_json({"reason": f"degraded: {CANNOT_COMPARE}", "diff": None, **_plain(report)})
            return
        text = f"{report.tag} is a degraded report: {CANNOT_COMPARE}"
        _print([[(text, "")], *degraded_lines(report, _width())])
    elif isinstance(report, DualReport):
        diff = difference(report)
        if not as_json:
            _print(dual_lines(report, _width()))
        elif diff is not None:
            print_json(_plain(diff))
        else:
            tags = {
                part: it.tag if it else None for part, it in (("early", report.early), ("late", report.late))
            }
            print_json({"reason": why_alone(report), "diff": None, "outcome": report.outcome, **tags})
    else:
        _print_diff(diff_reports(_early_of(name, report, known), report), as_json)


def _early_of(name: str, report: CaptureReport, known: Known) -> CaptureReport:
    if report.early_tag is None:
        why = f": {report.early_skipped_reason}" if report.early_skipped_reason else ""
        raise UsageError(f"capture {name} has no early one to be compared with{why}", "name two captures")
    if _is_file(name):
        known = _saved(Path(name).parent)
    return _whole(report.early_tag, _tagged(report.early_tag, known))


def _whole(name: str, report: AnyReport) -> CaptureReport:
    """A report that can be one of two."""
    if isinstance(report, DualReport):
        raise UsageError(f"{name} is a dual report, which is two captures already", "name it alone")
    if isinstance(report, DegradedReport):
        raise UsageError(f"{name} is a degraded report and cannot be compared: {report.reason}", _HINT)
    return report


def _plain(value: object) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _print_diff(diff: ReportDiff, as_json: bool) -> None:
    from ktstr_tui.text.report_diff import diff_lines

    if as_json:
        print_json(_plain(diff))
    else:
        _print(diff_lines(diff, _width()))


def _print(lines: Iterable[Line]) -> None:
    from ktstr_tui.text.lines import text_of

    for line in lines:
        print_line(text_of(line))


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(".json") or Path(name).is_file()


def _read(path: Path) -> AnyReport:
    data = read_user_file(path, "capture", _HINT, max_bytes=MAX_FILE_BYTES)
    try:
        report = decode_report(data)
        if not is_checked(data):
            say(f"{path} has no checksum: whether it is as it was written cannot be told")
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", error.hint) from error
    return report


def _tagged(tag: str, captures: Known) -> CaptureReport | DegradedReport:
    if tag not in captures:
        known = f"there are {', '.join(captures)}" if captures else "it has none"
        raise UsageError(f"the run has no capture {tag!r}: {known}", _HINT)
    return captures[tag]


def _captures(run_name: str | None, tags: list[str]) -> Known:
    """The captures of a run that goes on, or of the newest on disk (of that name) that has these tags."""
    directory = Path(run_name) if run_name else None
    if directory is not None and (directory / "captures").is_dir():
        return _saved(directory / "captures")
    try:
        return asyncio.run(_live(run_name))
    except KtstrError:
        runs = _stored(run_name)
        if not runs:
            raise
    for captures in runs:
        found = _saved(captures)
        if all(tag in found for tag in tags):
            return found
    named = "no run" if run_name is None else f"no run {run_name} on disk"
    raise UsageError(f"{named} has captures {' and '.join(map(repr, tags))}", _HINT)


def _stored(run_name: str | None) -> list[Path]:
    """Where the captures of runs on disk are, the newest first; empty when none has that name."""
    from ktstr_tui.guest.paths import state_dir
    from ktstr_tui.link.stored_runs import StoredRuns

    if run_name is None:
        captures = (state_dir() / "runs").glob("*/captures")
        return sorted(captures, key=lambda it: it.stat().st_mtime, reverse=True)
    try:
        found = StoredRuns(state_dir() / "runs").find(run_name)
    except UsageError:
        return []
    return [place for it in reversed(found) if (place := Path(it.path) / "captures").is_dir()]


async def _live(run_name: str | None) -> Known:
    from ktstr_tui.cli.attach import find_run
    from ktstr_tui.link.viewer import Viewer

    async with Viewer(find_run(run_name)) as viewer:
        await viewer.connect()
        return {
            it.report.tag: it.degraded if it.degraded is not None and it.report.is_placeholder else it.report
            for it in viewer.state.captures
        }


def _saved(captures: Path) -> Known:
    found: Known = {}
    for path in sorted(captures.glob("*.json")):
        try:
            report = _read(path)
        except UsageError as error:
            # One bad file must not make the others useless.
            say(f"left out: {error.message}")
            continue
        # A capture that is whole says more than the degraded report beside it.
        if isinstance(report, CaptureReport) or (
            isinstance(report, DegradedReport) and not isinstance(found.get(report.tag), CaptureReport)
        ):
            found[report.tag] = report
    return found
