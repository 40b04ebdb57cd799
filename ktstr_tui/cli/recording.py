"""``ktstr-tui recording``: what a recording is, whether it is whole, and what other programs read of it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.cli.stored_recording import Recording, complete_run, recording_of
from ktstr_tui.guest.paths import runtime_dir
from ktstr_tui.model.errors import GuestError, HostError, KtstrError, UsageError
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import print_json, print_line

if TYPE_CHECKING:
    from ktstr_tui.history.trace_pages import TracePages

app = Commands(no_args_is_help=True, help="Check recordings, and export what was recorded.")


class Format(StrEnum):
    """Choices of ``--format``."""

    perfetto = "perfetto"
    trace_dat = "trace.dat"


@app.command()
def info(recording: Recording, as_json: AsJson = False) -> None:
    """Print what a recording holds: events by kind, time, size, damage."""
    from ktstr_tui.link.inspect import inspect_recording
    from ktstr_tui.text.stored_lines import recording_lines

    found = inspect_recording(recording_of(recording))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    for line in recording_lines(found):
        print_line(line)


@app.command()
def verify(recording: Recording, as_json: AsJson = False) -> None:
    """Read all of a recording and check every checksum; exit status 3 when something is wrong or missing."""
    from ktstr_tui.link.inspect import inspect_recording

    path = recording_of(recording)
    found = inspect_recording(path)
    if as_json:
        print_json(
            {"path": str(path), "whole": not found.damage, "damage": found.damage, "events": found.events}
        )
    elif not found.damage:
        print_line(f"{path}: {counted(found.events, 'event')} in {counted(found.chunks, 'block')}, all whole")
    if found.damage:
        raise HostError(f"{path}: {found.damage}", "what is whole can be replayed and exported")


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A run in progress (of this host), a recording, a run on disk, or a capture's JSON file.",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="perfetto for the Perfetto UI; trace.dat for trace-cmd and kernelshark.",
        ),
    ] = Format.perfetto,
    as_json: AsJson = False,
) -> None:
    """Write a run, a recording or a capture for Perfetto, or the kernel's trace of it for trace-cmd."""
    with _pages(out) as pages:
        parts, what = _parts(source, form, pages)
        size = _write(out, parts)
    if as_json:
        print_json({"path": str(out.absolute()), "format": form.value, "source": what, "bytes": size})
    else:
        print_line(f"{out}: {what}, {size} bytes")


def _parts(source: str, form: Format, pages: TracePages) -> tuple[Iterable[bytes], str]:
    """What is to be written, and what it is of."""
    path = Path(source)
    if path.suffix == ".json" and path.is_file():
        return _of_capture(path, form, pages)
    live = None if path.exists() and path.is_file() else _live(source)
    if live is not None:
        return _of_live(live, form)
    from ktstr_tui.history.perfetto import run_packets
    from ktstr_tui.link.recfile import read_recording

    found = recording_of(source)
    if form is Format.perfetto:
        return run_packets(read_recording(found)), f"recording {found}"
    pages.take(read_recording(found))
    return _of_pages(pages, f"recording {found}")


def _pages(out: Path) -> TracePages:
    from ktstr_tui.history.trace_pages import TracePages

    return TracePages(out.parent)


def _of_pages(pages: TracePages, what: str) -> tuple[Iterable[bytes], str]:
    """The file of all blocks, and what it is of."""
    if not pages.events:
        raise UsageError(
            f"{what} has no events of the kernel's trace",
            "runs record them unless --trace off or --no-record-trace is given",
        )
    older = f", without {pages.left_out} of before the guest was booted again" if pages.left_out else ""
    return pages.parts(), f"{what}, {counted(pages.events, 'event')}{older}"


def _of_capture(path: Path, form: Format, pages: TracePages) -> tuple[Iterable[bytes], str]:
    from ktstr_tui.history.perfetto import capture_packets
    from ktstr_tui.model.report import CaptureReport
    from ktstr_tui.model.report_files import decode_report

    try:
        report = decode_report(path.read_bytes())
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{path} is not a capture: {error}", "captures are in the directory of a run"
        ) from error
    if not isinstance(report, CaptureReport):
        raise UsageError(
            f"{path} has no capture of its own", "export one of the two captures that it is about"
        )
    if form is Format.perfetto:
        return capture_packets(report), f"capture {report.tag}"
    if report.history is not None and report.history.block is not None:
        pages.add(report.history.block)
    return _of_pages(pages, f"capture {report.tag}")


def _live(name: str) -> int | None:
    """The process of a run of this host that is in progress; None when there is none of that name."""
    from ktstr_tui.link.runs import look_at_run

    run = look_at_run(Path(name) if "/" in name else runtime_dir() / name)
    return run.record.pid if run.alive and run.record is not None else None


def _of_live(pid: int, form: Format) -> tuple[Iterable[bytes], str]:
    from ktstr_tui.cli.drgn_prompt import open_view
    from ktstr_tui.history.perfetto import kernel_events
    from ktstr_tui.history.trace_dat import trace_dat
    from ktstr_tui.kernel.memory import MemoryReadError
    from ktstr_tui.kernel.torn import Torn
    from ktstr_tui.kernel.trace.reader import TraceReader, comms_of

    with open_view(pid) as view:
        if not isinstance(view.trace, TraceReader):
            raise GuestError(f"this kernel has no trace: {view.trace}", "choose another kernel")
        trace = view.trace.read()
        if trace.unavailable is not None:
            raise GuestError(
                f"the kernel's trace cannot be read: {trace.unavailable}", "freeze the run, try again"
            )
        count = sum(len(it.events) for it in trace.cpus)
        if form is Format.perfetto:
            events = (event for cpu in trace.cpus for event in cpu.events)
            return list(
                kernel_events(events, view.release)
            ), f"{counted(count, 'event')} of the kernel's trace"
        try:
            rings, texts = view.trace.copy()
        except (Torn, MemoryReadError) as error:
            raise GuestError(
                f"the kernel's trace cannot be read: {error}", "freeze the run, try again"
            ) from error
        return [trace_dat(rings, texts, comms_of(trace))], f"the kernel's trace, {counted(count, 'event')}"


def _write(out: Path, parts: Iterable[bytes]) -> int:
    """Write all or nothing; how many bytes."""
    new = out.with_name(f".{out.name}.new")
    try:
        with new.open("wb") as file:
            size = sum(file.write(part) for part in parts)
        new.replace(out)
    except OSError as error:
        raise HostError(f"cannot write {out}: {error.strerror}", "choose another file") from error
    except KtstrError:
        new.unlink(missing_ok=True)
        raise
    return size
