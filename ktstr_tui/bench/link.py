"""What the link costs: events a second from the stream to viewers, beside bare PUB and SUB sockets.

Ours numbers, encodes, folds, keeps and publishes each event on the one side, and receives, checks, decodes and folds it
in every viewer. There are two baselines. The bare one sends the same bytes, made before, and throws them away: what is
between is mostly encoding, decoding and folding, which a viewer cannot do without. The other does just these three over
the same bare sockets, a message for each event: what is between is the link itself, its numbers, its memory of recent
events and its checks, and what is saved by sending the events of a turn together.

Each viewer is a process. There are fewer events than any queue holds, so none is lost, and the time is that until the
slowest viewer has the last one. A viewer that was stopped takes none. The CPU time of the sending side, which a busy
host changes less than the rates, is told for each event.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import trio
import trio.lowlevel
import zmq

from ktstr_tui.bench.guest import summary
from ktstr_tui.bench.link_reader import BARE_SOCKET, BARE_TOPIC
from ktstr_tui.link.publisher import open_publisher
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.events import Sampled
from ktstr_tui.model.fold import fold
from ktstr_tui.model.sample import CpuSample, DsqSample, Sample, SchedulerSample
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import encode_event

EVENTS: Final = 3000
VIEWERS: Final = (1, 8)
GOAL_RATIO: Final = 0.5
CPUS: Final = 8
_TURN: Final = 50
"""Events between two turns of the publisher's own tasks."""


class Measured(NamedTuple):
    """One run."""

    per_s: float
    """Events to the slowest viewer."""
    sender_us: float
    """CPU time of the thread that sends, for each event."""


def bench_link(rounds: int) -> dict[str, Any]:
    """Measure both, for one viewer and for several, and for one beside a stopped one."""
    result: dict[str, Any] = {
        "bench": "link",
        "events": EVENTS,
        "event_bytes": len(encode_event(_event(1))),
        "baseline": "bare PUB and SUB sockets, the same bytes made before, thrown away: no encoding, decoding or fold",
        "worked_baseline": "the same sockets, each event encoded and folded before, decoded and folded behind",
        "goal_ratio": GOAL_RATIO,
    }
    for viewers in VIEWERS:
        runs = [(trio.run(_ours, viewers, 0), _bare(viewers), _worked(viewers)) for _ in range(rounds)]
        ours, bare, worked = (summary([it.per_s for it in kind]) for kind in zip(*runs, strict=True))
        ratio = ours["p50"] / bare["p50"]
        result[f"viewers_{viewers}"] = {
            "events_per_s": ours, "bare_per_s": bare, "ratio": ratio, "met": ratio >= GOAL_RATIO,
            "worked_per_s": worked, "ratio_to_worked": ours["p50"] / worked["p50"],
            "sender_us_per_event": {
                name: summary([it.sender_us for it in kind])["p50"]
                for name, kind in zip(("ours", "bare", "worked"), zip(*runs, strict=True), strict=True)
            },
        }  # fmt: skip
    stopped = summary([trio.run(_ours, 1, 1).per_s for _ in range(rounds)])
    alone = result[f"viewers_{VIEWERS[0]}"]["events_per_s"]["p50"]
    result["beside_stopped_viewer"] = {"events_per_s": stopped, "ratio_to_alone": stopped["p50"] / alone}
    return result


def _event(number: int) -> Sampled:
    cpus = tuple(
        CpuSample(
            cpu=cpu, curr_pid=100 + cpu, curr_comm=f"spin-{cpu}", curr_class="ext", idle=False, nr_running=3,
            scx_nr_running=3, local_dsq_nr=1, nr_switches=number, rq_clock_ns=number * 1_000_000,
        )
        for cpu in range(CPUS)
    )  # fmt: skip
    dsqs = (DsqSample(id=7, label="0x7", nr=number % 9, seq=number),)
    scheduler = SchedulerSample(name="bench", state="enabled", enable_seq=1, exit_kind=0, dsqs=dsqs)
    return Sampled(sample=Sample(cpus=cpus, scheduler=scheduler))


def _events() -> list[Sampled]:
    return [_event(number) for number in range(1, EVENTS + 1)]


def _readers(kind: str, place: Path, count: int) -> list[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "ktstr_tui.bench.link_reader", kind, str(place), str(EVENTS)]
    return [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(count)]


def _wait_ready(readers: list[subprocess.Popen[bytes]]) -> None:
    for it in readers:
        assert it.stdout is not None
        it.stdout.readline()


def _rate(readers: list[subprocess.Popen[bytes]], start_ns: int) -> float:
    """Events a second to the slowest of them, which must all have had all."""
    told = [json.loads(it.communicate()[0]) for it in readers]
    assert all(it["seen"] == EVENTS for it in told), told
    last_ns = max(int(it["last_ns"]) for it in told)
    return EVENTS / ((last_ns - start_ns) / 1e9)


async def _ours(viewers: int, stopped: int) -> Measured:
    async def refuse(command: Command) -> Reply:
        return command.done()

    with tempfile.TemporaryDirectory(prefix="kb") as directory:
        stream, place = Stream(), Path(directory)
        async with open_publisher(stream, place, refuse):
            readers, asleep = _readers("ours", place, viewers), _readers("ours", place, stopped)
            await trio.to_thread.run_sync(_wait_ready, [*readers, *asleep])
            for it in asleep:
                it.send_signal(signal.SIGSTOP)
            events = _events()
            start_ns, cpu = time.monotonic_ns(), time.thread_time()
            await _emit(stream, events)
            spent = time.thread_time() - cpu
            rate = await trio.to_thread.run_sync(_rate, readers, start_ns)
            for it in asleep:
                it.kill()
                it.communicate()
    return Measured(rate, spent / EVENTS * 1e6)


async def _emit(stream: Stream, events: list[Sampled]) -> None:
    for number, event in enumerate(events, 1):
        stream.emit(event)
        if number % _TURN == 0:
            await trio.lowlevel.checkpoint()


def _bare(viewers: int) -> Measured:
    data = [encode_event(event) for event in _events()]

    def send_all(socket: zmq.Socket[bytes]) -> None:
        for one in data:
            socket.send_multipart((BARE_TOPIC, b"run", one))

    return _over_bare_sockets("bare", viewers, send_all)


def _worked(viewers: int) -> Measured:
    events = _events()

    def send_all(socket: zmq.Socket[bytes]) -> None:
        state = RunState()
        for number, event in enumerate(events, 1):
            stamped = msgspec.structs.replace(event, seq=number, mono_ns=number)
            data = encode_event(stamped)
            fold(state, stamped)
            socket.send_multipart((BARE_TOPIC, b"run", data))

    return _over_bare_sockets("worked", viewers, send_all)


def _over_bare_sockets(kind: str, viewers: int, send_all: Callable[[zmq.Socket[bytes]], None]) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="kb") as directory,
        zmq.Context() as context,
        context.socket(zmq.XPUB) as socket,
    ):
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.XPUB_VERBOSE, 1)
        socket.bind(f"ipc://{Path(directory) / BARE_SOCKET}")
        readers = _readers(kind, Path(directory), viewers)
        _wait_ready(readers)
        for _ in range(viewers):
            socket.recv()
        start_ns, cpu = time.monotonic_ns(), time.thread_time()
        send_all(socket)
        spent = time.thread_time() - cpu
        return Measured(_rate(readers, start_ns), spent / EVENTS * 1e6)
