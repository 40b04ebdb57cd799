"""Replacing the scheduler of a whole run: by command, in seconds, and fifty times without leaving anything behind."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import drgn
import pytest
from drgn import FaultError
from drgn.helpers.linux.bpf import bpf_btf_for_each, bpf_link_for_each, bpf_map_for_each, bpf_prog_for_each
from drgn.helpers.linux.fs import for_each_file
from drgn.helpers.linux.pid import find_task, for_each_task

from ktstr_tui.cli.drgn_prompt import open_view
from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.link.recording import read_recording
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.commands import ReplaceScheduler, SchedulerAnswer
from ktstr_tui.model.fold import fold
from ktstr_tui.model.scheduler_swap import SwapAttached
from ktstr_tui.model.state import RunState
from tests.guest.compilers import REJECTED
from tests.guest.runs import HeadlessRun, call, call_json, headless_run

pytestmark = pytest.mark.guest
SETTLE_S = 60.0
"""How long the kernel may take to free what is gone; it waits for grace periods."""
SCENARIO = """
name = "edit"
[[workers]]
kind = "spin"
count = 3
[[workers]]
kind = "bursty"
count = 2
[[steps]]
name = "work"
duration_ms = 3600000
scheduler = "demo:fifo"
"""
COUNTS_ITS_DISPATCHES = """
#include "scx_min.bpf.h"
char _license[] SEC("license") = "GPL";
u64 dispatched;
SEC("struct_ops/counts_enqueue")
void BPF_PROG(counts_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, 0x7, 5000000, enq_flags);
}
SEC("struct_ops/counts_dispatch")
void BPF_PROG(counts_dispatch, s32 cpu, struct task_struct *prev)
{
	if (scx_move_to_local(0x7))
		__sync_fetch_and_add(&dispatched, 1);
}
SEC("struct_ops.s/counts_init")
s32 BPF_PROG(counts_init)
{
	return scx_bpf_create_dsq(0x7, -1);
}
SEC(".struct_ops.link")
struct sched_ext_ops counts_ops = {
	.enqueue = (void *)counts_enqueue,
	.dispatch = (void *)counts_dispatch,
	.init = (void *)counts_init,
	.name = "counts",
};
"""


FAILS_TO_START = COUNTS_ITS_DISPATCHES.replace("counts", "stillborn").replace(
    "return scx_bpf_create_dsq(0x7, -1)", "return -22"
)


class Left(NamedTuple):
    """What schedulers have in the guest's kernel."""

    programs: int
    maps: int
    links: int
    types: int
    descriptors: int
    """Of process 1."""
    loaders: int

    def covers(self, other: Left) -> bool:
        """Whether the other has no more of anything."""
        return all(theirs <= ours for ours, theirs in zip(self, other, strict=True))


def left(prog: drgn.Program) -> Left:
    init = find_task(prog, 1)
    return Left(
        sum(1 for _ in bpf_prog_for_each(prog)),
        sum(1 for _ in bpf_map_for_each(prog)),
        sum(1 for _ in bpf_link_for_each(prog)),
        sum(1 for _ in bpf_btf_for_each(prog)),
        sum(1 for _ in for_each_file(init)),
        sum(1 for task in for_each_task(prog) if task.comm.string_() == b"ktstr-load"),
    )


def settled(prog: drgn.Program, wanted: Callable[[Left], bool]) -> Left:
    """What is left as soon as it is as wanted; at the latest when it had time enough."""
    until = time.monotonic() + SETTLE_S
    while True:
        try:
            found = left(prog)
        except (FaultError, LookupError):  # the kernel changed it meanwhile
            continue
        if wanted(found) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def pages(prog: drgn.Program, table: str, item: str) -> int:
    """A counter of the kernel's memory. BTF has no type of these tables, so it is read by the table's address."""
    return int(prog.read_u64(prog.symbol(table).address + 8 * prog.constant(item).value_()))


def memory_pages(prog: drgn.Program) -> dict[str, int]:
    return {
        "free": pages(prog, "vm_zone_stat", "NR_FREE_PAGES"),
        "shmem": pages(prog, "vm_node_stat", "NR_SHMEM"),
        "init": int(find_task(prog, 1).mm.total_vm.value_()),
    }


def dispatched(prog: drgn.Program, name: str) -> int:
    """How many tasks a scheduler that counts them has dispatched; 0 before it is there."""
    try:
        for one in bpf_map_for_each(prog):
            if one.name.string_() == f"{name}.bss".encode():
                address = drgn.cast("struct bpf_array *", one).value.address_of_().value_()
                return int(prog.read_u64(address))
    except FaultError:
        pass
    return 0


async def until_dispatched(prog: drgn.Program, name: str) -> float:
    while not dispatched(prog, name):  # noqa: ASYNC110 - guest memory rings no bell
        await asyncio.sleep(0.01)
    return time.monotonic()


def backend_pid(run: HeadlessRun) -> int:
    return run.process.pid


async def swap(viewer: Viewer, name: str, content: bytes) -> SwapAttached:
    reply = await viewer.command(ReplaceScheduler(file=name, content=content))
    outcome = reply.answer(SchedulerAnswer).outcome
    assert isinstance(outcome, SwapAttached), outcome
    return outcome


def state_of(run: HeadlessRun) -> tuple[RunState, list[int]]:
    """The state at the end of a run by its recording, and the numbers of its events."""
    (recording,) = Path(run.env["XDG_STATE_HOME"]).rglob("recording.ktstr")
    state, numbers = RunState(), []
    for event in read_recording(recording):
        fold(state, event)
        numbers.append(event.seq)
    return state, numbers


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "edit.toml"
    path.write_text(SCENARIO)
    return str(path)


def test_the_new_scheduler_dispatches_seconds_after_the_command(
    scenario: str, tmp_path: Path, compile_bpf: Callable[[str, str], str]
) -> None:
    path = compile_bpf("counts", COUNTS_ITS_DISPATCHES)
    content = Path(path).read_bytes()

    async def measure(run: HeadlessRun, prog: drgn.Program, name: str) -> tuple[float, float]:
        async with Viewer(run.socket_dir) as viewer:
            asked_s = time.monotonic()
            first = asyncio.create_task(until_dispatched(prog, name))
            outcome = await swap(viewer, f"{name}.bpf.o", content)
            return (await first) - asked_s, outcome.took_ms / 1e3

    with headless_run(tmp_path, "--no-seed", "--scenario", scenario) as run:
        run.wait_for("step")
        with open_view(backend_pid(run)) as view:
            taken = [asyncio.run(measure(run, view.prog, f"edit{number}")) for number in range(5)]
            print("from the command to the first dispatch and to the answer, in s:", taken)
        answer = call_json("scheduler", "replace", path, run.name, env=run.env)
        assert (answer["result"], answer["loaded"]) == ("attached", "counts")
        assert call("scheduler", "detach", run.name, env=run.env).stdout.startswith("detached in ")
        again = call("scheduler", "detach", run.name, env=run.env)
        assert again.returncode == 2
        assert "no scheduler is attached" in again.stderr
        assert " attached as counts in " in call("scheduler", "attach", run.name, env=run.env).stdout
        call("end", run.name, env=run.env)
        code, summary, _ = run.end()
    assert code == 0, summary
    state, _ = state_of(run)
    assert [swap.op for swap in state.swaps] == [*["replace"] * 6, "detach", "detach", "attach"]
    assert state.replacements == 6
    assert state.ejections == 0


def test_a_refused_object_is_explained_and_changes_nothing(
    scenario: str, tmp_path: Path, compile_bpf: Callable[[str, str], str]
) -> None:
    path = compile_bpf("rejected", REJECTED)
    program = tmp_path / "program.sh"
    program.write_text("#!/bin/sh\n")
    with headless_run(tmp_path, "--no-seed", "--scenario", scenario) as run:
        run.wait_for("step")
        refused = call("scheduler", "replace", path, run.name, env=run.env)
        assert refused.returncode == 2
        assert "refused by the verifier: R0 invalid mem access" in refused.stderr
        assert "fifo is attached" in refused.stderr
        failing = compile_bpf("stillborn", FAILS_TO_START)
        refused = call("scheduler", "replace", failing, run.name, env=run.env)
        assert refused.returncode == 2
        assert "ops.init() failed (-22); fifo is attached" in refused.stderr
        as_json = json.loads(call("scheduler", "replace", path, run.name, "--json", env=run.env).stdout)
        assert (as_json["result"], as_json["by"], as_json["loaded"]) == ("rejected", "verifier", "fifo")
        assert call("scheduler", "replace", str(program), run.name, env=run.env).returncode == 2
        assert "is a program" in call("scheduler", "replace", "/bin/true", run.name, env=run.env).stderr
        call("end", run.name, env=run.env)
        code, summary, _ = run.end()
    assert code == 0, summary
    state, _ = state_of(run)
    assert [swap.outcome.result for swap in state.swaps] == ["rejected"] * 3
    assert (state.ejections, state.replacements, summary["exit_code"]) == (0, 0, 0)


def test_fifty_replacements_leave_nothing_behind_and_lose_no_event(tmp_path: Path) -> None:
    content = guest_artifacts().demos["fifo"].read_bytes()
    scenario = tmp_path / "idle-at-times.toml"
    # Tasks that come and go, but that leave the CPUs to the loader: it is fifty replacements that count here.
    scenario.write_text(SCENARIO.replace("spin", "sleep"))

    async def replace(run: HeadlessRun, times: int) -> list[int | None]:
        async with Viewer(run.socket_dir) as viewer:
            return [(await swap(viewer, "fifo.bpf.o", content)).enable_seq for _ in range(times)]

    with headless_run(tmp_path, "--no-seed", "--scenario", str(scenario)) as run:
        run.wait_for("step")
        with open_view(backend_pid(run)) as view:
            prog = view.prog
            counted = asyncio.run(replace(run, 5))
            after_five = settled(prog, lambda it: it.links == 1 and it.loaders == 1)
            memory_five = memory_pages(prog)
            counted += asyncio.run(replace(run, 45))
            after_fifty = settled(prog, after_five.covers)
            memory_fifty = memory_pages(prog)
            print("after 5 and 50 replacements, memory in pages:", after_five, memory_five)
            print(after_fifty, memory_fifty)
        call("end", run.name, env=run.env)
        code, summary, _ = run.end()
    assert code == 0, summary
    assert counted == list(range(2, 52))
    assert after_five.covers(after_fifty), (after_five, after_fifty)
    assert after_five.links == after_five.loaders == 1
    assert memory_fifty["init"] == memory_five["init"]
    assert memory_fifty["shmem"] - memory_five["shmem"] < 64
    # The kernel keeps slabs and per-CPU pages of its own; 45 objects with their programs would be far more.
    assert memory_five["free"] - memory_fifty["free"] < 4096
    state, numbers = state_of(run)
    assert all(after == before + 1 for before, after in pairwise(numbers))
    assert state.replacements == 50
    assert state.ejections == 0
    attached = [line for line in state.log if line.text.startswith("fifo attached")]
    assert len(attached) == 51, "the host saw each of them come"
    assert state.drops == {}
