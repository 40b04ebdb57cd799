"""``snapshot open``: a snapshot on the screen, as the run at that moment would be seen if it were frozen.

The screen reads events and nothing else. So the snapshot becomes a few of them: what the run was, one sample of its
CPUs, the kernel's list of tasks, the capture of its scheduler and the trace before it, all read from the stored memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ktstr_tui.capture.report.collect import collect
from ktstr_tui.cli.travelled import say_travelled
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.task_list import TaskListReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.still import Still
from ktstr_tui.memory.explore import open_view, report_of
from ktstr_tui.memory.find import Found, find_snapshot
from ktstr_tui.memory.snapshot import SnapshotInfo
from ktstr_tui.model.events import (
    CaptureTaken,
    Event,
    Frozen,
    KernelTyped,
    Logged,
    RunStarted,
    Sampled,
    ScenarioChanged,
    TasksListed,
    TraceRead,
)
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.report import CaptureReport

FROM_MEMORY = "read from the memory of the snapshot"


def open_command(name: str, theme: str | None) -> None:
    """Show a snapshot until the screen is left.

    Raises:
        KtstrError: There is no such snapshot, it is damaged, or there is no terminal.
    """
    from ktstr_tui.cli.screen import still_command

    found = find_snapshot(name)
    still_command(still_of(found), found.path, theme)
    say_travelled(found)


def still_of(found: Found) -> Still:
    """What the screen shows of a snapshot.

    Raises:
        KtstrError: The snapshot is damaged, or holds no kernel.
    """
    info = found.store.read(found.name).info
    events = [
        msgspec.structs.replace(event, seq=seq, mono_ns=event.mono_ns or seq)
        for seq, event in enumerate(events_of(found), 1)
    ]
    what = f"{found.run}/{found.name}: the guest as it was at {info.taken_wall}, at the stop of capture {info.tag}."
    return Still(events, what, f"ktstr-tui restore {found.run}/{found.name} runs on from here")


def events_of(found: Found) -> Iterator[Event]:
    """What the screen is told of a snapshot.

    Raises:
        KtstrError: The snapshot is damaged, or holds no kernel.
    """
    snapshot = found.store.read(found.name)
    info, stored = snapshot.info, report_of(found)
    at_ns = info.mono_ns
    with open_view(found) as (view, _):
        began_ns = max(1, at_ns - (snapshot.elapsed_ns or 0))
        yield RunStarted(info=_run(found, info), mono_ns=began_ns)
        if snapshot.elapsed_ns is not None:
            yield ScenarioChanged(state="started", elapsed_ms=0, mono_ns=began_ns)
        yield KernelTyped(
            release=view.release,
            hz=view.hz,
            cpus=view.nr_cpus,
            btf_types=len(view.btf),
            typed_ms=view.typed_ms,
            mono_ns=at_ns,
        )
        yield Sampled(sample=SampleReader(view).sample(), mono_ns=at_ns)
        yield msgspec.structs.replace(_tasks(view), mono_ns=at_ns)
        report = _capture(view, stored, info)
    if report.history is not None and report.history.block is not None:
        yield TraceRead(block=report.history.block, mono_ns=at_ns)
    yield CaptureTaken(report=report, mono_ns=at_ns)
    yield Frozen(reason=f"the snapshot: this is {info.taken_wall}", viewer="", mono_ns=at_ns)
    text = (
        f"ktstr-tui restore {found.run}/{found.name} starts a guest from here; ktstr-tui drgn asks its memory"
    )
    yield Logged(severity="info", source="snapshot", text=text, mono_ns=at_ns)


def _run(found: Found, info: SnapshotInfo) -> RunInfo:
    machine = info.machine
    return RunInfo(
        name=f"{found.run}/{found.name}",
        run_id=info.run_id,
        kernel=machine.kernel,
        kernel_path=machine.kernel_path,
        accelerator=machine.accelerator,
        accelerator_reason=f"{machine.accelerator.upper()} (a snapshot)",
        topology=machine.topology,
        memory_bytes=machine.memory_bytes,
        scenario=info.scenario,
        scheduler=info.scheduler,
        started_wall=info.taken_wall,
        data_dir=str(found.store.directory.parent),
    )


def _tasks(view: KernelView) -> TasksListed:
    try:
        return TaskListReader(view).look() or TasksListed()
    except BtfError as error:
        return TasksListed(unreadable=str(error))


def _capture(view: KernelView, stored: CaptureReport, info: SnapshotInfo) -> CaptureReport:
    """The capture of the stored memory, with the registers of the stop."""
    raw = collect(
        view,
        tag=info.tag,
        trigger=stored.trigger,
        trigger_detail=stored.trigger_detail,
        mono_ns=info.mono_ns,
        step=stored.step,
        about=None,
        held=True,
    )
    raw.add_registers([vcpu.registers for vcpu in stored.vcpus])
    report = raw.render(view)
    return msgspec.structs.replace(
        report,
        pause=stored.pause,
        elapsed_ms=stored.elapsed_ms,
        trigger_detail=f"{stored.trigger_detail}; {FROM_MEMORY}",
    )
