"""Every arm of the fold, and what holds for all of them."""

from __future__ import annotations

import copy
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given

from ktstr_tui.backend.summary import summarize
from ktstr_tui.model import events as ev
from ktstr_tui.model import fold as fold_module
from ktstr_tui.model.facts import FrameCounters, RunInfo, WorkerProgress
from ktstr_tui.model.fold import fold
from ktstr_tui.model.kinds import GuestPhase
from ktstr_tui.model.report import CaptureReport, Pause, exit_kind_name, placeholder
from ktstr_tui.model.report_files import DegradedReport
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.model.state import (
    MAX_CAPTURES,
    MAX_HISTORY,
    MAX_HITS,
    MAX_LOG_LINES,
    RunState,
)
from ktstr_tui.text.log_lines import without_repeats
from tests.unit.link.strategies import numbered, streams

INFO = RunInfo(
    name="tour",
    run_id="abc",
    kernel="7.2.12",
    kernel_path="/boot/vmlinuz",
    accelerator="tcg",
    accelerator_reason="TCG (no /dev/kvm)",
    topology="1n1l2c1t",
    memory_bytes=512 << 20,
    scenario="tour",
    scheduler="none",
)


def folded(*events: ev.Event) -> RunState:
    state = RunState()
    for event in numbered(list(events)):
        fold(state, event)
    return state


def sampled(*cpus: CpuSample, scheduler: SchedulerSample | None = None, **fields: Any) -> ev.Sampled:  # noqa: ANN401
    sample = Sample(cpus=cpus, scheduler=scheduler or SchedulerSample(), **fields)
    return ev.Sampled(sample=sample)


def capture(tag: str, **fields: Any) -> ev.CaptureTaken:  # noqa: ANN401
    return ev.CaptureTaken(
        report=CaptureReport(tag=tag, trigger="on-demand", **fields), path=f"/d/{tag}.json"
    )


def texts(state: RunState) -> list[str]:
    return [line.text for line in state.log]


def test_every_event_has_an_arm() -> None:
    assert set(fold_module._ARMS) == set(get_args(ev.Event))


def test_no_event_has_two_arms() -> None:
    files = [module for name, module in vars(fold_module).items() if name.startswith("fold_")]
    assert len(files) == 8
    assert sum(len(file.ARMS) for file in files) == len(fold_module._ARMS)


@given(streams())
def test_folding_never_fails_and_stays_bounded(events: list[ev.Event]) -> None:
    state = RunState()
    for event in events:
        assert fold(state, event) is state
    assert state.seq == len(events)
    assert len(state.log) <= MAX_LOG_LINES
    assert len(state.captures) <= MAX_CAPTURES


@given(streams())
def test_what_was_folded_is_ignored(events: list[ev.Event]) -> None:
    state = RunState()
    for event in events:
        fold(state, event)
    before = copy.deepcopy(state)
    for event in events:
        fold(state, event)
    assert state == before


def test_the_beginning() -> None:
    state = folded(
        ev.RunStarted(info=INFO),
        ev.GuestReady(boot_ms=2100.0, guest_ns=77),
        ev.KernelTyped(release="7.2.12", hz=250, cpus=2, btf_types=9, typed_ms=800.0),
    )
    assert (state.info, state.phase, state.boot_ms, state.hz) == (INFO, "up", 2100.0, 250)
    assert (state.kernel_release, state.typed_ms, state.guest_ns) == ("7.2.12", 800.0, 77)
    assert state.started_mono_ns == 1_000_000
    assert state.mono_ns == 3_000_000
    assert texts(state)[0] == "tour: 7.2.12 on TCG (no /dev/kvm), 1n1l2c1t"


@pytest.mark.parametrize(
    ("phase", "severity"),
    [
        ("InitStarted", "info"),
        ("PayloadStarting", "info"),
        ("SchedulerDied", "error"),
        ("SchedulerNotAttached", "error"),
    ],
)
def test_lifecycle(phase: GuestPhase, severity: str) -> None:
    state = folded(ev.LifecycleChanged(phase=phase, reason="why"))
    assert (state.lifecycle, state.lifecycle_reason) == (phase, "why")
    assert state.log[-1].severity == severity


def test_scenario_and_steps() -> None:
    step = ev.StepStarted(index=1, name="fifo", scheduler="demo:fifo", elapsed_ms=5, worker_count=4)
    state = folded(ev.ScenarioChanged(state="started"), step)
    assert (state.phase, state.scenario_elapsed_ms) == ("running", 5)
    assert state.step is not None
    assert (state.step.index, state.step.name, state.step.started_mono_ns) == (1, "fifo", 2_000_000)
    state = folded(step, ev.ScenarioChanged(state="ended", elapsed_ms=9, total_iterations=70))
    assert (state.phase, state.total_iterations, state.scenario_elapsed_ms) == ("finished", 70, 9)


def test_samples_fill_the_histories() -> None:
    task = RunnableTask(pid=7, comm="spin", age_ms=12.0, cpu=0)
    state = folded(
        sampled(CpuSample(cpu=0, nr_running=2, vcpu_cpu_time_ns=1_000_000), guest_ns=5, jiffies=8, retries=1),
        sampled(
            CpuSample(cpu=0, nr_running=3, vcpu_cpu_time_ns=1_500_000),
            scheduler=SchedulerSample(name="fifo", oldest_runnable=task),
            torn=2,
            read_us=90.0,
        ),
    )
    cpu = state.cpus[0]
    assert cpu.nr_running_history == [2, 3]
    assert cpu.busy_history == [None, 0.5]
    assert cpu.latest.nr_running == 3
    assert (state.samples, state.retries, state.torn, state.read_us) == (2, 1, 2, 90.0)
    assert state.runnable_age_history == [0.0, 12.0]
    assert state.guest_ns == 5


def test_a_vcpu_without_a_thread_of_its_own_is_as_busy_as_the_looks_found_it() -> None:
    state = RunState()
    looks = (
        CpuSample(cpu=0, nr_running=1),
        CpuSample(cpu=0, nr_running=0),
        CpuSample(cpu=0, unreadable="torn"),
        CpuSample(cpu=0, nr_running=3, idle=True),  # tasks wait in a queue that nobody serves
    )
    for at, cpu in enumerate(looks, 1):
        sample = Sample(cpus=(cpu,), scheduler=SchedulerSample(), shared_cpu_time_ns=at)
        fold(state, ev.Sampled(sample=sample, seq=at, mono_ns=at))
    assert state.cpus[0].busy_history == pytest.approx([1.0, 0.9, 0.9, 0.81])


def test_what_could_not_be_read_is_not_zero() -> None:
    state = folded(
        sampled(CpuSample(cpu=0, unreadable="torn"), scheduler=SchedulerSample(unreadable="no symbol"))
    )
    assert state.cpus[0].nr_running_history == [None]
    assert state.runnable_age_history == [None]
    assert state.samples_unreadable == 1


def test_histories_are_rings() -> None:
    state = folded(*[sampled(CpuSample(cpu=0, nr_running=n)) for n in range(MAX_HISTORY + 5)])
    assert state.cpus[0].nr_running_history == list(range(5, MAX_HISTORY + 5))


def test_an_ejection() -> None:
    change = ev.SchedulerChanged(change="ejected", name="stall", exit_kind=1026, detail="runnable task stall")
    state = folded(ev.SchedulerChanged(change="attached", name="stall"), change)
    assert state.ejections == 1
    assert state.last_change == "stall ejected: ERROR_STALL"
    assert state.log[-1].severity == "error"
    assert texts(state)[-1].endswith("(runnable task stall)")


def test_exit_kinds_keep_unknown_numbers() -> None:
    assert [exit_kind_name(kind) for kind in (None, 1024, 77)] == ["unknown", "ERROR", "exit_kind 77"]


@pytest.mark.parametrize(
    ("verdict", "severity"),
    [("ok", "info"), ("degraded", "warning"), ("inconclusive", "warning"), ("stalled", "error")],
)
def test_health(verdict: ev.Verdict, severity: str) -> None:
    state = folded(ev.HealthChanged(verdict=verdict, reasons=("a", "b")))
    assert (state.verdict, state.verdict_reasons) == (verdict, ("a", "b"))
    assert (state.log[-1].severity, state.log[-1].text) == (severity, f"{verdict}: a; b")


def test_alerts_stand_until_cleared() -> None:
    first = ev.AlertRaised(key="cpu 1", kind="stall", severity="error", text="CPU 1 stalls", cpu=1)
    again = ev.AlertRaised(key="cpu 1", kind="stall", severity="error", text="CPU 1 still stalls", cpu=1)
    state = folded(first, again)
    assert state.stalls == 1
    assert state.alerts["cpu 1"].text == "CPU 1 still stalls"
    assert state.alerts["cpu 1"].since_mono_ns == 1_000_000
    state = folded(
        first, ev.AlertCleared(key="cpu 1", kind="stall"), ev.AlertCleared(key="unknown", kind="stall")
    )
    assert state.alerts == {}
    assert texts(state) == ["CPU 1 stalls", "cleared: CPU 1 stalls"]


def test_watchpoints() -> None:
    armed = ev.WatchpointChanged(slot=1, expression="x", address=64, state="armed")
    hit = ev.WatchpointHit(slot=1, expression="x", vcpu=1, value=5, old=4, capture="watch-001")
    state = folded(armed, hit, hit)
    slot = state.watchpoints[1]
    assert (slot.state, slot.hits, slot.last_value, slot.last_vcpu) == ("armed", 2, 5, 1)
    assert [entry.old for entry in state.hits] == [4, 4]
    state = folded(armed, ev.WatchpointChanged(slot=1, expression="x", state="removed"))
    assert state.watchpoints == {}
    state = folded(*[hit] * (MAX_HITS + 3))
    assert (len(state.hits), state.forgotten["hits"]) == (MAX_HITS, 3)


def test_the_programs_own_slot_is_quiet_unless_it_fails() -> None:
    own = ev.WatchpointChanged(slot=0, expression="exit_kind", state="armed")
    assert folded(own).log == []
    assert len(folded(msgspec.structs.replace(own, state="failed")).log) == 1


def test_freeze_and_thaw() -> None:
    state = folded(ev.Frozen(reason="asked"))
    assert (state.frozen, state.frozen_since_mono_ns) == ("asked", 1_000_000)
    pause = Pause(total_us=1500.0)
    state = folded(ev.Frozen(reason="asked"), ev.Thawed(reason="asked", pause=pause))
    assert (state.frozen, state.last_pause) == (None, pause)


def test_captures() -> None:
    pause = Pause(total_us=9000.0)
    state = folded(capture("a", pause=pause), capture("b"), capture("a", exit_kind=1026))
    assert [entry.report.tag for entry in state.captures] == ["b", "a"]
    assert state.captures[-1].seq == 3
    assert state.last_pause == pause
    assert state.log[-1].severity == "error"


def test_a_degraded_capture_is_told_beside_the_capture() -> None:
    degraded = DegradedReport(tag="a", trigger="on-demand", reason="aborted after 3 ms", elapsed_ms=3.0)
    state = folded(msgspec.structs.replace(capture("a"), degraded=degraded))
    assert state.captures[0].degraded == degraded
    assert state.log[-1].text == "a is incomplete: aborted after 3 ms"
    assert state.log[-1].severity == "warning"


def test_a_dual_report_is_known_to_both_of_its_captures() -> None:
    state = folded(
        capture("early-001"),
        capture("key-002"),
        capture("error-003"),
        ev.DualSaved(
            tag="error-003",
            outcome="both",
            early_tag="early-001",
            late_tag="error-003",
            path="/d/3.dual.json",
        ),
    )
    assert [(it.report.tag, it.path, it.dual_path, it.dual_outcome) for it in state.captures] == [
        ("early-001", "/d/early-001.json", "/d/3.dual.json", "both"),
        ("key-002", "/d/key-002.json", "", None),
        ("error-003", "/d/error-003.json", "/d/3.dual.json", "both"),
    ]
    assert state.log[-1].text == "error-003: early and late, both, in /d/3.dual.json"
    summary = summarize(state)["captures"]
    assert [it["dual_path"] for it in summary] == ["/d/3.dual.json", None, "/d/3.dual.json"]


def test_a_dual_report_of_captures_that_are_forgotten_is_told_only() -> None:
    state = folded(ev.DualSaved(tag="error-003", outcome="both", late_tag="error-003", path="/d/3.dual.json"))
    assert state.captures == []
    assert len(state.log) == 1


def test_a_failed_capture_says_why() -> None:
    state = folded(ev.CaptureTaken(report=placeholder("a", "error", "gdbstub is gone")))
    assert texts(state) == ["a failed: gdbstub is gone"]
    assert state.captures[0].report.is_placeholder


def test_old_captures_are_let_go_and_counted() -> None:
    state = folded(*[capture(f"t{number}") for number in range(MAX_CAPTURES + 2)])
    assert (len(state.captures), state.forgotten["captures"]) == (MAX_CAPTURES, 2)
    assert state.captures[0].report.tag == "t2"


def test_counters_replace() -> None:
    counters = FrameCounters(received=5, dropped={"slow": 1})
    worker = WorkerProgress(4, "spin", 99)
    state = folded(
        ev.FramesCounted(counters=counters),
        ev.DropsCounted(drops={"publisher: full": 2}),
        ev.WorkersReported(workers=(worker,)),
        ev.BackendBeat(samples=9, samples_missed=1, frozen_total_ms=4.0, viewers=2),
    )
    assert state.frames == counters
    assert state.drops == {"publisher: full": 2}
    assert state.workers == (worker,)
    assert (state.samples_missed, state.frozen_total_ms, state.viewers) == (1, 4.0, 2)


def test_output_is_cut_into_lines() -> None:
    state = folded(
        ev.OutputText(stream="stdout", text="one\ntw"),
        ev.OutputText(stream="stderr", text="err\n"),
        ev.OutputText(stream="stdout", text="o\n\x1b[31mthree"),
    )
    assert [(line.source, line.text) for line in state.output] == [
        ("stdout", "one"),
        ("stderr", "err"),
        ("stdout", "two"),
    ]
    assert state.partial == {"stdout": "three"}


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    state = folded(*[ev.OutputText(stream="stdout", text="x" * 1000)] * 6)
    assert sum(map(len, state.partial.values())) <= 4096
    assert len(state.output) == 1


def test_log_lines_of_the_guest_are_harmless() -> None:
    state = folded(ev.Logged(severity="warning", source="guest", text="\x1b]0;title\x07a\x00b\u202e"))
    assert texts(state) == ["ab"]


def test_the_end() -> None:
    ended = ev.RunEnded(
        exit_code=4, reason="panicked\x1b[0m", fault="guest", hint="look", console_tail=("\x1b[1mBUG",)
    )
    state = folded(ev.Frozen(reason="x"), ended)
    assert (state.phase, state.frozen) == ("ended", None)
    assert state.ended is not None
    assert (state.ended.exit_code, state.ended.reason, state.ended.console_tail) == (4, "panicked", ("BUG",))
    assert state.log[-1].severity == "error"


def test_an_older_event_does_not_turn_time_back() -> None:
    state = folded(ev.BackendBeat())
    fold(state, ev.Logged(severity="info", source="x", text="y", seq=2, mono_ns=10))
    assert (state.seq, state.mono_ns) == (2, 1_000_000)


def test_an_alert_counts_by_its_kind_and_not_by_its_key() -> None:
    state = folded(
        ev.AlertRaised(key="stall-like", kind="imbalance", severity="warning", text="not a stall"),
        ev.AlertRaised(key="other", kind="stall", severity="error", text="a stall"),
        ev.AlertRaised(key="sender", kind="silence", severity="error", text="logged as a heartbeat already"),
        ev.AlertCleared(key="sender", kind="silence"),
    )
    assert state.stalls == 1
    assert texts(state) == ["not a stall", "a stall"]


def test_workers_have_a_rate_between_two_reports() -> None:
    state = folded(
        ev.WorkersReported(workers=(WorkerProgress(4, "spin", 100), WorkerProgress(5, "spin", 50))),
        ev.WorkersReported(
            workers=(
                WorkerProgress(4, "spin", 103),
                WorkerProgress(5, "spin", 1),
                WorkerProgress(6, "pipe", 9),
            )
        ),
    )
    # The reports are 1 ms apart. Pid 5 began again, pid 6 is new: neither has a rate.
    assert state.worker_rates == {4: 3000.0}
    assert [worker.iterations for worker in state.workers] == [103, 1, 9]


def test_the_verdict_is_logged_with_all_its_reasons_and_shown_without_those_just_above() -> None:
    state = folded(
        ev.AlertRaised(key="cpu 1", kind="stall", severity="error", text="CPU 1 stands; still"),
        ev.HealthChanged(verdict="stalled", reasons=("CPU 1 stands; still", "b")),
        ev.HealthChanged(verdict="stalled", reasons=("CPU 1 stands; still",)),
        ev.HealthChanged(verdict="degraded", reasons=("CPU 1 stands",)),
    )
    assert state.log[1].text == "stalled: CPU 1 stands; still; b"
    shown = [line.text for line in without_repeats(state.log)]
    assert shown == ["CPU 1 stands; still", "stalled: b", "stalled", "degraded: CPU 1 stands"]
