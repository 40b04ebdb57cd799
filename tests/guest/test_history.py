"""What led to a stop, from real kernels: the sentence on top of five kinds of wait, out of one boot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktstr_tui.link.recording import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.history import NORMAL_PRIO, History, Wait
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import RunState
from ktstr_tui.model.timeline import timeline_of
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.text.before import sentence
from ktstr_tui.wire.trace_block import unpack
from tests.guest.runs import call, private_environment

pytestmark = pytest.mark.guest

SCENARIO = """
name = "history"
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "spin"
affinity = [1]
[[workers]]
kind = "mixed"
[[workers]]
kind = "sleep"
affinity = [1]
[[steps]]
name = "stall"
duration_ms = 60000
until = "ejected"
scheduler = "demo:stall"
[[steps]]
name = "lost"
duration_ms = 60000
until = "ejected"
scheduler = "{lost}"
[[steps]]
name = "wrongcpu"
duration_ms = 60000
until = "ejected"
scheduler = "{wrongcpu}"
[[steps]]
name = "starve"
duration_ms = 8000
scheduler = "demo:starve"
capture = "starved"
[[steps]]
name = "hog"
duration_ms = 6500
scheduler = "demo:fifo"
capture = "hogged"
[[steps.workers]]
kind = "spin"
policy = "fifo"
affinity = [1]
[[steps.workers]]
kind = "spin"
affinity = [1]
"""
SLACK_MS = 100.0
"""A wait is counted by the kernel in ticks, and begins a moment before the event that says so."""


def captures(directory: Path) -> Iterator[CaptureReport]:
    """The captures of a recording."""
    for event in read_recording(next(directory.rglob("recording.ktstr"))):
        if isinstance(event, ev.CaptureTaken):
            yield event.report


def history_of(report: CaptureReport) -> tuple[History, Wait]:
    """What led to a capture, which agrees with what the capture itself says."""
    history = report.history
    assert history is not None, report.unavailable
    wait = history.wait
    assert wait is not None
    age_ms = next(task.age_ms for task in report.tasks if task.pid == wait.pid)
    assert age_ms is not None
    assert abs(-wait.since_ms - age_ms) <= SLACK_MS, "the trace and p->scx.runnable_at agree"
    for cpu, vcpu in zip(history.cpus, report.vcpus, strict=True):
        assert cpu.unavailable is None
        assert vcpu.curr is not None
        assert cpu.ran[-1].pid == vcpu.curr.pid, "who ran last is who runs at the stop"
        assert cpu.ran[-1].to_ms == 0
        assert all(one.to_ms == other.from_ms for one, other in zip(cpu.ran, cpu.ran[1:], strict=False))
    for taker in wait.takers:
        total_ms = taker.idle_ms + taker.others_ms + taker.unknown_ms + sum(it.ms for it in taker.ran)
        assert total_ms == pytest.approx(-wait.since_ms, abs=1)
    return history, wait


def assert_stalled(wait: Wait) -> None:
    """Nothing came out of the queue any more, so CPUs idled.

    The kernel lets a task of the load have its CPU until one of a higher class wants it, for a second or so. A host
    that is busy stretches what those of the higher class do, which is little. What ran besides is next to nothing.
    """
    assert wait.left is not None
    load = [
        it for taker in wait.takers for it in taker.ran if it.comm.startswith(("spin-", "mixed-", "sleep-"))
    ]
    assert len(load) <= len(wait.takers) + wait.left, "one on each CPU at the beginning, and those that left"
    for taker in wait.takers:
        expected = [
            it.ms for it in taker.ran if it in load or (it.prio is not None and it.prio < NORMAL_PRIO)
        ]
        assert taker.unknown_ms == 0
        assert taker.idle_ms > 0
        assert taker.idle_ms + sum(expected) >= 0.9 * -wait.since_ms


def assert_same_timeline(directory: Path) -> None:
    """What was followed live and recorded is, event by event, what each capture has of the same span."""
    state, blocks, compared = RunState(), list[TraceBlock](), 0
    events = list(read_recording(next(directory.rglob("recording.ktstr"))))
    for event in events:
        fold(state, event)
        if isinstance(event, ev.TraceRead):
            blocks.append(event.block)
    assert state.trace == blocks[-len(state.trace) :], "a viewer has what is recorded"
    followed = [row for block in blocks for row in unpack(block)]
    whole = timeline_of((block, unpack(block)) for block in blocks)
    for report in (event.report for event in events if isinstance(event, ev.CaptureTaken)):
        block = report.history.block if report.history is not None else None
        if block is None:
            continue
        begin_ns, end_ns = max(block.begin_ns, blocks[0].begin_ns), min(block.end_ns, blocks[-1].end_ns)
        captured = [row for row in unpack(block) if begin_ns < row.time_ns <= end_ns]
        assert captured == [row for row in followed if begin_ns < row.time_ns <= end_ns]
        own = timeline_of([(block, captured)])
        middle_ns = (begin_ns + end_ns) // 2
        for cpu in own.cpus:
            assert own.stretches(cpu, middle_ns, end_ns) == whole.stretches(cpu, middle_ns, end_ns)
        compared += len(captured)
    assert compared > 1000
    assert not any(block.lost or block.left_out for block in blocks)


def test_five_kinds_of_wait_are_told_right(
    compile_bpf: Callable[[str, str], str], tmp_path: Path, checkout: Path
) -> None:
    objects = {
        name: compile_bpf(name, (checkout / f"tests/guest/failures/{name}.bpf.c").read_text())
        for name in ("lost", "wrongcpu")
    }
    scenario = tmp_path / "history.toml"
    scenario.write_text(SCENARIO.format(**objects))
    env = private_environment(tmp_path)
    words = ("--scenario", str(scenario), "--trace", "scx", "--trace-buffer", "2M", "--no-early-capture")
    limits = ("--alarm-dsq", "1000", "--alarm-wait", "1000", "--alarm-kthread", "200", "--capture-on-alarm")
    done = call("run", "--headless", *words, *limits, env=env)
    found = {it.step: it for it in captures(tmp_path / "state") if it.trigger != "alarm"}
    assert {"stall", "lost", "wrongcpu", "starve", "hog"} <= found.keys(), done.stderr
    said = {step: sentence(report.history) for step, report in found.items() if step is not None}

    history, wait = history_of(found["stall"])
    assert history.records_dsqs
    assert wait.left_seen == "observed"
    assert wait.inserted_ms is not None
    assert_stalled(wait)
    ran = r"(last ran on cpu \d until -\d\.\d\d s|did not run in what was recorded)"
    begin = rf"{re.escape(wait.comm)}\[{wait.pid}\] {ran}"
    assert re.match(
        rf"{begin}(, woken at -\S+ s)?, inserted into DSQ 0x7 at -\S+ s; since then cpu ", said["stall"]
    )
    assert re.search(r"left DSQ 0x7", said["stall"])

    _, wait = history_of(found["lost"])
    assert (wait.held, wait.place, wait.comm[:5]) == (True, None, "mixed")
    assert ", held by the BPF scheduler, in no DSQ; since then cpu " in said["lost"]

    _, wait = history_of(found["wrongcpu"])
    assert (wait.place, [it.cpu for it in wait.takers]) == ("0x51", [1])
    assert (wait.left, wait.left_seen) == (0, "observed")
    assert said["wrongcpu"].endswith("nothing left DSQ 0x51")

    _, wait = history_of(found["starve"])
    assert wait.place == "0x13"
    assert wait.inserted_ms is not None

    _, wait = history_of(found["hog"])
    assert [it.cpu for it in wait.takers] == [1]
    assert wait.takers[0].ran[0].prio is not None
    assert wait.takers[0].ran[0].prio < 100
    assert "cpu 1 ran spin-" in said["hog"]
    assert "(rt)" in said["hog"]

    assert_alarms(tmp_path / "state")
    assert_same_timeline(tmp_path / "state")


def assert_alarms(directory: Path) -> None:
    """What the early alarms said in the same run, each in the step of its cause."""
    step, raised = "", dict[str, dict[str, str]]()
    events = list(read_recording(next(directory.rglob("recording.ktstr"))))
    for event in events:
        if isinstance(event, ev.StepStarted):
            step = event.name
        elif isinstance(event, ev.AlertRaised):
            raised.setdefault(step, {}).setdefault(event.key, event.text)
    # Somebody waited in each of these; no queue at all held who was lost, and CPU 0 took from that of wrongcpu.
    assert all("wait" in raised[name] for name in ("stall", "lost", "wrongcpu", "starve"))
    assert re.match(
        r"DSQ 0x7 holds \d+ tasks? and no CPU took one for \d\.\d s", raised["stall"]["dsq-not-served"]
    )
    assert "dsq-not-served" not in raised["lost"]
    hog = r"kernel thread \S+\[\d+\] runnable for \S+ s on cpu 1: spin-\d\[\d+\] \(rt\) runs there"
    # Whether a kernel thread wants that CPU for long enough meanwhile is the kernel's affair.
    # Its workers begin a moment before its step is told, so that the alarm may come before that, but names them.
    starved = [told["kthread-starved"] for told in raised.values() if "kthread-starved" in told]
    assert all(re.match(hog, text) for text in starved), starved
    assert all("kthread-starved" not in raised[name] for name in ("lost", "wrongcpu"))
    alarms = [it.report for it in events if isinstance(it, ev.CaptureTaken) and it.report.trigger == "alarm"]
    texts = {it.text for it in events if isinstance(it, ev.AlertRaised)}
    assert alarms
    assert {it.trigger_detail for it in alarms} <= texts
