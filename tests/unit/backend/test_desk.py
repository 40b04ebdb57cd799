"""Commands of viewers, through the control loop: what they are given is checked, what they may not do is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from ktstr_tui.backend.control import FAILURES_FILE, JsonLines
from ktstr_tui.capture.job import SavedCapture
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.control.audit_chain import AUDIT_FILE, verify
from ktstr_tui.control.authority import Authority
from ktstr_tui.control.queue import CAPACITY
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Freeze, ListWatches
from ktstr_tui.model.control import FailureRecord
from ktstr_tui.model.errors import GuestError, HostError, RefusedError, UsageError
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.wire.codec import VERSION, CodecError, decode_command
from tests.unit.backend.desk_rig import Run
from tests.unit.model.test_fold import INFO


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    made = Run(tmp_path)
    async with made.running():
        yield made


async def test_a_watch_is_added_with_what_was_asked(run: Run) -> None:
    reply = await run.ask("watch.add", expression="jiffies", length=8, once=True, capture=True, budget=5)
    assert run.watches.added == [
        WatchSpec(expression="jiffies", length_bytes=8, once=True, capture=True, budget_per_s=5)
    ]
    assert (reply.id, reply.result["slot"], reply.result["watch"]["expression"]) == (7, 1, "jiffies")
    await run.ask("watch.add", expression="jiffies")
    assert run.watches.added[1] == WatchSpec(expression="jiffies")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("watch.add", {}),
        ("watch.add", {"expression": 7}),
        ("watch.add", {"expression": "x", "length": True}),
        ("watch.add", {"expression": "x", "length": "8"}),
        ("watch.add", {"expression": "x", "once": 1}),
        ("watch.add", {"expression": "x", "adress": 1}),
        ("watch.remove", {}),
        ("watch.resume", {"slot": None}),
        ("dance", {}),
        ("capture", {"tag": 1}),
        ("range", {"first": 3, "last": 2}),
        ("range", {"first": 0, "last": 2}),
    ],
)
def test_odd_requests_do_not_get_past_the_codec(name: str, args: dict[str, Any]) -> None:
    data = bytes([VERSION]) + msgspec.msgpack.encode({"id": 1, "request": {"name": name, **args}})
    with pytest.raises(CodecError):
        decode_command(data)


async def test_the_answer_to_a_capture_says_where_it_is_and_leaves_the_report_to_the_stream(run: Run) -> None:
    report = CaptureReport(tag="mine", trigger="on-demand", step="stall", elapsed_ms=5.0)

    async def capture(trigger: str, detail: str, tag: str | None) -> SavedCapture:
        await trio.lowlevel.checkpoint()
        return SavedCapture(report, "/d/001-mine.json", "")

    run.coordinator.capture_and_save = capture
    assert (await run.ask("capture", tag="mine")).result == {
        "tag": "mine",
        "unsaved": "",
        "path": "/d/001-mine.json",
        "tasks": 0,
        "lacks": "",
        "pause_us": None,
        "step": "stall",
        "elapsed_ms": 5.0,
        "snapshot": None,
    }


async def test_a_freeze_while_a_viewer_is_here_names_the_viewer(run: Run) -> None:
    frozen: list[tuple[str, str]] = []

    async def freeze(reason: str, viewer: str) -> bool:
        await trio.lowlevel.checkpoint()
        frozen.append((reason, viewer))
        return True

    run.coordinator.freeze = freeze
    ask = run.control.desk.serve
    waits = Freeze(why="waits for a key", while_here=True)
    assert (await ask(Command(id=1, request=waits, viewer="ada", topic="v1"))).ok
    assert (await ask(Command(id=2, request=Freeze(), viewer="ada", topic="v1"))).ok
    assert frozen == [("ada (waits for a key)", "v1"), ("ada", "")]
    refused = await ask(Command(id=3, request=waits, viewer="a script"))
    assert refused.error is not None
    assert "topic" in refused.error.message


async def test_slots_are_removed_and_resumed(run: Run) -> None:
    assert (await run.ask("watch.remove", slot=1)).result == {"changed": True}
    assert (await run.ask("watch.remove", slot=2)).result == {"changed": False}
    assert (await run.ask("watch.resume", slot=3)).result == {"changed": False}
    assert run.watches.changed == [("remove", 1), ("remove", 2), ("resume", 3)]


async def test_watches_are_listed_even_when_the_guest_is_gone(run: Run) -> None:
    await run.ask("watch.add", expression="jiffies")
    run.control.detach()
    (watch,) = (await run.ask("watch.list")).result["watches"]
    assert (watch["slot"], watch["expression"], watch["address"], watch["hits"]) == (1, "jiffies", 16, 0)
    with pytest.raises(GuestError, match="the guest has not started"):
        (await run.ask("freeze")).raise_for_error()
    assert [it.disposition for it in run.events if isinstance(it, ev.ActionChanged)][-1] == "failed"


async def test_who_asked_for_what_is_on_the_stream_and_what_came_of_it(run: Run) -> None:
    await run.ask("watch.remove", slot=1)
    assert run.decided() == [("ada", "watch.remove", "accepted")]
    changed = [it for it in run.events if isinstance(it, ev.ActionChanged)]
    assert [(it.disposition, it.command_seq) for it in changed] == [("emitted", 1), ("done", 1)]
    assert run.stream.state.control.counts == {"emitted": 1, "done": 1}


async def test_a_run_that_gives_no_control_refuses_and_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path, Authority(control=False))
    with pytest.raises(UsageError, match="does not allow viewers to control it"):
        (await run.ask("freeze")).raise_for_error()
    assert run.decided() == [("ada", "freeze", "rejected")]


async def test_a_run_is_ended_once(run: Run) -> None:
    assert (await run.ask("end")).result == {"changed": True}
    assert run.ending.outcome is not None
    assert run.ending.outcome.reason == "ended by ada (ktstr-tui end)"
    assert (await run.ask("end")).result == {"changed": False}


async def test_what_the_loop_could_not_take_is_refused_at_once(run: Run) -> None:
    for _ in range(2 * CAPACITY + 1):
        run.stream.emit(ev.HoldChanged(held=False))
    with pytest.raises(HostError, match="the control loop is behind"):
        (await run.ask("watch.remove", slot=1)).raise_for_error()
    await trio.testing.wait_all_tasks_blocked()
    assert (await run.ask("watch.remove", slot=1)).result == {"changed": True}


async def test_a_failure_is_in_a_file_of_the_run(run: Run, tmp_path: Path) -> None:
    run.control.detach()
    await run.ask("thaw")
    (line,) = (tmp_path / FAILURES_FILE).read_text().splitlines()
    assert msgspec.json.decode(line)["reason"] == "the guest has not started or is gone"


def test_a_file_has_a_size(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "x", max_bytes=200)
    record = FailureRecord(seq=1, source="x", reason="y" * 50, recorded_at_ns=1)
    lines.append(record)
    with pytest.raises(OSError, match="has reached its size"):
        lines.append(record)
    assert len((tmp_path / "x").read_text().splitlines()) == 1


async def test_every_attempt_is_in_the_audit_and_a_torn_end_of_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / AUDIT_FILE).write_bytes(b'{"seq":1,"at"')
    run = Run(tmp_path, Authority(control=False))
    assert (await run.ask("freeze")).error is not None
    report, entries = verify((tmp_path / AUDIT_FILE).read_bytes())
    assert report.proven
    assert [(it.request, it.outcome) for it in entries] == [("freeze", "rejected")]
    async with trio.open_nursery() as nursery:
        await nursery.start(run.control.run)
        nursery.cancel_scope.cancel()
    texts = [it.text for it in run.stream.state.log]
    assert any("torn: 13 bytes" in it for it in texts)


async def test_a_hold_refuses_ordinary_commands_until_it_is_ended_and_all_is_audited(
    run: Run, tmp_path: Path
) -> None:
    assert (await run.ask("automation.hold", why="demo")).ok
    refused = await run.ask("watch.add", expression="jiffies")
    assert refused.error is not None
    assert "automation is held" in refused.error.message
    assert (await run.ask("watch.list")).ok
    assert (await run.ask("automation.resume")).result["changed"] is True
    assert (await run.ask("automation.resume")).result["changed"] is False
    assert (await run.ask("watch.add", expression="jiffies")).ok
    entries = verify((tmp_path / AUDIT_FILE).read_bytes())[1]
    assert [(it.request, it.outcome) for it in entries] == [
        ("automation.hold", "accepted"),
        ("watch.add", "rejected"),
        ("automation.resume", "accepted"),
        ("automation.resume", "accepted"),
        ("watch.add", "accepted"),
    ]


async def test_a_hold_expires(run: Run) -> None:
    assert (await run.ask("automation.hold", for_s=0.001)).ok
    for _tick in range(10_000):
        if run.stream.state.control.hold is None:
            break
        await trio.sleep(0.1)
    assert run.stream.state.control.hold is None
    assert (await run.ask("watch.add", expression="jiffies")).ok


async def test_a_command_that_is_refused_for_too_many_others_is_audited_too(run: Run) -> None:
    error = RefusedError("8 commands are already in progress", "try again later", "busy")
    run.control.desk.refuse(Command(id=1, request=Freeze(), viewer="ada"), error)
    run.control.desk.refuse(Command(id=2, request=ListWatches(), viewer="ada"), error)
    assert [(it.request, it.outcome, it.refusal) for it in run.audited()] == [("freeze", "rejected", "busy")]


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_write_that_is_refused_is_no_intervention(run: Run, allowed: bool) -> None:
    noted: list[str] = []
    run.guest.interventions = SimpleNamespace(note=lambda action, by, now_ns: noted.append(action.kind))
    run.stream.emit(ev.RunStarted(info=msgspec.structs.replace(INFO, allow_writes=allowed)))
    # The guest of this test has no memory: what comes of the write itself is not what is looked at.
    run.guest.kernel_ops = None
    assert not (await run.ask("kernel-op", op={"direction": "write"})).ok
    await run.ask("watch.add", expression="jiffies")
    assert noted == [*(["kernel-write"] if allowed else []), "watch-arm"]
