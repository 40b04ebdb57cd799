"""Runs on disk, as lines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ktstr_tui.model.stored import Pruned, RecordingInfo, RemovedRuns, StoredRun, StoredRunFacts
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.plain import clean


def stored_lines(
    runs: Sequence[StoredRun], removed: RemovedRuns, limit_bytes: int, ends: Mapping[str, str]
) -> list[str]:
    """A line for each run, the newest last, and what all of them take.

    Args:
        runs: The oldest first.
        removed: What was removed there until now.
        limit_bytes: Disk that all may take; 0 for no limit.
        ends: How each of them ended, in a word, by directory.
    """
    lines = [f"{'run':36} {'begun':19} {'disk':>10} {'seed':>10}  state"] if runs else []
    lines += [
        f"{clean(it.id):36} {_wall(it.begun_ns)} {words.size(it.disk_bytes):>10} {_seed(it):>10}  "
        + _listed(it, ends[it.id])
        for it in runs
    ]
    total = words.size(sum(it.disk_bytes for it in runs))
    limit = f" of {words.size(limit_bytes)}" if limit_bytes else ", no limit"
    lines.append(f"{counted(len(runs), 'run')}, {total}{limit}")
    if removed.runs:
        lines.append(
            f"{counted(removed.runs, 'run')} removed so far ({words.size(removed.disk_bytes)}), "
            f"the last {clean(removed.last)}"
        )
    return lines


def fact_lines(run: StoredRun, facts: StoredRunFacts) -> list[str]:
    """One run: what it was, how it ended, what it left."""
    recording = "none here" if run.recording_bytes is None else words.size(run.recording_bytes)
    rows = [
        ("run", run.id),
        ("begun", _wall(run.begun_ns)),
        ("disk", f"{words.size(run.disk_bytes)} {_state(run)}".rstrip()),
        ("seed", f"{run.seed} (ktstr-tui rerun {run.id})" if run.seed is not None else "none"),
        ("directory", run.path),
        ("recording", facts.unreadable or ", ".join(filter(None, (recording, facts.damage)))),
        ("captures", counted(facts.captures, "file")),
    ]
    if facts.info is not None:
        info = facts.info
        rows += [
            ("kernel", f"{info.kernel} on {info.accelerator}, {info.topology}"),
            ("scenario", info.scenario),
            ("scheduler", ", ".join(info.schedulers or ()) or info.scheduler),
        ]
    if facts.duration_ms is not None:
        rows.append(("duration", words.seconds(facts.duration_ms / 1e3)))
    if facts.end_reason:
        code = "" if facts.exit_code is None else f" (exit code {facts.exit_code})"
        rows.append(("ended", f"{facts.end_reason}{code}"))
    return [f"{name:10} {clean(value)}" for name, value in rows]


def recording_lines(found: RecordingInfo) -> list[str]:
    """A recording: what it holds."""
    duration = "none" if found.duration_ms is None else words.seconds(found.duration_ms / 1e3)
    blocks = counted(found.chunks, "block")
    lines = [
        f"recording  {clean(found.path)}",
        f"run        {clean(found.run_id)}",
        f"size       {words.size(found.bytes)} in {blocks}, {found.bytes / max(1, found.events):.0f} bytes an event",
        f"duration   {duration}",
        f"events     {found.events}",
    ]
    lines += [f"  {count:8} {clean(kind)}" for kind, count in found.kinds.items()]
    return [*lines, f"damage     {clean(found.damage) or 'none'}"]


def pruned_line(pruned: Pruned) -> str:
    """What was removed to stay below the limit, in one line."""
    names = ", ".join(it.id for it in pruned.removed[:8])
    more = f" and {len(pruned.removed) - 8} more" if len(pruned.removed) > 8 else ""
    done = "would be removed" if pruned.dry_run else "removed"
    text = f"{counted(len(pruned.removed), 'old run')} {done} ({words.size(pruned.removed_bytes)}); the others take"
    if not pruned.removed:
        text = "no old run removed: all of them take"
    text += f" {words.size(pruned.left_bytes)} of {words.size(pruned.limit_bytes)}"
    if pruned.left_bytes > pruned.limit_bytes:
        text += ", and are kept or open"
    text += f": {clean(names)}{more}" if names else ""
    return text + "".join(f"; {clean(name)}: {clean(why)}" for name, why in pruned.failed.items())


def _seed(run: StoredRun) -> str:
    return "" if run.seed is None else str(run.seed)


def _listed(run: StoredRun, end: str) -> str:
    return end.replace("-", " ") + (", kept" if run.kept else "")


def _state(run: StoredRun) -> str:
    return ", ".join(filter(None, ("open" if run.open else "", "kept" if run.kept else "")))


def _wall(wall_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / 1e9))
