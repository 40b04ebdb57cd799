"""The sentence of a silence."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.sentence import stall_sentence
from ktstr_tui.model.beats import Progress, StallCause
from ktstr_tui.model.report import SLICE_INF, NextTask, RunningTask


def on(cpu: int, comm: str, pid: int, sched_class: str) -> RunningTask:
    return RunningTask(cpu=cpu, pid=pid, comm=comm, sched_class=sched_class)


RUNNABLE = StallCause(
    kind="runnable",
    cpu=1,
    sched_class="ext",
    state="R",
    waiting_ms=4100,
    dsq="0x7",
    cpus_allowed="0-1",
    running_there=(on(0, "spin-0", 201, "ext"), on(1, "kworker/1:1", 33, "rt")),
)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            RUNNABLE,
            "runnable for 4.1 s in DSQ 0x7, allowed CPUs 0-1, "
            "running there: spin-0[201] (ext), kworker/1:1[33] (rt)",
        ),
        (
            StallCause(kind="runnable", sched_class="ext", running_there=(on(1, "swapper/1", 0, "idle"),)),
            "runnable in no DSQ, running there: nothing (idle)",
        ),
        (
            StallCause(kind="runnable", sched_class="fair", waiting_ms=250, cpus_allowed="3"),
            "runnable for 0.2 s (fair), allowed CPUs 3, running there: unreadable",
        ),
        (
            StallCause(
                kind="runnable",
                sched_class="ext",
                dsq="0x7",
                running_there=tuple(on(cpu, f"w-{cpu}", cpu, "ext") for cpu in range(6)),
            ),
            "runnable in DSQ 0x7, running there: w-0[0] (ext), w-1[1] (ext), w-2[2] (ext), w-3[3] (ext) and 2 more",
        ),
        (
            StallCause(
                kind="runnable",
                sched_class="ext",
                dsq="0x201",
                running_there=(
                    RunningTask(
                        cpu=1,
                        pid=1,
                        comm="ktstr-agent",
                        sched_class="rt",
                        ahead_of=NextTask(pid=105, comm="spin-2", slice_ns=SLICE_INF),
                    ),
                ),
            ),
            "runnable in DSQ 0x201, "
            "running there: ktstr-agent[1] (rt) ahead of spin-2[105] (ext, infinite slice)",
        ),
        (
            StallCause(
                kind="runnable",
                sched_class="ext",
                dsq="0x51",
                waiting_ms=0.0,
                progress=Progress(over_ms=8600.0, ran_ms=420.0, preempted=1913),
                running_there=(on(1, "spin-1", 9, "ext"),),
            ),
            "runnable for 0.0 s in DSQ 0x51, preempted 1913 times and ran for 0.42 s in the last 8.6 s, "
            "running there: spin-1[9] (ext)",
        ),
        (
            StallCause(
                kind="runnable", dsq="0x7", progress=Progress(over_ms=8600.0, ran_ms=0.0, preempted=0)
            ),
            "runnable in DSQ 0x7, running there: unreadable",
        ),
        (StallCause(kind="blocked", state="S", wchan="anon_pipe_read"), "blocked (S) in anon_pipe_read"),
        (StallCause(kind="blocked", state="D"), "blocked (D)"),
        (
            StallCause(kind="running", cpu=0, sched_class="ext", vcpu_ms=4000),
            "runs on CPU 0 (ext), which got 4.0 s of host CPU, but sends no heartbeats",
        ),
        (
            StallCause(kind="no-host-cpu", cpu=1, vcpu_ms=20),
            "vCPU 1 got 0.02 s of host CPU; the host is busy, not the guest's scheduler",
        ),
        (StallCause(kind="exited"), "exited"),
        (StallCause(kind="exited", reason="a zombie"), "exited (a zombie)"),
        (StallCause(kind="unknown", reason="torn: x"), "cause unknown: torn: x"),
    ],
)
def test_the_cause_in_words(cause: StallCause, words: str) -> None:
    assert stall_sentence("pipe-3", 214, 4200, cause, False) == f"pipe-3[214] silent 4.2 s: {words}"


def test_who_is_not_known_by_name_or_cause() -> None:
    assert stall_sentence("", 4711, 2000, None, False) == "pid[4711] silent 2.0 s"
    assert stall_sentence("spin-0", 9, 1000, None, True) == "spin-0[9] has sent no heartbeat for 1.0 s"
