"""Traces for Perfetto, read back with the classes of its own package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    DebugAnnotation,
    FtraceEvent,
    Trace,
    TrackEvent,
)

from ktstr_tui.history.perfetto import Tracks, capture_packets, kernel_events, run_packets
from ktstr_tui.kernel.trace.events import TraceEvent
from ktstr_tui.model import events as ev
from ktstr_tui.model.history import CpuHistory, History, Ran, TaskStep, Wait
from ktstr_tui.model.report import placeholder
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.wire import protobuf
from tests.unit.history.rows import block, row

S = 1_000_000_000


def read(parts: Iterable[bytes]) -> Any:  # noqa: ANN401 - the package ships no types
    """A trace, in which nothing is that Perfetto does not know."""
    data = b"".join(parts)
    trace = Trace()
    trace.ParseFromString(data)
    known = Trace()
    known.CopyFrom(trace)
    known.DiscardUnknownFields()
    assert known.ByteSize() == len(data)
    return trace


@given(st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(allow_nan=False))
def test_fields_are_written_as_the_library_reads_them(number: int, text: str, real: float) -> None:
    one = DebugAnnotation()
    one.ParseFromString(protobuf.text(10, text) + protobuf.number(4, number))
    assert (one.name, one.int_value) == (text, number)
    one.ParseFromString(protobuf.real(5, real))
    assert one.double_value == real
    assert protobuf.text(1, None) + protobuf.number(1, None) + protobuf.real(1, None) == b""


def test_events_of_the_kernel_keep_their_times_cpus_and_members() -> None:
    events = [
        TraceEvent(
            time_ns=5, cpu=0, kind="switch", name="sched_switch", by=7, pid=9, comm="spin-0", prio=120,
            prev_pid=7, prev_comm="fifo", prev_state=0x100,
        ),
        TraceEvent(time_ns=6, cpu=0, kind="waking", name="sched_waking", by=9, pid=7, comm="fifo", prio=98, to_cpu=1),
        TraceEvent(time_ns=7, cpu=0, kind="insert", name="ktstr_insert", by=9, pid=7, dsq_id=7),
        TraceEvent(
            time_ns=8, cpu=0, kind="migrate", name="sched_migrate_task", by=9, pid=7, comm="fifo", prio=98,
            from_cpu=0, to_cpu=1,
        ),
        TraceEvent(time_ns=4, cpu=1, kind="text", name="bpf_trace_printk", by=0, text="hello"),
        TraceEvent(
            time_ns=9, cpu=1, kind="switch", name="sched_switch", by=7, pid=0, comm="swapper/1", prio=120,
            prev_pid=7, prev_comm="fifo", prev_state=1,
        ),
        TraceEvent(time_ns=10, cpu=1, kind="exit", name="sched_process_exit", by=7, pid=7, comm="fifo", prio=98),
        TraceEvent(time_ns=11, cpu=1, kind="other", name="type 5", by=7),
    ]  # fmt: skip
    trace = read(kernel_events(events, "7.2.12"))
    assert trace.packet[0].system_info.utsname.release == "7.2.12"
    bundles = [it.ftrace_events for it in trace.packet[1:]]
    assert [it.cpu for it in bundles] == [0, 1]
    switch, waking, insert, migrate = bundles[0].event
    assert (switch.timestamp, switch.pid) == (5, 7)
    assert (switch.sched_switch.prev_state, switch.sched_switch.next_comm) == (0x100, "spin-0")
    assert not switch.sched_switch.HasField("prev_prio"), "nothing has said it yet"
    assert (waking.sched_waking.comm, waking.sched_waking.target_cpu) == ("fifo", 1)
    assert insert.print.buf == "insert pid=7 dsq=0x7"
    assert (migrate.sched_migrate_task.orig_cpu, migrate.sched_migrate_task.dest_cpu) == (0, 1)
    text, switch, ended = bundles[1].event
    assert text.print.buf == "hello"
    assert (switch.sched_switch.prev_prio, switch.sched_switch.next_pid) == (98, 0)
    assert ended.sched_process_exit.pid == 7


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 3)), max_size=30))
def test_no_event_is_lost_between_packets(made: list[tuple[int, int]]) -> None:
    events = [
        TraceEvent(time_ns=at, cpu=cpu, kind="kick", name="ktstr_kick", by=1, to_cpu=cpu)
        for cpu in range(4)
        for at in sorted(at for at, on in made if on == cpu)
    ]
    trace = read(kernel_events(events))
    found = [(it.timestamp, one.ftrace_events.cpu) for one in trace.packet for it in one.ftrace_events.event]
    assert found == [(it.time_ns, it.cpu) for it in events]
    assert all(isinstance(it, FtraceEvent) for one in trace.packet for it in one.ftrace_events.event)


def names_and_events(trace: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - the package ships no types
    """Track events by the name of their track."""
    names = {
        it.track_descriptor.uuid: it.track_descriptor.name
        for it in trace.packet
        if it.HasField("track_descriptor")
    }
    found: dict[str, list[Any]] = {}
    for it in trace.packet:
        if it.HasField("track_event"):
            found.setdefault(names[it.track_event.track_uuid], []).append((it.timestamp, it.track_event))
    return found


def history(stop_after_ms: float = 0.0) -> History:
    ran = (
        Ran(pid=7, comm="old", from_ms=None, to_ms=-2000 - stop_after_ms),
        Ran(pid=0, comm="swapper", from_ms=-2000 - stop_after_ms, to_ms=-1000),
        Ran(pid=8, comm="new", from_ms=-1000, to_ms=0.0),
    )
    wait = Wait(pid=9, comm="spin-0", since_ms=-1500, since="observed", place="0x7")
    step = TaskStep(ms=-1500, cpu=1, what="insert", dsq_id=7)
    return History(cpus=(CpuHistory(cpu=0, known_from_ms=-3000, ran=ran),), wait=wait, steps=(step,))


def test_a_capture_has_a_track_for_each_cpu_and_one_for_who_waits() -> None:
    report = placeholder("error-001", "error", "x", mono_ns=10 * S)
    tracks = names_and_events(read(capture_packets(with_history(report, history()))))
    begins = [(at, it.name) for at, it in tracks["cpu 0"] if it.type == TrackEvent.TYPE_SLICE_BEGIN]
    assert begins == [(7 * S, "old[7]"), (9 * S, "new[8]")], "idle is no slice"
    assert [at for at, it in tracks["cpu 0"] if it.type == TrackEvent.TYPE_SLICE_END] == [8 * S, 10 * S]
    (begin, waits), (end, _) = tracks["spin-0[9]"]
    assert (begin, end, waits.name) == (int(8.5 * S), 10 * S, "runnable (observed), 0x7")
    assert [it.name for _, it in tracks["spin-0[9] events"]] == ["insert DSQ 0x7 on cpu 1"]
    assert [at for at, _ in tracks["captures"]] == [10 * S]


def with_history(report: Any, past: History) -> Any:  # noqa: ANN401 - one type in, the same out
    return msgspec.structs.replace(report, history=past)


def test_a_recording_has_counters_alerts_and_what_led_to_captures_once() -> None:
    oldest = RunnableTask(pid=9, comm="spin-0", age_ms=250.0, cpu=0, dsq="0x7")
    scheduler = SchedulerSample(
        name="mine", oldest_runnable=oldest, dsqs=(DsqSample(id=7, label="0x7", nr=3),)
    )
    cpus = (CpuSample(cpu=0, nr_running=2, local_dsq_nr=1), CpuSample(cpu=1, unreadable="torn"))
    first = with_history(placeholder("early-001", "early", "x", mono_ns=10 * S), history())
    second = with_history(placeholder("error-002", "error", "x", mono_ns=int(10.5 * S)), history())
    events: list[ev.Event] = [
        ev.Sampled(mono_ns=S, sample=Sample(cpus=cpus, scheduler=scheduler)),
        ev.AlertRaised(mono_ns=2 * S, key="dsq-not-served", kind="dsq", severity="warning", text="why"),
        ev.CaptureTaken(mono_ns=11 * S, report=first),
        ev.CaptureTaken(mono_ns=12 * S, report=second),
    ]
    tracks = names_and_events(read(run_packets(events)))
    assert [(at, it.double_counter_value) for at, it in tracks["cpu 0 nr_running"]] == [(S, 2.0)]
    assert [(at, it.double_counter_value) for at, it in tracks["DSQ 0x7 nr"]] == [(S, 3.0)]
    assert [it.double_counter_value for _, it in tracks["oldest runnable ms"]] == [250.0]
    assert "cpu 1 nr_running" not in tracks, "absent is not zero"
    ((_, alert),) = tracks["alerts"]
    assert (alert.name, alert.debug_annotations[0].string_value) == ("dsq-not-served", "why")
    assert [at for at, _ in tracks["captures"]] == [10 * S, int(10.5 * S)]
    depth = 0
    for _, it in sorted(
        tracks["cpu 0"], key=lambda pair: (pair[0], pair[1].type != TrackEvent.TYPE_SLICE_END)
    ):
        depth += 1 if it.type == TrackEvent.TYPE_SLICE_BEGIN else -1
        assert 0 <= depth <= 1, "one task at a time"


def test_a_track_is_described_once_before_its_first_event() -> None:
    tracks = Tracks("run")
    trace = read([*tracks.counter("a", 1, 1.0), *tracks.counter("a", 2, None), *tracks.instant("a", "x", 3)])
    kinds = [it.WhichOneof("data") for it in trace.packet]
    assert kinds == ["track_descriptor", "track_descriptor", "track_event", "track_descriptor", "track_event"]


def test_a_recording_has_the_events_of_its_blocks_on_the_runs_clock() -> None:
    first = block(
        [row(5, 1, "switch", 9, 7, number=1), row(6, 0, "waking", 7, 9, to_cpu=1)],
        comms={7: "fifo", 9: "spin-0"}, now_ns=10, mono_ns=S + 10,
    )  # fmt: skip
    second = block([row(20, 1, "switch", 7, 9, number=0x100, prio=98)], now_ns=30, mono_ns=S + 30)
    events: list[ev.Event] = [
        ev.KernelTyped(release="7.2.12", hz=250, cpus=2, btf_types=1, typed_ms=1.0),
        ev.TraceRead(block=first),
        ev.TraceRead(block=second),
    ]
    trace = read(run_packets(events))
    assert trace.packet[0].system_info.utsname.release == "7.2.12"
    bundles = [it.ftrace_events for it in trace.packet[1:]]
    assert [(it.cpu, [event.timestamp for event in it.event]) for it in bundles] == [
        (0, [S + 6]), (1, [S + 5]), (1, [S + 20]),
    ]  # fmt: skip
    switch = bundles[2].event[0].sched_switch
    assert (switch.prev_comm, switch.next_comm, switch.next_prio, switch.prev_prio) == (
        "spin-0",
        "fifo",
        98,
        120,
    )


def test_a_capture_has_the_events_of_its_block_and_a_recording_only_its_own() -> None:
    found = msgspec.structs.replace(
        history(), block=block([row(5, 1, "switch", 9, 7)], now_ns=10, mono_ns=10 * S)
    )
    report = with_history(placeholder("error-001", "error", "x", mono_ns=10 * S), found)
    own = [it for it in read(capture_packets(report)).packet if it.HasField("ftrace_events")]
    assert [it.ftrace_events.event[0].timestamp for it in own] == [10 * S - 5]
    taken = read(run_packets([ev.CaptureTaken(mono_ns=11 * S, report=report)]))
    assert not any(it.HasField("ftrace_events") for it in taken.packet)
