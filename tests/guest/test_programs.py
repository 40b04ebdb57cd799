"""Scheduler programs that restart themselves, crash, or do not leave: what the guest program makes of them."""

from __future__ import annotations

from collections.abc import Callable

from ktstr_tui.guest.initramfs import GuestArtifacts
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.scenario import Step
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.payloads import LifecyclePhase, Stimulus
from tests.guest.agents import SPINNER, run
from tests.guest.programs import program  # noqa: F401 (a fixture)
from tests.guest.test_agent import artifacts, prepare  # noqa: F401 (fixtures)

EJECTS_ITSELF = """
#include "demo.bpf.h"
extern void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;
SEC("struct_ops/hasty_enqueue")
void BPF_PROG(hasty_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char format[] = "gone at once, with %llu";
	unsigned long long data[] = { 7 };

	scx_bpf_error_bstr(format, data, sizeof(data));
	scx_insert(p, SCX_DSQ_LOCAL, 0, enq_flags);
}
SEC(".struct_ops.link")
struct sched_ext_ops hasty_ops = { .enqueue = (void *)hasty_enqueue, .name = "hasty" };
"""


async def test_a_program_that_restarts_itself_goes_on(
    prepare: Callable[..., MachineSpec],  # noqa: F811
    artifacts: GuestArtifacts,  # noqa: F811
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    command = program(str(artifacts.demos["fifo"]), "restart")
    outcome = await run(prepare(Step("x", 12_000, scheduler=command, workers=SPINNER)))
    log = outcome.text(MsgType.SchedLog)
    assert "life 2\n" in log, log
    assert log.count('BPF scheduler "fifo" enabled') == 2
    assert "attached again" in log
    assert outcome.codes(MsgType.SchedExit) == [0], "it was asked to end, and was not killed"
    assert outcome.codes(MsgType.Exit) == [0]
    assert LifecyclePhase.SCHEDULER_DIED not in [event.phase for event in outcome.lifecycle()]


async def test_a_program_that_crashes_is_an_ejection_with_its_signal(
    prepare: Callable[..., MachineSpec],  # noqa: F811
    artifacts: GuestArtifacts,  # noqa: F811
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    command = program(str(artifacts.demos["fifo"]), "crash")
    outcome = await run(prepare(Step("x", 30_000, "ejected", command, workers=SPINNER)))
    died = [event for event in outcome.lifecycle() if event.phase == LifecyclePhase.SCHEDULER_DIED]
    assert len(died) == 1
    assert "died of signal 11 (Segmentation fault)" in died[0].reason
    assert outcome.codes(MsgType.Exit) == [1]


async def test_a_scheduler_ejected_at_once_has_attached_and_a_program_that_stays_costs_no_minute(
    prepare: Callable[..., MachineSpec],  # noqa: F811
    compile_bpf: Callable[[str, str], str],
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    command = program(compile_bpf("hasty", EJECTS_ITSELF), "linger")
    outcome = await run(prepare(Step("x", 60_000, "ejected", command, workers=SPINNER)))
    phases = [event.phase for event in outcome.lifecycle()]
    assert LifecyclePhase.SCHEDULER_NOT_ATTACHED not in phases
    assert LifecyclePhase.SCHEDULER_DIED in phases
    assert "gone at once" in outcome.text(MsgType.SchedLog)
    assert outcome.codes(MsgType.Exit) == [1]
    ends = [Stimulus.unpack(payload) for payload in outcome.of(MsgType.StepEnd)]
    assert ends[0].elapsed_ms < 40_000
