"""Writes traces for Perfetto: who ran where, how tasks fared, alerts and captures, counters.

Events of the kernel's trace go into it as what they are, ftrace events: Perfetto makes a track for each CPU and the
states of threads of them. What is not of the kernel's trace are *track events* on tracks of our own: slices, instants
and counters. The numbers of fields are those of ``perfetto_trace.proto``; a test reads everything back with the classes
of the ``perfetto`` package.

All times of one file are on one clock: the trace's own, or of a recording the run's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from ktstr_tui.history.block_events import event_of
from ktstr_tui.history.run_clock import RunClock
from ktstr_tui.kernel.trace.events import Kind, TraceEvent
from ktstr_tui.model import events as ev
from ktstr_tui.model.history import CpuHistory, History
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.sample import Sample
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.wire.protobuf import message, number, real, text
from ktstr_tui.wire.trace_block import unpack

_SEQUENCE: Final = 1
_SLICE_BEGIN, _SLICE_END, _INSTANT, _COUNTER = 1, 2, 3, 4
_BUNDLE: Final = 2048
"""Events of one CPU in a packet."""
_WAKEUPS: Final[Mapping[Kind, int]] = {"wakeup": 17, "waking": 20, "new": 114}
"""Fields of ``FtraceEvent`` whose messages are alike."""


def packet(body: bytes) -> bytes:
    """A packet, as it is in the file."""
    return message(1, body + number(10, _SEQUENCE))


def kernel_events(events: Iterable[TraceEvent], release: str = "") -> Iterator[bytes]:
    """Packets of the kernel's own events.

    Args:
        events: Of all CPUs, each CPU's oldest first.
        release: The kernel's; Perfetto reads task states by it.
    """
    if release:
        yield _system(release)
    yield from _bundles(events, {})


def _system(release: str) -> bytes:
    return packet(message(45, message(1, text(1, "Linux") + text(3, release) + text(4, "x86_64"))))


def _bundles(events: Iterable[TraceEvent], prios: dict[int, int]) -> Iterator[bytes]:
    """Packets of events, each CPU's oldest first; ``prios`` keeps what they say of tasks."""
    for cpu, of_cpu in groupby(events, key=attrgetter("cpu")):
        bundle = list[bytes]()
        for event in of_cpu:
            if event.pid is not None and event.prio is not None:
                prios[event.pid] = event.prio
            body = _kernel_event(event, prios)
            bundle += [message(2, body)] if body else []
            if len(bundle) == _BUNDLE:
                yield packet(message(1, number(1, cpu) + b"".join(bundle)))
                bundle.clear()
        if bundle:
            yield packet(message(1, number(1, cpu) + b"".join(bundle)))


def _kernel_event(event: TraceEvent, prios: Mapping[int, int]) -> bytes:
    """One ``FtraceEvent``; empty for what Perfetto has no words for and that says nothing else."""
    task = text(1, event.comm) + number(2, event.pid) + number(3, event.prio)
    head = number(1, event.time_ns) + number(2, event.by)
    match event.kind:
        case "switch":
            before = None if event.prev_pid is None else prios.get(event.prev_pid)
            left = text(1, event.prev_comm) + number(2, event.prev_pid) + number(3, before)
            came = text(5, event.comm) + number(6, event.pid) + number(7, event.prio)
            return head + message(4, left + number(4, event.prev_state) + came)
        case "wakeup" | "waking" | "new":
            return head + message(_WAKEUPS[event.kind], task + number(5, event.to_cpu))
        case "migrate":
            return head + message(491, task + number(4, event.from_cpu) + number(5, event.to_cpu))
        case "exit":
            return head + message(238, text(1, event.comm) + number(2, event.pid) + number(4, event.prio))
        case "other":
            return b""
    return head + message(3, text(2, _in_words(event)))


def _in_words(event: TraceEvent) -> str:
    """What Perfetto has no message of its own for, as a line printed into the trace."""
    if event.kind == "text":
        return event.text or ""
    words: list[str] = [event.kind]
    words += [f"pid={event.pid}"] if event.pid is not None else []
    words += [f"dsq={event.dsq_id:#x}"] if event.dsq_id is not None else []
    words += [f"cpu={event.to_cpu}"] if event.to_cpu is not None else []
    return " ".join(words)


class Tracks:
    """Tracks of our own, each described once, before its first event.

    Args:
        group: Name of the track that all others are below.
    """

    def __init__(self, group: str) -> None:
        self._known: dict[tuple[str, bool], int] = {}
        self._group = group

    def slice(self, track: str, name: str, from_ns: int, to_ns: int) -> Iterator[bytes]:
        """Something that lasted."""
        yield from self._events(
            track, ((from_ns, number(9, _SLICE_BEGIN) + text(23, name)), (to_ns, number(9, _SLICE_END)))
        )

    def instant(self, track: str, name: str, at_ns: int, detail: str = "") -> Iterator[bytes]:
        """Something that happened."""
        note = message(4, text(10, "text") + text(6, detail)) if detail else b""
        yield from self._events(track, ((at_ns, number(9, _INSTANT) + text(23, name) + note),))

    def counter(self, track: str, at_ns: int, value: float | None) -> Iterator[bytes]:
        """A value from now on; nothing when it is not known."""
        if value is not None:
            yield from self._events(
                track, ((at_ns, number(9, _COUNTER) + real(44, float(value))),), is_counter=True
            )

    def _events(
        self, track: str, events: Iterable[tuple[int, bytes]], *, is_counter: bool = False
    ) -> Iterator[bytes]:
        uuid = self._known.get((track, is_counter))
        if uuid is None:
            yield from self._describe(track, is_counter)
            uuid = self._known[track, is_counter]
        for at_ns, body in events:
            yield packet(number(8, at_ns) + message(11, body + number(11, uuid)))

    def _describe(self, track: str, is_counter: bool) -> Iterator[bytes]:
        if not self._known:
            self._known["", False] = 1
            yield packet(message(60, number(1, 1) + text(2, self._group)))
        uuid = self._known[track, is_counter] = len(self._known) + 1
        kind = message(8, b"") if is_counter else b""
        yield packet(message(60, number(1, uuid) + number(5, 1) + text(2, track) + kind))


def history_packets(history: History, stop_ns: int, tracks: Tracks) -> Iterator[bytes]:
    """What a capture knows of the seconds before it: a track for each CPU, and one for the task that waits.

    Args:
        history: Of the capture.
        stop_ns: When the guest was stopped.
        tracks: Where to.
    """

    def at(ms: float) -> int:
        return max(0, stop_ns + round(ms * 1e6))

    for cpu in history.cpus:
        for name, from_ms, to_ms in _stretches(cpu):
            yield from tracks.slice(f"cpu {cpu.cpu}", name, at(from_ms), at(to_ms))
    wait = history.wait
    if wait is not None:
        track = f"{wait.comm}[{wait.pid}]"
        yield from tracks.slice(
            track, f"runnable ({wait.since}), {wait.place or 'in no DSQ'}", at(wait.since_ms), stop_ns
        )
        for step in history.steps:
            where = f" DSQ {step.dsq_id:#x}" if step.dsq_id is not None else ""
            yield from tracks.instant(f"{track} events", f"{step.what}{where} on cpu {step.cpu}", at(step.ms))
    for line in history.texts:
        yield from tracks.instant(f"cpu {line.cpu} bpf_printk", line.text, at(line.ms))


def _stretches(cpu: CpuHistory) -> Iterator[tuple[str, float, float]]:
    for one in cpu.ran:
        from_ms = cpu.known_from_ms if one.from_ms is None else one.from_ms
        if one.pid and from_ms is not None:
            yield f"{one.comm}[{one.pid}]", from_ms, one.to_ms


def capture_packets(report: CaptureReport) -> Iterator[bytes]:
    """A capture alone: what led to it, on the host's clock."""
    tracks = Tracks(f"capture {report.tag}")
    if report.history is not None:
        yield from history_packets(report.history, report.mono_ns, tracks)
        if report.history.block is not None:
            yield from _KernelBlocks().block(report.history.block)
    yield from tracks.instant("captures", report.tag, report.mono_ns, report.trigger_detail)


def run_packets(events: Iterable[ev.Event]) -> Iterator[bytes]:
    """A recording, on the run's clock.

    Events of the kernel's trace, counters, alerts, captures with what led to them, steps and schedulers.
    """
    tracks, kernel = Tracks("run"), _KernelBlocks()
    ends = dict[int, float]()
    for event in events:
        yield from kernel.packets(event)
        at_ns = event.mono_ns
        match event:
            case ev.Sampled():
                yield from _sampled(event.sample, at_ns, tracks)
            case ev.AlertRaised():
                yield from tracks.instant("alerts", event.key, at_ns, event.text)
            case ev.AlertCleared():
                yield from tracks.instant("alerts", f"cleared: {event.key}", at_ns)
            case ev.CaptureTaken():
                report = event.report
                stop_ns = report.mono_ns or at_ns
                yield from tracks.instant("captures", report.tag, stop_ns, report.trigger_detail)
                if report.history is not None:
                    yield from history_packets(_after(report.history, stop_ns, ends), stop_ns, tracks)
            case ev.StepStarted():
                yield from tracks.instant("steps", event.name, at_ns, event.scheduler)
            case ev.SchedulerChanged():
                yield from tracks.instant("schedulers", f"{event.name} {event.change}", at_ns)


class _KernelBlocks:
    """The events of a recording's blocks of the trace."""

    def __init__(self) -> None:
        self._clock, self._comms, self._prios = RunClock(), dict[int, str](), dict[int, int]()

    def packets(self, event: ev.Event) -> Iterator[bytes]:
        """What an event of the run says of the kernel's trace."""
        match event:
            case ev.KernelTyped():
                yield _system(event.release)
            case ev.Frozen():
                self._clock.freeze(event.mono_ns)
            case ev.Thawed():
                self._clock.thaw(event.mono_ns)
            case ev.TraceRead():
                yield from self.block(event.block)

    def block(self, block: TraceBlock) -> Iterator[bytes]:
        """The events of the next block."""
        self._clock.take(block)
        self._comms.update(block.comms)
        found = (event_of(it, self._comms, self._clock.at(it.time_ns)) for it in unpack(block))
        events = sorted(filter(None, found), key=attrgetter("cpu"))
        yield from _bundles(events, self._prios)


def _after(history: History, stop_ns: int, ends: dict[int, float]) -> History:
    """What an earlier capture has not shown already: slices of a track must not overlap."""
    cpus = []
    for cpu in history.cpus:
        shown_ms = (ends.get(cpu.cpu, 0.0) - stop_ns) / 1e6
        known_ms = cpu.known_from_ms if cpu.known_from_ms is not None else 0.0
        fresh = [it for it in cpu.ran if (known_ms if it.from_ms is None else it.from_ms) >= shown_ms]
        cpus.append(replace(cpu, ran=tuple(fresh)))
        ends[cpu.cpu] = float(stop_ns)
    return replace(history, cpus=tuple(cpus))


def _sampled(sample: Sample, at_ns: int, tracks: Tracks) -> Iterator[bytes]:
    for cpu in sample.cpus:
        if cpu.unreadable is None:
            yield from tracks.counter(f"cpu {cpu.cpu} nr_running", at_ns, cpu.nr_running)
            yield from tracks.counter(f"cpu {cpu.cpu} local_dsq", at_ns, cpu.local_dsq_nr)
    scheduler = sample.scheduler
    if scheduler.unreadable is None and scheduler.name is not None:
        for dsq in scheduler.dsqs:
            yield from tracks.counter(f"DSQ {dsq.label} nr", at_ns, dsq.nr)
        oldest = scheduler.oldest_runnable
        yield from tracks.counter("oldest runnable ms", at_ns, oldest.age_ms if oldest is not None else 0.0)
