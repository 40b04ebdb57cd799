"""The targets of `tests.unit.fuzz_decoders`: sound inputs for each decoder, and how its callers use it."""

from __future__ import annotations

import functools
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ktstr_tui.guest.console import Console
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.link import recfile
from ktstr_tui.model.commands import Command, RunKernelOp
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import printable
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.wire import codec, kernel_ops, payloads, vlp
from ktstr_tui.wire import scheduler_payloads as sched
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.stimulus_payloads import StimulusApplied
from ktstr_tui.wire.vlp_secure import Keyring, agent_key, seal_agent, seal_shared
from tests.tui.story import Story

PAGE = 4096
RAM_PAGES = 16


def refused_or(call: Callable[[], object], *errors: type[Exception]) -> None:
    """Call; the named errors are a right answer, and the next decoder gets its turn."""
    try:
        call()
    except errors:
        return


# -- payloads and the dispatch ------------------------------------------------------------------------------

PAYLOADS: tuple[Any, ...] = (
    payloads.Stimulus,
    payloads.SnapshotRequest,
    payloads.SnapshotReply,
    payloads.KernAddrs,
    payloads.Lifecycle,
    payloads.ScenarioEnd,
    payloads.ExitCode,
    payloads.WorkerReport,
    payloads.Beats,
    kernel_ops.KernelOpRequest,
    kernel_ops.KernelOpReply,
    sched.SchedUpload,
    sched.SchedChunk,
    sched.SchedCommand,
    sched.SchedReply,
    StimulusApplied,
)


def kernel_op_seeds() -> tuple[kernel_ops.KernelOpRequest, kernel_ops.KernelOpReply]:
    """A request and a reply with every kind of target and value."""
    k = kernel_ops
    values: tuple[kernel_ops.Value, ...] = (
        k.U32(5),
        k.U64(1 << 63),
        k.Bytes(b"abc"),
        k.OrU32(0x100),
        k.Int(-1),
    )
    targets: tuple[kernel_ops.Target, ...] = (
        k.Symbol("panic_timeout"),
        k.Kva(1 << 63),
        k.Direct(0xFFFF888000000000),
        k.PerCpuField("runqueues", "nr_running", 1),
        k.TaskField(42, "scx.weight", 5_000_000_001),
    )
    entries = tuple(k.Entry(target, value) for target, value in zip(targets, values, strict=True))
    request = k.KernelOpRequest(7, k.KernelOp("cold", "write", entries, "grün"))
    return request, k.KernelOpReply(7, True, "", values)


def _kernel_op_payloads() -> list[kernel_ops.KernelOpRequest | kernel_ops.KernelOpReply]:
    targets: tuple[kernel_ops.Target, ...] = (
        kernel_ops.Symbol("jiffies"),
        kernel_ops.Kva(0xFFFFFFFF81000000),
        kernel_ops.PerCpuField("runqueues", "nr_running", 1),
        kernel_ops.TaskField(1, "comm", 5),
    )
    values: tuple[kernel_ops.Value, ...] = (
        kernel_ops.U32(5),
        kernel_ops.U64(1 << 60),
        kernel_ops.Bytes(b"abc"),
        kernel_ops.OrU32(8),
    )
    entries = tuple(kernel_ops.Entry(target, value) for target, value in zip(targets, values, strict=True))
    return [
        kernel_ops.KernelOpRequest(1, kernel_ops.KernelOp("cold", "write", entries, "tag")),
        kernel_ops.KernelOpReply(1, True, "", values),
        kernel_ops.KernelOpReply(2, False, "no such symbol"),
    ]


def payload_seeds() -> list[bytes]:
    """One or two of each payload."""
    workers = tuple(payloads.WorkerSample(pid, pid * 7, f"spin-{pid}") for pid in range(2, 12))
    reply = payloads.SnapshotReply(1, payloads.SnapshotStatus.ERR, "no such symbol: jiffiez")
    values = (
        payloads.Stimulus(1500, 1, 2, 3, 3, 8, 123456),
        payloads.SnapshotRequest(7, payloads.SnapshotKind.CAPTURE, "periodic_000"),
        payloads.SnapshotRequest(8, payloads.SnapshotKind.WATCH, "jiffies_64"),
        reply,
        payloads.KernAddrs(0, None, 0xFFFFFFFF81000000),
        payloads.Lifecycle(payloads.LifecyclePhase.SCHEDULER_NOT_ATTACHED, "the verifier: grün"),
        payloads.ScenarioEnd(10000),
        payloads.ScenarioEnd(10000, 55),
        payloads.ExitCode(-1),
        payloads.WorkerReport(workers),
        payloads.Beats(b"".join(vlp_seeds()[:1]) * 3),
        *kernel_op_seeds(),
        sched.SchedUpload(9, 0xCAFEBABE, 70000, "grün.bpf.o"),
        sched.SchedChunk(9, 32768, b"\x7fELF" * 40),
        sched.SchedCommand(9, sched.SchedOp.REPLACE, "demo:fifo"),
        sched.SchedReply(
            9, sched.SchedStatus.REJECTED, sched.SchedRefuser.VERIFIER, True, 3, "fifo", "no", "log\n"
        ),
        StimulusApplied(1500, 900, 16, 1, 2, 2, "tasks are in it"),
    )
    return [value.pack() for value in values] + [reply.pack(reason_bytes=64), b""]


def run_payloads(data: bytes) -> None:
    """Every payload's ``unpack``; what it takes, it packs again."""
    for kind in PAYLOADS:
        refused_or(lambda kind=kind: kind.unpack(data).pack(), payloads.PayloadError)  # type: ignore[misc]
    payloads.SnapshotRequest.peek_id(data)


def frame_seeds() -> list[bytes]:
    """Streams in which each type has each payload."""
    bodies = payload_seeds()
    streams = [b"".join(encode_frame(kind, body) for kind in MsgType) for body in bodies]
    return [*streams, *(encode_frame(MsgType.Stdout, body) for body in bodies)]


def repair_frames(data: bytes) -> bytes:
    """The same bytes with the CRC of each header that can be found made right."""
    fixed = bytearray(data)
    at = 0
    while at + 16 <= len(fixed):
        kind, length = struct.unpack_from("<II", fixed, at)
        if MsgType.from_wire(kind) is None or at + 16 + length > len(fixed):
            at += 1
            continue
        struct.pack_into("<II", fixed, at + 8, zlib.crc32(fixed[at + 16 : at + 16 + length]), 0)
        at += 16 + length
    return bytes(fixed)


def run_dispatch(data: bytes) -> None:
    """The guest's bytes through assembler and dispatch, as the port does."""
    assembler, dispatcher = FrameAssembler(4096), Dispatcher()
    for start in range(0, len(data), 1000):
        dispatcher.dispatch(assembler.feed(data[start : start + 1000]))
    counted, fed = dispatcher.statistics(), assembler.statistics()
    assert counted.frames == fed.frames == counted.unknown + sum(counted.by_type.values())
    assert fed.bytes == counted.bytes + fed.skipped_bytes + fed.residual == len(data)


# -- what peers and files hold ------------------------------------------------------------------------------


@functools.cache
def _encoded_events() -> tuple[bytes, ...]:
    events = Story().until(60)
    return tuple(codec.encode_event(event) for event in events[:: max(1, len(events) // 200)])


def codec_seeds() -> list[bytes]:
    """Events, a state, a command and its answer."""
    state = RunState()
    for event in Story().until(20):
        fold(state, event)
    command = Command(id=3, request=RunKernelOp(op={"tag": "mine", "n": [1, None, {"a": 2.5}]}))
    reply = command.done(path="/x", report={"tag": "mine"})
    return [
        *_encoded_events(),
        codec.encode_state(state),
        codec.encode_command(command),
        codec.encode_reply(reply),
    ]


def run_codec(data: bytes) -> None:
    """Every decoder of the codec; a decoded event is folded, which nothing in it may upset."""
    for decode in (codec.decode_state, codec.decode_command, codec.decode_reply):
        refused_or(lambda decode=decode: decode(data), codec.CodecError)  # type: ignore[misc]
    fold(RunState(), codec.decode_event(data))


def recording_seeds() -> list[bytes]:
    """Small recordings, whole and torn."""
    encoded = _encoded_events()
    events = [recfile.RecordedEvent(n, 1000 * n, data) for n, data in enumerate(encoded[:40], 1)]
    whole = recfile.header("some-run") + recfile.pack_chunk(events[:25]) + recfile.pack_chunk(events[25:])
    return [
        whole,
        whole[:-100],
        recfile.header("empty"),
        recfile.header("one") + recfile.pack_chunk(events[:1]),
    ]


def repair_recording(data: bytes) -> bytes:
    """The same with the CRC of each chunk that can be found made right."""
    fixed = bytearray(data)
    at = fixed.find(recfile.CHUNK_MAGIC)
    while at >= 0 and at + 52 <= len(fixed):
        (stored,) = struct.unpack_from("<I", fixed, at + 8)
        covered = bytes(fixed[at + 8 : at + 52 + stored])
        struct.pack_into("<I", fixed, at + 4, zlib.crc32(covered))
        at = fixed.find(recfile.CHUNK_MAGIC, at + 4)
    return bytes(fixed)


@functools.cache
def _scratch() -> Path:
    return Path(f"/proc/self/fd/{os.memfd_create('fuzz-recording')}")


def run_recording(data: bytes) -> None:
    """Read the file to its end, by chunks and by their heads."""
    path = _scratch()
    path.write_bytes(data)
    with recfile.RecordingReader(path) as reader:
        reader.span_ns()
        while (chunk := reader.read_chunk()) is not None:
            state = RunState()
            for event in chunk:
                fold(state, event)
        assert isinstance(reader.damage.in_words, str)


def scenario_seeds() -> list[bytes]:
    """The scenarios that come with the program."""
    folder = Path(__file__).resolve().parents[2] / "ktstr_tui" / "scenarios"
    return [path.read_bytes() for path in sorted(folder.glob("*.toml"))]


def run_scenario(data: bytes) -> None:
    """Parse as text, however broken."""
    parse_scenario(data.decode("utf-8", "replace"), "fuzz.toml")


# -- beats and text -----------------------------------------------------------------------------------------

_KEY = bytes(range(32))
_BEAT = vlp.Beat(vlp.Status.OK, 4321, 10_000_000, 17, 5)


def vlp_seeds() -> list[bytes]:
    """Beats in clear and in both sealed forms."""
    last = vlp.Beat(vlp.Status.CRITICAL, 4321, 10_000_001, vlp.NONCE_TERMINAL)
    sealed = seal_shared(_KEY, b"12345678", 1, vlp.encode(_BEAT))
    own = seal_agent(agent_key(_KEY, 4321), 4321, b"12345678", 1, vlp.encode(_BEAT))
    return [vlp.encode(_BEAT), vlp.encode(last), sealed, own]


def repair_vlp(data: bytes) -> bytes:
    """A frame in clear with its CRC made right."""
    body = data[:28].ljust(28, b"\0")
    return body + struct.pack("<I", vlp.crc32c(body))


def run_vlp(data: bytes) -> None:
    """Decode in clear and under keys; what decodes encodes to the same bytes."""
    refused_or(lambda: Keyring((_KEY,), (_KEY,)).open(data), KtstrError)
    assert vlp.encode(vlp.decode(data)) == data


def console_seeds() -> list[bytes]:
    """Lines, escape sequences, what a panic says, and no end of a line."""
    return [
        b"[    0.000000] Linux version 6.99\r\n[    1.0] Run /init as init process\n",
        b"\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07 text \xe2\x82\xac\n",
        b"Kernel panic - not syncing: Attempted to kill init!\n" + b"x" * 3000,
    ]


def run_console(data: bytes) -> None:
    """The console's cleaner and the text filter: no control character comes through either."""
    with Console(None) as console:
        lines = console.feed(data)
        assert all(line.isprintable() for line in lines)
        assert sum(map(len, console.tail())) <= 4 * len(data) + 1000
    assert "\x1b" not in printable(data.decode("utf-8", "replace"))
