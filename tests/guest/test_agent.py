"""The guest program in a real kernel: the frames of a scenario, and what becomes of schedulers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.initramfs import GuestArtifacts, build_initramfs, guest_artifacts
from ktstr_tui.guest.kernel_config import find_config
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import Scenario, Step, Workers
from ktstr_tui.wire.frames import Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.payloads import (
    LifecyclePhase,
    ScenarioEnd,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
    Stimulus,
    WorkerReport,
)
from tests.guest.agents import (
    ALL_KINDS,
    ANSWERS,
    CHATTER,
    KERNEL_CONSTANTS,
    LOAD,
    RUN_TIMEOUT_S,
    SPINNER,
    answer,
    in_order,
    listen,
    run,
)
from tests.guest.booting import open_booted, spec_of
from tests.guest.compilers import REJECTED


@pytest.fixture(scope="session")
def artifacts() -> GuestArtifacts:
    """The guest program as it was built."""
    return guest_artifacts()


@pytest.fixture
def prepare(machine_spec: MachineSpec, artifacts: GuestArtifacts) -> Callable[..., MachineSpec]:
    """Makes a machine that will run some steps."""

    def spec(*steps: Step, config: bytes = b"") -> MachineSpec:
        scenario = Scenario("test", steps)
        return spec_of(machine_spec, scenario, artifacts, config)

    return spec


async def test_a_scenario_with_a_scheduler_that_works(prepare: Callable[..., MachineSpec]) -> None:
    outcome = await run(
        prepare(
            Step("base", 1200, workers=LOAD),
            Step("fifo", 2500, scheduler="demo:fifo", workers=ALL_KINDS, capture="half way"),
            Step("fifo still", 300, scheduler="demo:fifo", workers=SPINNER),
        )
    )
    assert outcome.ended.reason == "poweroff", outcome.ended
    step = [MsgType.Stimulus, MsgType.StepEnd]
    assert outcome.order() == [
        *(MsgType.Lifecycle, MsgType.KernAddrs, MsgType.SysRdy, MsgType.Lifecycle, MsgType.ScenarioStart),
        *step,
        *(MsgType.Stimulus, MsgType.SnapshotRequest, MsgType.StepEnd),
        *step,
        *(MsgType.SchedExit, MsgType.ScenarioEnd, MsgType.Exit),
    ]
    assert [event.phase for event in outcome.lifecycle()] == [
        LifecyclePhase.INIT_STARTED,
        LifecyclePhase.PAYLOAD_STARTING,
    ]
    assert outcome.codes(MsgType.SchedExit) == [0]
    assert outcome.codes(MsgType.Exit) == [0]
    starts = [Stimulus.unpack(payload) for payload in outcome.of(MsgType.Stimulus)]
    ends = [Stimulus.unpack(payload) for payload in outcome.of(MsgType.StepEnd)]
    assert [start.step_index for start in starts] == [end.step_index for end in ends] == [0, 1, 2]
    assert [start.worker_count for start in starts] == [8, 11, 1]
    for start, end in zip(starts, ends, strict=True):
        assert end.total_iterations > start.total_iterations
    for start, end, least_ms in zip(starts, ends, (1200, 2500, 300), strict=True):
        assert end.elapsed_ms - start.elapsed_ms >= least_ms
    total = ScenarioEnd.unpack(outcome.of(MsgType.ScenarioEnd)[0])
    assert (total.total_iterations or 0) >= ends[-1].total_iterations

    request = SnapshotRequest.unpack(outcome.of(MsgType.SnapshotRequest)[0])
    assert (request.kind, request.tag) == (SnapshotKind.CAPTURE, "half way")
    assert "capture 1: done" in outcome.text(MsgType.Stdout)
    log = outcome.text(MsgType.SchedLog)
    assert log.count("--- begin demo:fifo ---") == log.count("--- end demo:fifo: exit code 0 ---") == 1
    assert 'BPF scheduler "fifo" enabled' in log

    reports = [WorkerReport.unpack(payload) for payload in outcome.of(MsgType.WorkerReport)]
    assert len(reports) >= 3 + 3
    names = {worker.comm for report in reports for worker in report.workers}
    expected = {"spin-0", "spin-1", "pipe-0", "pipe-1", "futex-0", "futex-1", "fork-0", "sleep-0"}
    assert names == expected | {"yield-0", "bursty-0", "mixed-0"}
    done = Counter({worker.comm: worker.iterations for report in reports for worker in report.workers})
    assert min(done[name] for name in names) > 0, "every worker got something done"


async def test_the_kernel_ejects_a_scheduler_that_stalls(prepare: Callable[..., MachineSpec]) -> None:
    load = (Workers("spin"), Workers("spin", affinity=(1,)))
    outcome = await run(
        prepare(
            Step("stall", 60_000, "ejected", "demo:stall", workers=load),
            Step("after", 300, workers=SPINNER),
        )
    )
    assert outcome.codes(MsgType.SchedExit) == [1]
    assert outcome.codes(MsgType.Exit) == [1]
    died = [event for event in outcome.lifecycle() if event.phase == LifecyclePhase.SCHEDULER_DIED]
    assert len(died) == 1
    assert died[0].reason.startswith("demo:stall: sched_ext: stall: ")
    assert "failed to run for" in died[0].reason
    log = outcome.text(MsgType.SchedLog)
    assert 'sched_ext: BPF scheduler "stall" disabled (runnable task stall)' in log
    assert "--- end demo:stall: exit code 1 ---" in log
    ends = [Stimulus.unpack(payload) for payload in outcome.of(MsgType.StepEnd)]
    assert ends[0].elapsed_ms < 60_000, "the step ended with the ejection"
    assert len(ends) == 2, "the scenario goes on under the kernel's own scheduler"
    order = [MsgType.Stimulus, MsgType.Lifecycle, MsgType.SchedExit, MsgType.Exit]
    assert in_order(outcome.order(), order)


async def test_a_starving_scheduler_stays_loaded(prepare: Callable[..., MachineSpec]) -> None:
    load = (Workers("spin", affinity=(1,)), Workers("spin", affinity=(0,)))
    outcome = await run(prepare(Step("starve", 12_000, "ejected", "demo:starve", workers=load)))
    assert outcome.codes(MsgType.SchedExit) == [0]
    assert outcome.codes(MsgType.Exit) == [0]
    starved, served = (
        w.iterations for w in WorkerReport.unpack(outcome.of(MsgType.WorkerReport)[-1]).workers
    )
    assert 0 < starved < served / 10


async def test_the_log_of_the_verifier_arrives(
    prepare: Callable[..., MachineSpec], compile_bpf: Callable[[str, str], str]
) -> None:
    path = compile_bpf("rejected", REJECTED)
    outcome = await run(
        prepare(Step("x", 5000, scheduler=path, workers=SPINNER), Step("never", 5000, workers=SPINNER))
    )
    log = outcome.text(MsgType.SchedLog)
    assert "-- BEGIN PROG LOAD LOG --" in log
    assert "R0 invalid mem access 'map_value_or_null'" in log
    assert outcome.codes(MsgType.SchedExit) == [2]
    assert outcome.codes(MsgType.Exit) == [2]
    assert outcome.lifecycle()[-1].phase == LifecyclePhase.SCHEDULER_NOT_ATTACHED
    assert outcome.lifecycle()[-1].reason.startswith(
        "rejected.bpf.o: refused by the verifier: R0 invalid mem access 'map_value_or_null', at: "
    )
    assert "Run /init as init process" in outcome.text(MsgType.Dmesg)
    assert not outcome.of(MsgType.Stimulus)
    assert outcome.ended.reason == "poweroff"


async def test_the_loader_fills_in_the_kernels_constants(
    prepare: Callable[..., MachineSpec], compile_bpf: Callable[[str, str], str]
) -> None:
    path = compile_bpf("constants", KERNEL_CONSTANTS)
    outcome = await run(prepare(Step("x", 1500, "ejected", path, workers=SPINNER)))
    assert outcome.codes(MsgType.SchedExit) == [0], outcome.text(MsgType.SchedLog)
    assert 'BPF scheduler "constants" enabled' in outcome.text(MsgType.SchedLog)


@pytest.mark.parametrize("whole", [True, False], ids=["the kernel's own", "only what the image proves"])
async def test_a_scheduler_that_asks_for_the_kernels_configuration_loads(
    prepare: Callable[..., MachineSpec],
    compile_bpf: Callable[[str, str], str],
    kernel: KernelImage,
    artifacts: GuestArtifacts,
    checkout: Path,
    whole: bool,
) -> None:
    config = find_config(kernel)
    assert config.origin == "file", "the fetched kernel came without its configuration"
    hz = re.search(rb"^CONFIG_HZ=(\d+)$", config.text, re.MULTILINE)
    assert hz is not None
    source = checkout / "tests/guest/failures/kconfig.bpf.c"
    step = Step("x", 3000, "ejected", compile_bpf("kconfig", source.read_text()), workers=SPINNER)
    text = config.text if whole else b"CONFIG_X86_64=y\n"
    outcome = await run(prepare(step, config=text))
    assert f"CONFIG_HZ is {hz[1].decode()}, PREEMPT_RT is 0" in outcome.text(MsgType.SchedLog)


async def test_a_dynamic_program_has_its_libraries(
    prepare: Callable[..., MachineSpec], compile_c: Callable[..., str]
) -> None:
    program = compile_c("answers", ANSWERS, "-lz")
    outcome = await run(prepare(Step("x", 1000, scheduler=f"{program} 'two words'")))
    assert ", two words\n" in outcome.text(MsgType.SchedLog)
    assert outcome.codes(MsgType.SchedExit) == [3]
    assert outcome.codes(MsgType.Exit) == [2]
    assert outcome.lifecycle()[-1].phase == LifecyclePhase.SCHEDULER_NOT_ATTACHED


async def test_the_host_ends_a_scenario_early(prepare: Callable[..., MachineSpec]) -> None:
    async def stop(machine: Machine, frame: Frame) -> None:
        await answer(machine, frame)
        if frame.msg_type == MsgType.Stimulus:
            await machine.bulk.send_all(encode_frame(MsgType.Shutdown, b""))

    steps = (
        Step("long", 3_600_000, scheduler="demo:fifo", workers=SPINNER),
        Step("never", 3_600_000, workers=SPINNER),
    )
    outcome = await run(prepare(*steps), stop)
    ending = [MsgType.Stimulus, MsgType.StepEnd, MsgType.SchedExit, MsgType.ScenarioEnd, MsgType.Exit]
    assert outcome.order()[-5:] == ending
    assert outcome.codes(MsgType.Exit) == [0]
    assert outcome.ended.reason == "poweroff"


async def test_a_host_that_does_not_read_loses_text_only_and_is_told(
    prepare: Callable[..., MachineSpec], compile_c: Callable[..., str]
) -> None:
    program = compile_c("chatter", CHATTER, "-static")
    with trio.fail_after(RUN_TIMEOUT_S):
        async with open_booted(prepare(Step("x", 1000, scheduler=program))) as machine:
            await machine.bulk.send_all(encode_frame(MsgType.AccessorReady, b""))
            # The console has no event for a line.
            while not any("chatter is done" in line for line in machine.console.tail()):  # noqa: ASYNC110
                await trio.sleep(0.05)
            outcome = await listen(machine, answer)
    assert outcome.codes(MsgType.SchedExit) == [0]
    assert outcome.codes(MsgType.Exit) == [2]
    assert "dropped: the host did not read the port" in outcome.text(MsgType.Stderr)
    assert outcome.text(MsgType.SchedLog).startswith("--- begin chatter ---\n")


@pytest.mark.parametrize(("aid", "reason"), [("panic", "panic"), ("reboot", "reset")])
async def test_guests_that_break_on_purpose(
    prepare: Callable[..., MachineSpec], aid: str, reason: str
) -> None:
    step = Step("x", 60_000, workers=SPINNER, panic=aid == "panic", reboot=aid == "reboot")
    outcome = await run(prepare(step))
    assert outcome.ended.reason == reason
    assert outcome.order()[-1] == MsgType.Stimulus


async def test_a_guest_that_hangs_on_purpose_falls_silent(prepare: Callable[..., MachineSpec]) -> None:
    with trio.fail_after(RUN_TIMEOUT_S):
        async with open_booted(prepare(Step("x", 60_000, workers=SPINNER, hang=True))) as machine:
            # A guest that lives sends beats twenty times a second, and reports every second.
            kinds = []
            assembler = FrameAssembler()
            silent = False
            while not silent:
                silent = True
                with trio.move_on_after(8 if MsgType.Stimulus in kinds else RUN_TIMEOUT_S):
                    for frame in assembler.feed(bytes(await machine.bulk.receive_some())):
                        kinds.append(frame.msg_type)
                        await answer(machine, frame)
                    silent = False
            assert machine.exit is None
            assert kinds.count(MsgType.WorkerReport) <= 1
            assert MsgType.StepEnd not in kinds
            await machine.quit()


async def test_a_worker_that_cannot_be_as_asked_ends_the_scenario(
    prepare: Callable[..., MachineSpec],
) -> None:
    outcome = await run(prepare(Step("x", 5000, workers=(Workers("spin", affinity=(200,)),))))
    assert "step x: spin-0: affinity: Invalid argument" in outcome.text(MsgType.Stderr)
    assert outcome.codes(MsgType.Exit) == [3]


async def test_a_plan_that_is_not_one(machine_spec: MachineSpec, artifacts: GuestArtifacts) -> None:
    spec = replace(machine_spec, initrd=build_initramfs(artifacts.agent, b"ktstr-plan 2\nstep\n", []))
    outcome = await run(spec)
    assert "plan: line 2" in outcome.text(MsgType.Stderr)
    assert outcome.of(MsgType.Dmesg)
    assert outcome.codes(MsgType.Exit) == [3]
    assert outcome.ended.reason == "poweroff"


async def test_a_capture_that_is_queued_is_waited_for(prepare: Callable[..., MachineSpec]) -> None:
    """What counts is the answer that follows; the step does not end before it, however short it is."""
    reports_since = 0

    async def react(machine: Machine, frame: Frame) -> None:
        nonlocal reports_since
        if frame.msg_type == MsgType.SnapshotRequest:
            reports_since = 1
            queued = SnapshotReply(1, SnapshotStatus.QUEUED)
            await machine.bulk.send_all(encode_frame(MsgType.SnapshotReply, queued.pack()))
            return
        await answer(machine, frame)
        if frame.msg_type == MsgType.WorkerReport and reports_since:
            reports_since += 1
            if reports_since == 4:
                done = SnapshotReply(1, SnapshotStatus.OK)
                await machine.bulk.send_all(encode_frame(MsgType.SnapshotReply, done.pack()))

    outcome = await run(prepare(Step("short", 400, workers=SPINNER, capture="mine")), react)
    assert outcome.text(MsgType.Stdout).count("capture 1:") == 1
    assert "capture 1: done" in outcome.text(MsgType.Stdout)
    end = Stimulus.unpack(outcome.of(MsgType.StepEnd)[0])
    assert end.elapsed_ms > 1500, "three reports, a second apart"
