"""Stacks as a stock gdb unwinds them by the file of symbols, beside our own."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import trio
from drgn.helpers.linux.pid import for_each_task

from ktstr_tui.cli.gdb_snapshot import serve_target
from ktstr_tui.debug.still_target import StillTarget
from ktstr_tui.kernel.address import KERNEL_HALF
from ktstr_tui.kernel.orc import Unwinder
from ktstr_tui.kernel.symbol_file import make_symbol_file
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.memory.explore import open_view, report_of
from ktstr_tui.memory.find import find_snapshot

SAVED = ("r15", "r14", "r13", "r12", "rbx", "rbp", "rip")
"""What a task that does not run has on its stack (``struct inactive_task_frame``)."""
WALK = """
import gdb, json
def walk(thread):
    thread.switch()
    frame, found = gdb.newest_frame(), []
    while frame is not None:
        found.append(frame.pc())
        frame = frame.older()
    return found
stacks = [walk(it) for it in sorted(gdb.selected_inferior().threads(), key=lambda it: it.num)]
open({out!r}, "w").write(json.dumps(stacks))
"""


def unwound_in_gdb(view: KernelView, registers: list[dict[str, int]]) -> list[list[int]]:
    """The addresses of the stack that begins at each set of registers, innermost first, as gdb finds them."""
    gdb = shutil.which("gdb")
    assert gdb is not None
    with tempfile.TemporaryDirectory(prefix="ktstr-gdb-") as directory:
        place, out, script, file = (Path(directory) / name for name in ("sock", "out", "walk.py", "vmlinux"))
        script.write_text(WALK.format(out=str(out)))
        symbols = make_symbol_file(view)
        file.write_bytes(symbols)
        target = StillTarget(registers, str, view.space.read, "")
        words = [gdb, "-q", "-nx", "-batch", str(file), "-ex", f"target remote {place}", "-x", str(script)]
        assert trio.run(serve_target, target, symbols, place, words) == 0
        stacks: list[list[int]] = json.loads(out.read_text())
    return stacks


def sleepers(view: KernelView) -> list[dict[str, int]]:
    """Registers of the tasks that do not run."""
    found = []
    for task in for_each_task(view.prog):
        if not task.on_cpu.value_():
            sp = task.thread.sp.value_()
            saved = {name: view.space.u64(sp + 8 * place) for place, name in enumerate(SAVED)}
            found.append({**saved, "rsp": sp + 8 * len(SAVED)})
    return found


def require_gdb_unwinds_as_we_do(name: str, runs: Path | None = None) -> None:
    """Compare the stacks of all CPUs and of all tasks of a snapshot that do not run."""
    found = find_snapshot(name, runs)
    with open_view(found) as (view, _):
        unwinder = view.unwinder
        assert isinstance(unwinder, Unwinder)
        vcpus = [dict(it.registers) for it in report_of(found).vcpus]
        registers, ours = [], []
        for it in vcpus + sleepers(view):
            frames, _ = unwinder.unwind_registers(it["rip"], it["rsp"], it["rbp"], it)
            registers.append(it)
            ours.append([frame.address for frame in frames])
        theirs = unwound_in_gdb(view, registers)
    assert len(ours) > 30
    assert max(map(len, ours)) > 6
    # Where the kernel's stack ends gdb shows one frame more, that of the user's program.
    assert [[at for at in stack if at >= KERNEL_HALF] for stack in theirs] == ours
