"""The trace read out of guest memory, against the text that the kernel itself makes of the same buffer."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.recorder import RecorderConfig, recorder_arguments
from ktstr_tui.history.block_events import NAMED
from ktstr_tui.history.blocks import block_of_trace
from ktstr_tui.history.trace_dat import trace_dat
from ktstr_tui.history.trace_pages import TracePages
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.trace import Trace, TraceReader, read_trace
from ktstr_tui.kernel.trace.events import TraceEvent, state_letters
from ktstr_tui.kernel.trace.reader import CpuTrace, comms_of
from ktstr_tui.kernel.view import KernelView
from tests.guest.conftest import BootGuest, Guest

TRACING = "/sys/kernel/tracing"
BUFFER_KIB = 16
"""Small, so that the boot alone overwrites the oldest events."""
_LINE = re.compile(
    r"\s*(?P<comm>.{16})-(?P<by>\d+) .*?\[(?P<cpu>\d+)\] \S+ +(?P<s>\d+)\.(?P<us>\d{6}): (?P<name>\w+): (?P<rest>.*)"
)

_REPORTED = re.compile(r".*?\[(?P<cpu>\d+)\] +(?P<s>\d+)\.(?P<ns>\d{9}): (?P<name>\w+): +(?P<rest>.*)")


def microseconds(event: TraceEvent) -> int:
    """Its time as the kernel prints it: rounded."""
    return (event.time_ns + 500) // 1000


def words(event: TraceEvent) -> str:
    """An event in the words of the kernel's print format, as far as it was decoded."""
    match event.kind:
        case "switch":
            return (
                f"prev_comm={event.prev_comm} prev_pid={event.prev_pid} "
                f"prev_state={state_letters(event.prev_state or 0)} ==> next_comm={event.comm} next_pid={event.pid} "
                f"next_prio={event.prio}"
            )
        case "migrate":
            return (
                f"comm={event.comm} pid={event.pid} prio={event.prio} orig_cpu={event.from_cpu} "
                f"dest_cpu={event.to_cpu}"
            )
        case "exit":
            return f"comm={event.comm} pid={event.pid} prio={event.prio}"
        case _:
            return f"comm={event.comm} pid={event.pid} prio={event.prio} target_cpu={event.to_cpu:03d}"


def own_lines(text: str) -> list[tuple[int, int, str, str]]:
    """What the kernel prints, without what was not decoded."""
    lines = []
    for line in text.splitlines():
        if line.startswith("#") or "LOST" in line or "buffer started" in line or not line.strip():
            continue
        found = _LINE.match(line)
        assert found, line
        rest = re.sub(r" prev_prio=\d+| group_dead=\w+", "", found["rest"])
        lines.append((int(found["cpu"]), int(found["s"]) * 1_000_000 + int(found["us"]), found["name"], rest))
    return lines


async def stats(guest: Guest, cpu: int) -> dict[str, int]:
    """What the kernel counts of a CPU's buffer."""
    text = await guest.ask(f"cat {TRACING}/per_cpu/cpu{cpu}/stats")
    return {name: int(value) for name, value in re.findall(r"^([\w ]+): (\d+)$", text, re.MULTILINE)}


def compare_losses(trace: Trace, kernel_s: list[dict[str, int]]) -> None:
    for cpu, counted in zip(trace.cpus, kernel_s, strict=True):
        assert counted["overrun"] > 0, "the buffer is small enough to be overwritten"
        assert cpu.overrun.overwritten == counted["overrun"]
        assert cpu.overrun.dropped == counted["dropped events"] + counted["commit overrun"]
        assert len(cpu.events) == counted["entries"]


def reported(path: Path) -> list[tuple[int, int, str, str]]:
    """What trace-cmd reads, in the format of the kernel's own words, without what was not decoded."""
    command = ["trace-cmd", "report", "-N", "-t", "-i", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    lines = []
    for line in text.splitlines()[1:]:
        found = _REPORTED.match(line)
        assert found, line
        rest = re.sub(r" prev_prio=\d+| group_dead=\w+", "", found["rest"])
        lines.append((int(found["cpu"]), int(found["s"]) * 10**9 + int(found["ns"]), found["name"], rest))
    return lines


def scribble(guest: Guest, view: KernelView, reader: TraceReader, untouched: tuple[TraceEvent, ...]) -> None:
    """Overwrite the ring of CPU 0, as root in the guest can: nothing hangs, and the other ring is read as before."""
    space, made_up = view.fresh_space(), random.Random(7)
    ring = reader.rings._ring_row(space, 0)
    assert ring is not None
    pages = [int(reader.rings._page.read(space, at)["page"]) for at in reader.rings._pages(space, ring)]

    def write(address: int, data: bytes) -> None:
        at = space.physical(address)
        fd, offset, start, _ = next(it for it in guest.machine.ram_parts() if it[2] <= at < it[2] + it[3])
        os.pwrite(fd, data, offset + at - start)

    def look() -> CpuTrace:
        trace = read_trace(view)
        assert trace.cpus[1].events == untouched
        return trace.cpus[0]

    for page in pages:
        write(page + 16, made_up.randbytes(4080))
    seen = look()
    assert seen.unavailable is None
    assert seen.counts.damaged_bytes + seen.counts.unknown + seen.counts.discarded > 0
    write(pages[0] + 8, (0xFFFFF).to_bytes(8, "little"))
    assert "page of the trace ring with 1048575 bytes" in (look().unavailable or "")
    for address in {int(ring["head"]), int(ring["commit"]), int(ring["reader"])}:
        write(address, made_up.randbytes(16))
    assert look().unavailable is not None


async def test_the_trace_is_what_the_kernel_prints_of_it_and_trace_cmd_reads_of_its_file(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    recorder = RecorderConfig(mode="scx", buffer_kib=BUFFER_KIB)
    spec = replace(machine_spec, append=recorder_arguments(recorder, 2, 512))
    async with boot_guest(spec) as guest:
        ram = GuestRam.from_fds(guest.machine.ram_parts())
        try:
            view = KernelView.open(ram)
            live = [read_trace(view) for _ in range(5)]
            for trace in live:
                assert trace.unavailable is None
                assert trace.recording
                assert [cpu.unavailable for cpu in trace.cpus] == [None, None]
                assert trace.merged(), "events are read while they are written"
            assert {"ktstr_insert", "ktstr_remove", "ktstr_kick", "ktstr_bypass", "ktstr_move"} <= set(
                live[0].names
            ), "the kernel made the probes"

            assert await guest.ask(f"write {TRACING}/tracing_on 0") == "ok"
            printed = own_lines(await guest.ask(f"cat {TRACING}/trace"))
            trace = read_trace(view)
            compare_losses(trace, [await stats(guest, cpu) for cpu in range(2)])
            assert trace.clock == "trace_clock_local"
            ours = [(e.cpu, microseconds(e), e.name, words(e)) for e in trace.merged()]
            assert len(ours) > 100
            assert Counter(ours) == Counter(printed)
            for cpu in range(2):
                assert [it for it in ours if it[0] == cpu] == [it for it in printed if it[0] == cpu]
            reader = view.trace
            assert isinstance(reader, TraceReader)
            rings, texts = reader.copy()
            for it in texts:
                name = it.text.split()[1]
                format_file = f"{TRACING}/events/{it.system}/{name}/format"
                assert it.text.split() == (await guest.ask(f"cat {format_file}")).split(), (
                    "as the kernel writes it"
                )
            path = tmp_path / "trace.dat"
            path.write_bytes(trace_dat(rings, texts, comms_of(trace)))
            read = reported(path)
            for cpu in range(2):
                assert [it for it in read if it[0] == cpu] == [
                    (it.cpu, it.time_ns, it.name, words(it)) for it in trace.cpus[cpu].events
                ], "trace-cmd reads the same events, one by one"
            check_pages_of_a_block(trace, tmp_path)
            scribble(guest, view, reader, trace.cpus[1].events)
        finally:
            ram.close()


def check_pages_of_a_block(trace: Trace, directory: Path) -> None:
    """A block, as captures and recordings keep them, gives the same events, but for names and origins of tasks."""
    block = block_of_trace(trace, max(it.time_ns for it in trace.merged()), 5)
    path = directory / "block.dat"
    with TracePages(directory) as pages:
        pages.add(block)
        path.write_bytes(b"".join(pages.parts()))
    known = [it for it in trace.merged() if it.time_ns >= block.begin_ns and it.kind in NAMED]
    assert len(known) > 100
    read = reported(path)
    for cpu in range(2):
        assert [(*it[:3], unnamed(it[3])) for it in read if it[0] == cpu] == [
            (it.cpu, it.time_ns, it.name, unnamed(words(it))) for it in known if it.cpu == cpu
        ]


def unnamed(said: str) -> str:
    """An event without names of tasks and without the CPU that one came from."""
    return re.sub(r"(prev_|next_|)comm=.*? (?=\1pid=)| orig_cpu=\d+", "", said)


async def test_a_guest_that_records_nothing_has_an_empty_trace(
    machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(machine_spec) as guest:
        ram = GuestRam.from_fds(guest.machine.ram_parts())
        trace = read_trace(KernelView.open(ram))
        ram.close()
        assert trace.unavailable is None
        assert trace.merged() == []
