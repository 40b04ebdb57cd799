"""A new scheduler in a running guest: attached when it is sound, and never at the cost of the old one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.guest.scenario import Step, Workers
from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.payloads import LifecyclePhase
from ktstr_tui.wire.scheduler_payloads import (
    SchedCommand,
    SchedOp,
    SchedRefuser,
    SchedStatus,
    SchedUpload,
)
from tests.guest.compilers import REJECTED
from tests.guest.swapping import OpenSwapping, Swapping, pieces, swapping  # noqa: F401 (a fixture)

pytestmark = pytest.mark.guest
LOAD = (Workers("spin", 3), Workers("bursty", 2))
LONG = 3_600_000
FIFO = Step("work", LONG, scheduler="demo:fifo", workers=LOAD)


def demo(name: str) -> bytes:
    return guest_artifacts().demos[name].read_bytes()


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def died(guest: Swapping) -> list[bytes]:
    return [p for p in guest.of(MsgType.Lifecycle) if p[0] >= LifecyclePhase.SCHEDULER_DIED]


async def test_a_scheduler_is_replaced_while_its_step_goes_on(swapping: OpenSwapping) -> None:  # noqa: F811
    async with swapping(FIFO, Step("still", 500, scheduler="demo:fifo", workers=LOAD)) as guest:
        reply = await guest.replace(demo("starve"), name="starve.bpf.o")
        assert (reply.status, reply.loaded, reply.ops) == (SchedStatus.ATTACHED, True, "starve")
        assert reply.enable_seq == 2
        again = await guest.replace(demo("fifo"), name="fifo.bpf.o", target="demo:fifo")
        assert (again.status, again.ops, again.enable_seq) == (SchedStatus.ATTACHED, "fifo", 3)
        assert len(guest.of(MsgType.Stimulus)) == 1
        assert died(guest) == []
        log = guest.log()
        assert log.index("--- begin starve.bpf.o ---") < log.index("--- end demo:fifo: exit code 0 ---")


ORPHAN = """
#include "demo.bpf.h"
struct sock;
struct tcp_congestion_ops {
	void (*init)(struct sock *sk);
	char name[16];
};
SEC("struct_ops/lonely_init")
void BPF_PROG(lonely_init, struct sock *sk)
{
}
SEC(".struct_ops.link")
struct tcp_congestion_ops lonely = { .init = (void *)lonely_init, .name = "lonely" };
"""
REFUSED_BY_KERNEL = """
#include "demo.bpf.h"
SEC("struct_ops/late_enqueue")
void BPF_PROG(late_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, SCX_DSQ_LOCAL, 0, 0);
}
SEC(".struct_ops.link")
struct sched_ext_ops late_ops = { .enqueue = (void *)late_enqueue, .timeout_ms = 3000000, .name = "late" };
"""
FAILS_TO_START = """
#include "demo.bpf.h"
SEC("struct_ops/sour_enqueue")
void BPF_PROG(sour_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, SCX_DSQ_LOCAL, 0, 0);
}
SEC("struct_ops.s/sour_init")
s32 BPF_PROG(sour_init)
{
	return -22;
}
SEC(".struct_ops.link")
struct sched_ext_ops sour_ops = { .enqueue = (void *)sour_enqueue, .init = (void *)sour_init, .name = "sour" };
"""


async def test_broken_objects_leave_the_old_one_running(
    swapping: OpenSwapping,  # noqa: F811
    compile_bpf: Callable[[str, str], str],
) -> None:
    sources = (
        ("rejected", REJECTED),
        ("late", REFUSED_BY_KERNEL),
        ("sour", FAILS_TO_START),
        ("orphan", ORPHAN),
    )
    built = {name: read(compile_bpf(name, text)) for name, text in sources}
    fifo = demo("fifo")
    broken = (
        ("garbage.o", b"garbage" * 99, SchedRefuser.LIBBPF, "is not a proper ELF object"),
        ("half.o", fifo[: len(fifo) // 2], SchedRefuser.LIBBPF, "elf: "),
        ("short.o", fifo[:40], SchedRefuser.LIBBPF, "is not a proper ELF object"),
        ("orphan.o", built["orphan"], SchedRefuser.PROGRAM, "no sched_ext_ops in this object"),
        ("rejected.o", built["rejected"], SchedRefuser.VERIFIER, "R0 invalid mem access 'map_value_or_null'"),
        ("late.o", built["late"], SchedRefuser.KERNEL, "attach: Argument list too long"),
        ("sour.o", built["sour"], SchedRefuser.KERNEL, "sour: ops.init() failed (-22)"),
    )
    async with swapping(FIFO) as guest:
        for turn in range(1, 4):
            for name, data, refuser, reason in broken:
                reply = await guest.replace(data, name=name)
                assert (reply.status, reply.refuser) == (SchedStatus.REJECTED, refuser), reply
                assert reason in reply.reason
                assert (reply.loaded, reply.ops) == (True, "fifo"), reply
                assert reply.log
            # Only the last two were refused after the old one had gone, and brought it back.
            assert reply.enable_seq == 1 + 2 * turn
        assert died(guest) == []
        log = guest.log()
        assert log.count("--- begin demo:fifo ---") == 1 + 2 * 3
        assert log.count("--- end rejected.o: exit code 2 ---") == 3
        good = await guest.replace(demo("starve"), name="starve.bpf.o")
        assert (good.status, good.ops) == (SchedStatus.ATTACHED, "starve")
        assert (good.reason, good.log) == ("", "")


async def test_what_comes_damaged_is_refused_and_named(swapping: OpenSwapping) -> None:  # noqa: F811
    fifo = demo("fifo") * 4  # several pieces; libbpf never sees them
    crc, size = zlib.crc32(fifo), len(fifo)

    def frames(number: int) -> list[bytes]:
        return [encode_frame(MsgType.SchedChunk, piece) for piece in pieces(number, fifo)]

    async with swapping(FIFO) as guest:

        async def refused(head: SchedUpload, sent: list[bytes], reason: str) -> None:
            reply = await guest.reply(await guest.upload(head, sent))
            assert (reply.status, reply.loaded, reply.ops) == (SchedStatus.FAILED, True, "fifo")
            assert reason in reply.reason

        assert len(frames(1)) == 4
        flipped = bytearray(frames(1)[1])
        flipped[-1] ^= 1
        await refused(
            SchedUpload(1, crc, size, "x"), [frames(1)[0], bytes(flipped), *frames(1)[2:]], "damaged"
        )
        await refused(SchedUpload(2, crc, size, "x"), [*frames(2)[:3]], f"only 98304 of {size} bytes came")
        flipped = bytearray(frames(3)[3])
        flipped[-1] ^= 1
        await refused(
            SchedUpload(3, crc, size, "x"), [*frames(3)[:3], bytes(flipped)], "a piece came damaged"
        )
        await refused(SchedUpload(4, crc, size, "x"), [frames(4)[0], *frames(4)[2:]], "a piece is missing")
        await refused(SchedUpload(5, crc ^ 1, size, "x"), frames(5), "the object came damaged: its CRC")
        await refused(SchedUpload(6, crc, size - 1, "x"), frames(6), "more came than")
        await refused(SchedUpload(7, crc, size, "x"), frames(6), f"only 0 of {size} bytes came")
        for number, hostile in ((8, 0), (9, (16 << 20) + 1), (10, 0xFFFFFFFF)):
            head = struct.pack("<III256s", number, crc, hostile, b"x")
            await guest.send(MsgType.SchedUpload, head)
            reply = await guest.command(SchedOp.REPLACE)
            assert (reply.status, reply.ops) == (SchedStatus.FAILED, "fifo")
            assert f"an object of {hostile} bytes is refused" in reply.reason
        await guest.send(MsgType.SchedChunk, frames(11)[0][16:])
        await guest.send(MsgType.SchedCommand, b"short")
        assert (await guest.command(SchedOp.REPLACE)).reason == "no object came"
        assert (await guest.replace(demo("fifo"), name="../../etc/passwd")).status == SchedStatus.ATTACHED
        assert died(guest) == []


async def test_a_scheduler_is_detached_and_attached_again(swapping: OpenSwapping) -> None:  # noqa: F811
    other = Step("other", 1, scheduler="demo:starve", workers=LOAD)
    async with swapping(FIFO, other) as guest:
        gone = await guest.command(SchedOp.DETACH)
        assert (gone.status, gone.loaded, gone.ops) == (SchedStatus.DETACHED, False, "")
        twice = await guest.command(SchedOp.DETACH)
        assert (twice.status, twice.reason) == (SchedStatus.FAILED, "no scheduler is attached")
        back = await guest.command(SchedOp.ATTACH)
        assert (back.status, back.ops, back.enable_seq) == (SchedStatus.ATTACHED, "fifo", 2)
        twice = await guest.command(SchedOp.ATTACH, "demo:fifo")
        assert (twice.status, twice.reason) == (SchedStatus.FAILED, "it is attached already")
        unknown = await guest.command(SchedOp.ATTACH, "nobody")
        assert (unknown.status, unknown.ops) == (SchedStatus.FAILED, "fifo")
        stored = await guest.replace(demo("fifo"), target="demo:starve", name="mine.bpf.o")
        assert (stored.status, stored.ops, stored.enable_seq) == (SchedStatus.STORED, "fifo", 2)
        swapped = await guest.command(SchedOp.ATTACH, "demo:starve")
        assert (swapped.status, swapped.ops, swapped.enable_seq) == (SchedStatus.ATTACHED, "fifo", 3)
        assert died(guest) == []


async def test_one_change_at_a_time_and_a_change_can_be_given_up(swapping: OpenSwapping) -> None:  # noqa: F811
    async with swapping(FIFO) as guest:
        first = await guest.begin_replace(demo("starve"), name="starve.bpf.o")
        second = await guest.command(SchedOp.DETACH)
        assert second.reason == "another change of the scheduler is in progress"
        await guest.send(MsgType.SchedCommand, SchedCommand(first, SchedOp.CANCEL).pack())
        answered = await guest.reply(first)
        # The verifier may have been quicker than this test; then there was nothing to give up any more.
        assert (answered.status, answered.ops) in (
            (SchedStatus.FAILED, "fifo"),
            (SchedStatus.ATTACHED, "starve"),
        )
        after = await guest.replace(demo("fifo"))
        assert (after.status, after.ops) == (SchedStatus.ATTACHED, "fifo")


async def test_later_steps_use_what_replaced_their_scheduler(swapping: OpenSwapping) -> None:  # noqa: F811
    first = Step("work", 15_000, scheduler="demo:fifo", workers=LOAD)
    again = Step("again", LONG, scheduler="demo:fifo", workers=LOAD)
    async with swapping(first, Step("none", 200), again) as guest:
        reply = await guest.replace(demo("starve"), target="demo:fifo", name="starve.bpf.o")
        # On a very slow host the first step may be over by then.
        assert reply.status in (SchedStatus.ATTACHED, SchedStatus.STORED)
        await guest.step(3)
        same = await guest.command(SchedOp.ATTACH)
        assert (same.reason, same.ops) == ("it is attached already", "starve")
        assert died(guest) == []


async def test_one_that_was_ejected_is_replaced_too(swapping: OpenSwapping) -> None:  # noqa: F811
    pinned = (Workers("spin"), Workers("spin", affinity=(1,)))
    async with swapping(Step("stall", LONG, scheduler="demo:stall", workers=pinned)) as guest:
        await guest.until(lambda: died(guest))
        await guest.until(lambda: guest.of(MsgType.SchedExit))
        reply = await guest.replace(demo("fifo"), name="fifo.bpf.o")
        assert (reply.status, reply.ops, reply.enable_seq) == (SchedStatus.ATTACHED, "fifo", 2)
        assert len(died(guest)) == 1
