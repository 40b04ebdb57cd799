"""The end of a run: the bridge and the bucket are drained once, and what they held is told and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktstr_tui.backend.conclusion import conclude
from ktstr_tui.backend.summary import summarize
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.bridge_news import BridgeNews
from ktstr_tui.capture.periodic import PeriodicStatistics
from ktstr_tui.capture.report.dual import EarlyStatistics
from ktstr_tui.capture.snapshots import MAX_STORED_SNAPSHOTS
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import CaptureTaken, Event, Logged, RunConcluded
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.report import CaptureReport, placeholder
from ktstr_tui.model.report_files import DegradedReport
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.wire.frames import Frame
from ktstr_tui.wire.kernel_ops import U32, KernelOpReply
from ktstr_tui.wire.messages import ExitCode, MsgType


def report(tag: str) -> CaptureReport:
    return CaptureReport(tag=tag, trigger="guest")


async def no_capture(tag: str) -> CaptureReport | None:
    raise GuestError("the guest did not stop")


def text_of(path: str) -> str:
    return Path(path).read_text()


class Run:
    """A stream, a bridge and a bucket."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.stream = Stream()
        self.told: list[Event] = []
        self.bridge = SnapshotBridge(no_capture)
        self.dispatcher = Dispatcher()

    async def conclude(self) -> RunConcluded:
        """Conclude, and give what was told."""
        periodic = PeriodicStatistics(
            planned=2,
            asked=3,
            taken=1,
            failed=1,
            timeouts=0,
            deferred=0,
            with_stats=0,
            without_stats={"timeout": 1},
            abandoned=False,
        )
        early = EarlyStatistics(due=1, taken=1, failed=0)
        await conclude(
            self.data_dir, self.bridge, self.dispatcher, self.stream, periodic=periodic, early=early
        )
        told = self.stream.state.conclusion
        assert told is not None
        return told


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "data")


async def test_a_run_without_anything_writes_nothing(run: Run) -> None:
    told = await run.conclude()
    assert (told.captures, told.index_path, told.results_path, told.guest_exit) == ((), "", "", None)
    assert told.early == {"due": 1, "taken": 1, "failed": 0}
    assert (told.periodic["asked"], told.periodic["taken"], told.periodic["abandoned"]) == (3, 1, 0)
    assert not run.data_dir.exists()


async def test_the_index_lists_what_the_bridge_kept(run: Run) -> None:
    run.stream.emit(CaptureTaken(report=report("b"), path="/captures/001-b.json"))
    run.bridge.store("a", report("a"))
    run.bridge.store_with_stats_and_step("b", report("b"), {"nr": 1}, 1500, 2)
    run.bridge.store_with_stats("periodic_000", report("periodic_000"), MissingStats("timeout", "5 s"), 7)
    run.bridge.store("periodic_001", placeholder("periodic_001", "periodic", "timed out"))
    run.bridge.store("a", report("a"))
    run.bridge.record_kernel_op_reply("look", KernelOpReply(3, True, "", (U32(5),)))
    told = await run.conclude()
    assert told.captures == ("b", "periodic_000", "periodic_001", "a")
    assert (told.periodic_real, told.kernel_ops, told.bridge_events) == (1, 1, {"overwrite": 1})
    index = json.loads(text_of(told.index_path))
    assert index["captures"][0] == {
        "tag": "b",
        "schema": "single",
        "trigger": "guest",
        "is_placeholder": False,
        "step_index": 2,
        "elapsed_ms": 1500,
        "stats": {"nr": 1},
        "stats_unavailable": None,
        "path": "/captures/001-b.json",
    }
    assert index["captures"][1]["stats_unavailable"] == "timeout: 5 s"
    assert index["captures"][3]["stats_unavailable"] == "no scheduler binary"
    assert index["events"] == [{"event": "overwrite", "tag": "a", "prior_schema": "single"}]
    assert (index["kernel_ops"][0]["tag"], index["kernel_ops"][0]["success"]) == ("look", True)
    assert run.bridge.is_empty()
    assert run.bridge.drain_kernel_ops() == []


async def test_the_index_says_what_is_in_the_file_of_a_stop_that_failed(run: Run) -> None:
    failed, path = placeholder("a", "guest", "timed out"), "/captures/001-a.degraded.json"
    degraded = DegradedReport(tag="a", trigger="guest", reason="rendezvous timed out", elapsed_ms=2000.0)
    run.stream.emit(CaptureTaken(report=failed, path=path, degraded=degraded))
    run.stream.emit(CaptureTaken(report=report("b"), degraded=degraded))
    run.bridge.store("a", failed)
    run.bridge.store("b", report("b"))
    index = json.loads(text_of((await run.conclude()).index_path))
    assert [(it["schema"], it["is_placeholder"], it["path"]) for it in index["captures"]] == [
        ("degraded", True, path),
        ("single", False, ""),
    ]


async def test_results_of_the_guest_are_written_and_named(run: Run) -> None:
    run.dispatcher.dispatch(
        [
            Frame(MsgType.PayloadMetrics, b'{"p99_us": 12}', True),
            Frame(MsgType.PayloadMetrics, b"torn", False),
            Frame(MsgType.Exit, ExitCode(0).pack(), True),
        ]
    )
    told = await run.conclude()
    assert (told.results, told.torn, told.guest_exit) == ({"PayloadMetrics": 2}, {"PayloadMetrics": 1}, 0)
    lines = [json.loads(line) for line in text_of(told.results_path).splitlines()]
    assert [line.get("value") or line.get("text") for line in lines] == [{"p99_us": 12}, "torn"]
    assert "results: 2 PayloadMetrics" in run.stream.state.log[-1].text
    summary = summarize(run.stream.state)["conclusion"]
    assert summary is not None
    assert summary["results"] == {"PayloadMetrics": 2}
    assert "seq" not in summary


async def test_a_disk_that_takes_nothing_costs_the_file_and_says_so(run: Run) -> None:
    run.data_dir.write_text("in the way")
    run.bridge.store("a", report("a"))
    told = await run.conclude()
    assert (told.captures, told.index_path) == (("a",), "")
    assert "could not be written" in run.stream.state.log[-1].text


async def test_people_hear_of_the_first_eviction_and_the_number_of_all() -> None:
    lines: list[Event] = []
    news = BridgeNews(lines.append)
    bridge = SnapshotBridge(no_capture, on_event=news.tell)
    for index in range(MAX_STORED_SNAPSHOTS + 3):
        bridge.store(str(index), report(str(index)))
    bridge.store("66", report("66"))
    with pytest.raises(GuestError):
        await bridge.capture("x")
    assert [line.text.split(":")[0] for line in lines if isinstance(line, Logged)] == [
        "0 was dropped for 64; its file is kept (at most 64 captures are held)",
        "capture 66 replaced an earlier one under the same tag; its file is kept",
        "capture x, requested by the scenario, could not be taken",
    ]
    assert {reason: count for reason, count in news.drops().items() if count} == {
        "captures-evicted": 3,
        "captures-replaced": 1,
        "scenario-captures-failed": 1,
    }
