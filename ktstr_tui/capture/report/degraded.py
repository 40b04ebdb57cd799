"""What is left of a stop in which not every vCPU was heard.

Two things go wrong in a stop: the deadline passes, because QEMU or the host hangs, or the guest goes away. If that
happens before the vCPUs are stopped, nothing was read and a placeholder takes the place of the capture. If it
happens afterwards, memory was copied all the same and the capture is whole but for some registers. Either way a
degraded report says how long was waited for whom, and keeps the registers of those that did answer: the ones of this
stop, never older ones.
"""

from __future__ import annotations

from ktstr_tui.capture.job import Job
from ktstr_tui.model.report import VcpuReport
from ktstr_tui.model.report_files import ABORTED, TIMED_OUT, DegradedReport, degraded_reason

_SILENT = "no response"


def degraded_report(job: Job) -> DegradedReport | None:
    """The report of a stop that did not hear every vCPU; None for all other stops."""
    if job.unheard is None:
        return None
    label = job.label
    exit_kind = job.exit_kind if label.exit_kind is None else label.exit_kind
    answered = sum(bool(registers) for registers in job.registers)
    prefix = TIMED_OUT if job.unheard.timed_out else ABORTED
    detail = job.unheard.text.replace(f"{TIMED_OUT}: ", "").removeprefix(f"{ABORTED}: ")
    silent: list[dict[str, int]] = [{}] * (job.nr_cpus - len(job.registers))
    return DegradedReport(
        tag=label.tag,
        trigger=label.trigger,
        trigger_detail=label.detail,
        reason=degraded_reason(prefix, job.waited_ms, answered, job.nr_cpus, detail),
        vcpus=tuple(
            VcpuReport(cpu=cpu, registers=registers, unavailable=None if registers else _SILENT)
            for cpu, registers in enumerate([*job.registers, *silent])
        ),
        watchpoint_hit=label.watchpoint_hit,
        exit_kind=exit_kind,
        exit_kind_name=_kind_name(job, exit_kind),
        scheduler=label.scheduler,
        cgroup=label.cgroup,
        elapsed_ms=job.waited_ms,
        mono_ns=label.mono_ns,
        step=label.step,
        step_index=label.stamp.step_index,
        wall_time=job.wall_time,
        kernel="" if job.view is None else job.view.release,
    )


def _kind_name(job: Job, exit_kind: int | None) -> str:
    """The kernel's own name of an exit kind, from its BTF; empty where that is not known."""
    if exit_kind is None or job.label.exit_kind_name:
        return job.label.exit_kind_name
    return "" if job.view is None else job.view.exit_kind_name(exit_kind)
