"""``snapshot open``: a snapshot on the screen, as the run at that moment would be seen if it were frozen.

The screen reads events and nothing else. So the snapshot becomes a short recording: what the run was, one sample of its
CPUs and the capture of its scheduler, both read from the stored memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ktstr_tui.capture.report.collect import collect
from ktstr_tui.cli.travelled import say_travelled
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.memory.explore import open_view, report_of
from ktstr_tui.memory.find import Found, find_snapshot
from ktstr_tui.memory.snapshot import SnapshotInfo
from ktstr_tui.model.events import (
    CaptureTaken,
    Event,
    Frozen,
    KernelTyped,
    Logged,
    RunEnded,
    RunStarted,
    Sampled,
)
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.wire.codec import encode_event

FROM_MEMORY = "read from the memory of the snapshot"


def open_command(name: str, theme: str | None) -> None:
    """Show a snapshot until the screen is left.

    Raises:
        KtstrError: There is no such snapshot, it is damaged, or there is no terminal.
    """
    from ktstr_tui.cli.screen import replay_command

    found = find_snapshot(name)
    with recording_of(found) as path:
        replay_command(path, 1.0, theme, memory=found.path)
    say_travelled(found)


@contextmanager
def recording_of(found: Found) -> Iterator[Path]:
    """A recording that shows a snapshot; removed afterwards.

    Raises:
        KtstrError: The snapshot is damaged, or holds no kernel.
    """
    with tempfile.TemporaryDirectory(prefix="ktstr-snapshot-") as directory:
        path = Path(directory) / f"{found.name}.ktstr"
        events = [
            msgspec.structs.replace(event, seq=seq, mono_ns=event.mono_ns or seq)
            for seq, event in enumerate(events_of(found), 1)
        ]
        rows = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in events]
        path.write_bytes(header(found.store.read(found.name).info.run_id) + pack_chunk(rows))
        yield path


def events_of(found: Found) -> Iterator[Event]:
    """What the screen is told of a snapshot.

    Raises:
        KtstrError: The snapshot is damaged, or holds no kernel.
    """
    info = found.store.read(found.name).info
    stored = report_of(found)
    at_ns = info.mono_ns
    with open_view(found) as (view, _):
        yield RunStarted(info=_run(found, info), mono_ns=at_ns)
        yield KernelTyped(
            release=view.release,
            hz=view.hz,
            cpus=view.nr_cpus,
            btf_types=len(view.btf),
            typed_ms=view.typed_ms,
            mono_ns=at_ns,
        )
        yield Sampled(sample=SampleReader(view).sample(), mono_ns=at_ns)
        report = _capture(view, stored, info)
    yield CaptureTaken(report=report, mono_ns=at_ns)
    yield Frozen(reason=f"the snapshot: this is {info.taken_wall}", viewer="", mono_ns=at_ns)
    text = (
        f"ktstr-tui restore {found.run}/{found.name} starts a guest from here; ktstr-tui drgn asks its memory"
    )
    yield Logged(severity="info", source="snapshot", text=text, mono_ns=at_ns)
    yield RunEnded(exit_code=0, reason="a snapshot: nothing follows", mono_ns=at_ns)


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
