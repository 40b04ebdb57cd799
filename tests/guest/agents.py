"""The guest program without a run: what it sent, and what the host answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio

from ktstr_tui.guest.machine import Machine, MachineExit, MachineSpec
from ktstr_tui.guest.scenario import Workers
from ktstr_tui.wire.frames import Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.payloads import (
    ExitCode,
    Lifecycle,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
)
from tests.guest.booting import open_booted

RUN_TIMEOUT_S = 240
"""Generous, because it only matters when something is broken."""
SPINNER = (Workers("spin"),)
LOAD = (
    Workers("spin", 2),
    Workers("pipe"),
    Workers("futex"),
    Workers("fork"),
    Workers("sleep", policy="fifo"),
)
ALL_KINDS = (
    *LOAD,
    Workers("yield", nice=5),
    Workers("bursty", policy="batch"),
    Workers("mixed", affinity=(1,)),
)
KERNEL_CONSTANTS = """
#include "demo.bpf.h"
const volatile u64 __SCX_DSQ_LOCAL __attribute__((weak));
const volatile u64 __SCX_SLICE_DFL __attribute__((weak));
SEC("struct_ops/constants_enqueue")
void BPF_PROG(constants_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, __SCX_DSQ_LOCAL, __SCX_SLICE_DFL, 0);
}
SEC(".struct_ops.link")
struct sched_ext_ops constants_ops = { .enqueue = (void *)constants_enqueue, .name = "constants" };
"""
ANSWERS = """
#include <stdio.h>
#include <zlib.h>
int main(int argc, char **argv)
{
	printf("zlib %s, %s\\n", zlibVersion(), argv[1]);
	return 3;
}
"""
CHATTER = """
#include <stdio.h>
int main(void)
{
	FILE *console = fopen("/dev/console", "w");

	for (int i = 0; i < 400000; i++)
		puts("a line of a log that nobody reads while it is written");
	fputs("chatter is done\\n", console);
	return 0;
}
"""


class Outcome:
    """All frames of a run and the end of the machine."""

    def __init__(self, frames: list[Frame], ended: MachineExit) -> None:
        self.frames = frames
        self.ended = ended

    def of(self, kind: MsgType) -> list[bytes]:
        """Payloads of one type in order."""
        return [frame.payload for frame in self.frames if frame.msg_type == kind]

    def text(self, kind: MsgType) -> str:
        """Text frames of one type, joined."""
        return b"".join(self.of(kind)).decode()

    def order(self) -> list[MsgType]:
        """Types in order of arrival, without those that come at any time."""
        anytime = (
            MsgType.SchedLog,
            MsgType.WorkerReport,
            MsgType.Beats,
            MsgType.Stdout,
            MsgType.Dmesg,
        )
        return [MsgType(frame.msg_type) for frame in self.frames if frame.msg_type not in anytime]

    def lifecycle(self) -> list[Lifecycle]:
        """Phases in order."""
        return [Lifecycle.unpack(payload) for payload in self.of(MsgType.Lifecycle)]

    def codes(self, kind: MsgType) -> list[int]:
        """Exit codes of one type of frame."""
        return [ExitCode.unpack(payload).code for payload in self.of(kind)]


Reaction = Callable[[Machine, Frame], Awaitable[None]]


async def answer(machine: Machine, frame: Frame) -> None:
    """What a host says to a guest that behaves."""
    if frame.msg_type == MsgType.SysRdy:
        await machine.bulk.send_all(encode_frame(MsgType.AccessorReady, b""))
    if frame.msg_type == MsgType.SnapshotRequest:
        request = SnapshotRequest.unpack(frame.payload)
        reply = SnapshotReply(request.request_id, SnapshotStatus.OK, "")
        await machine.bulk.send_all(encode_frame(MsgType.SnapshotReply, reply.pack()))
    if frame.msg_type == MsgType.Exit:
        await machine.bulk.send_all(encode_frame(MsgType.Shutdown, b""))


async def listen(machine: Machine, react: Reaction) -> Outcome:
    """Read frames until the machine has ended."""
    assembler = FrameAssembler()
    frames: list[Frame] = []
    async for data in machine.bulk:
        for frame in assembler.feed(bytes(data)):
            frames.append(frame)
            with trio.move_on_after(5):
                await react(machine, frame)
    assert assembler.residual() == b""
    assert assembler.statistics().crc_bad == 0
    return Outcome(frames, await machine.wait_exit())


async def run(spec: MachineSpec, react: Reaction = answer) -> Outcome:
    """Run to the end."""
    with trio.fail_after(RUN_TIMEOUT_S):
        async with open_booted(spec) as machine:
            return await listen(machine, react)


def in_order(haystack: list[MsgType], needles: list[MsgType]) -> bool:
    """Whether the needles appear in this order, with anything between them."""
    rest: Iterator[MsgType] = iter(haystack)
    return all(needle in rest for needle in needles)
