"""``status``: what a run is doing, in one object or one screenful of text."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ktstr_tui.cli.attach import find_run
from ktstr_tui.model.fold_run import PHASE_WORDS
from ktstr_tui.model.outputs import CaptureLine, RunStatus, StatusCpu, StatusScheduler, StatusWorker
from ktstr_tui.model.sample import OFFLINE
from ktstr_tui.model.text import runnable_for
from ktstr_tui.text.drops import drop_line
from ktstr_tui.text.output import print_json, print_line


def status_command(run_name: str | None, as_json: bool) -> None:
    """Print the state of a run.

    Raises:
        KtstrError: There is no such run, or it does not answer.
    """
    from ktstr_tui.link.status import status_of
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> RunStatus:
        async with Viewer(place) as viewer:
            await viewer.connect()
            return status_of(viewer.state)

    status = asyncio.run(ask(find_run(run_name)))
    if as_json:
        print_json(status)
        return
    for line in status_lines(status):
        print_line(line)


def status_lines(status: RunStatus) -> list[str]:
    """The object of `status_of` as lines for people."""
    uptime = f"{status['uptime_ms'] / 1000:.0f} s" if status["uptime_ms"] is not None else "unknown"
    frozen = f", frozen: {status['frozen']}" if status["frozen"] else ""
    frozen += f", debugger: {status['debugger']}" if status["debugger"] else ""
    why = f" ({'; '.join(status['verdict_reasons'])})" if status["verdict_reasons"] else ""
    lines = [
        f"run        {status['name']}, {status['phase']}, up {uptime}{frozen}",
        f"kernel     {status['kernel']} on {status['accelerator']}, {status['topology']}",
        f"scenario   {status['scenario']}, step {status['step'] or 'none'}",
        *_guest_line(status),
        f"condition  {status['condition']}",
        f"health     {status['verdict']}{why}",
        _scheduler_line(status["scheduler"]),
        *_sub_lines(status["scheduler"]),
    ]
    lines += [f"alert      {alert['severity']}: {alert['text']}" for alert in status["alerts"]]
    lines += [_cpu_line(cpu) for cpu in status["cpus"]]
    lines += [_worker_line(worker) for worker in status["workers"]]
    lines += [_capture_line(capture) for capture in status["captures"]]
    frames, drops = status["frames"], {place: count for place, count in status["drops"].items() if count}
    lines.append(f"frames     {frames['received']}, {frames['crc_bad']} with a bad CRC")
    lines += [f"dropped    {drop_line(name, count)}" for name, count in sorted(drops.items())]
    if not drops:
        lines.append("dropped    nothing")
    if status["ended"]:
        lines.append(f"ended      {status['ended']['reason']} (exit code {status['ended']['exit_code']})")
    return lines


def _guest_line(status: RunStatus) -> list[str]:
    """The last word of the guest program; that it starts is none any more once there is a step."""
    phase = status["lifecycle"]
    if not phase or (status["step"] and phase in ("InitStarted", "PayloadStarting")):
        return []
    reason = f": {status['lifecycle_reason']}" if status["lifecycle_reason"] else ""
    return [f"guest      {PHASE_WORDS[phase]}{reason}"]


def _scheduler_line(scheduler: StatusScheduler | None) -> str:
    if scheduler is None:
        return "scheduler  not read yet"
    if scheduler["unreadable"]:
        return f"scheduler  unreadable: {scheduler['unreadable']}"
    if scheduler["name"] is None:
        return f"scheduler  none (EEVDF){'; ' + scheduler['last_change'] if scheduler['last_change'] else ''}"
    line = f"scheduler  {scheduler['name']}, {scheduler['state']}"
    oldest = scheduler["oldest_runnable"]
    if oldest:
        limit = scheduler["oldest_timeout_ms"]
        of = f" of {limit / 1000:.0f} s" if limit else ""
        line += f"; {runnable_for(oldest['comm'], oldest['pid'], oldest['age_ms'])}{of}"
    return line


def _sub_lines(scheduler: StatusScheduler | None) -> list[str]:
    """The tree of sub-schedulers, indented by level."""
    if scheduler is None:
        return []
    lines = [
        f"{'  ' * (it['level'] - 1)}  {it['cgroup']}: {it['name']}, {it['state']}, {it['nr_runnable']} runnable"
        for it in scheduler["subs"]
    ]
    if scheduler["subs_truncated"]:
        lines.append("  … more sub-schedulers (limit reached)")
    if scheduler["subs_unreadable"]:
        lines.append(f"  unreadable: {scheduler['subs_unreadable']}")
    return [f"{'below it' if at == 0 else '':<9}{line}" for at, line in enumerate(lines)]


def _cpu_line(cpu: StatusCpu) -> str:
    if cpu["unreadable"] == OFFLINE:
        return f"CPU {cpu['cpu']:<4}   offline"
    if cpu["unreadable"]:
        return f"CPU {cpu['cpu']:<4}   unreadable: {cpu['unreadable']}"
    curr = cpu["curr"]
    return (
        f"CPU {cpu['cpu']:<4}   nr_run={cpu['nr_running']} scx={cpu['scx_nr_running']} "
        f"local_dsq={cpu['local_dsq_nr']} curr={curr['comm']}[{curr['pid']}] class={curr['class']}"
    )


def _worker_line(worker: StatusWorker) -> str:
    rate = worker["iterations_per_s"]
    speed = "rate unknown" if rate is None else f"{rate:.0f} iterations/s"
    return f"worker     {worker['comm']}[{worker['pid']}]: {speed}, {worker['iterations']} in total"


def _capture_line(capture: CaptureLine) -> str:
    if capture["is_placeholder"]:
        why = f": {capture['degraded_reason']}  {capture['path']}" if capture["degraded_reason"] else ""
        return f"capture    {capture['tag']} ({capture['trigger']}): failed{why}"
    return f"capture    {capture['tag']} ({capture['trigger']}): {capture['headline']}  {capture['path']}"
