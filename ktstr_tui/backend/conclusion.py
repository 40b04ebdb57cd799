"""Conclude a run with a machine: drain the bridge and the bucket once, and report what they held.

Two files go into the run's data directory, each only when there is something for it:

* ``captures.json``: the captures on the bridge in the order of their last insertion, each with its file, step,
  time and scheduler statistics (or why there are none); what happened on the bridge; the replies of the scenario's
  kernel operations.
* ``results.jsonl``: frames of the guest that nobody reads before the end, a line each (see `capture.verdict`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import trio

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.snapshots import BridgeEvent, DrainedSnapshot
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.events import Logged, RunConcluded
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.outputs import IndexLine
from ktstr_tui.model.report_files import SCHEMA_DEGRADED
from ktstr_tui.model.state import CaptureState
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.port.verdict import GuestVerdict, judge, result_line
from ktstr_tui.wire.whole_file import write_whole


async def conclude(
    data_dir: Path,
    bridge: SnapshotBridge,
    dispatcher: Dispatcher,
    stream: Stream,
    *,
    periodic: msgspec.Struct,
    early: msgspec.Struct,
    boot: int = 1,
) -> None:
    """Drain both, write the files and tell what there was. A full disk costs the file and says so.

    Args:
        data_dir: The run's data directory.
        bridge: Of the run.
        dispatcher: Of the guest's port; its last frame has been dispatched.
        stream: Knows the captures' files, and takes the event.
        periodic: Counters of the periodic captures.
        early: Counters of the early captures.
        boot: Number of the boot; from the second on it is in the names of the files.
    """
    of = f"-{boot}" if boot > 1 else ""
    verdict = judge(dispatcher.drain_bucket())
    periodic_real = bridge.periodic_real_count()
    captures = bridge.drain_ordered_with_stats()
    operations = bridge.drain_kernel_ops()
    happened = bridge.drain_events()
    saved = {entry.report.tag: entry for entry in stream.state.captures}
    index = {
        "captures": [_line(entry, saved.get(entry.report.tag)) for entry in captures],
        "events": [msgspec.to_builtins(event) for event in happened],
        "kernel_ops": [{"tag": tag, **_plain(reply)} for tag, reply in operations],
    }
    index_path, results_path = data_dir / f"captures{of}.json", data_dir / f"results{of}.jsonl"
    told = RunConcluded(
        captures=tuple(entry.tag for entry in captures),
        periodic_real=periodic_real,
        periodic=_numbers(periodic),
        early=_numbers(early),
        bridge_events=_kinds(happened),
        kernel_ops=len(operations),
        guest_exit=verdict.guest_exit,
        scheduler_exits=verdict.scheduler_exits,
        torn=verdict.torn,
        results=dict(Counter(entry.kind.name for entry in verdict.results)),
        index_path=await _write(index_path, _json(index), stream) if any(index.values()) else "",
        results_path=await _write(results_path, _lines(verdict), stream) if verdict.results else "",
    )
    stream.emit(told)


def _line(entry: DrainedSnapshot, saved: CaptureState | None) -> IndexLine:
    missing = entry.stats if isinstance(entry.stats, MissingStats) else None
    failed = entry.report.is_placeholder
    return {
        "tag": entry.tag,
        # A stop that failed has one file, and that is no placeholder.
        "schema": SCHEMA_DEGRADED if saved and saved.degraded and failed else entry.report.schema,
        "trigger": entry.report.trigger,
        "is_placeholder": failed,
        "step_index": entry.step_index,
        "elapsed_ms": entry.elapsed_ms,
        "stats": None if missing else entry.stats,
        "stats_unavailable": str(missing) if missing else None,
        "path": saved.path if saved else "",
    }


def _plain(reply: Any) -> dict[str, Any]:  # noqa: ANN401
    fields: dict[str, Any] = msgspec.to_builtins(reply)
    return fields


def _numbers(counters: msgspec.Struct) -> dict[str, int]:
    fields = msgspec.structs.asdict(counters)
    return {name: int(value) for name, value in fields.items() if isinstance(value, int)}


def _kinds(events: Iterable[BridgeEvent]) -> dict[str, int]:
    return dict(Counter(str(type(event).__struct_config__.tag) for event in events))


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _lines(verdict: GuestVerdict) -> bytes:
    return "".join(result_line(entry) + "\n" for entry in verdict.results).encode()


async def _write(path: Path, data: bytes, stream: Stream) -> str:
    try:
        await trio.to_thread.run_sync(write_whole, path, data)
    except OSError as error:
        text = f"{path} could not be written: {error}"
        stream.emit(Logged(severity="error", source="captures", text=text))
        return ""
    return str(path)
