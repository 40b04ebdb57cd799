"""BPF maps of a kernel with a real scheduler: every kind, and a stop inside the scheduler's own code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from drgn import cast as drgn_cast
from drgn.helpers.linux.bpf import bpf_map_for_each
from drgn.helpers.linux.pid import for_each_task

from ktstr_tui.guest import libbpf
from ktstr_tui.kernel.view import KernelView
from tests.guest.conftest import BOOT_DEADLINE_S
from tests.guest.kernel_run import Running

pytestmark = pytest.mark.guest


async def test_a_stop_inside_the_schedulers_own_code_is_unwound_through_it(running: Running) -> None:
    """A watch on a global of the scheduler stops the CPU in JIT-compiled code, which has no unwind tables."""
    async with running("demo:fifo") as run:
        await run.loaded()
        view, gdb = run.view, run.machine.gdb
        bss = next(m for m in bpf_map_for_each(view.prog) if m.name.string_() == b"fifo.bss")
        array = drgn_cast("struct bpf_array *", bss)
        await gdb.stop()
        watched = array.value.address_of_().value_() + enqueued_offset(view)
        await gdb.arm_watch(watched)
        await gdb.resume()
        with trio.fail_after(BOOT_DEADLINE_S):
            stop = await gdb.wait_stop()
        raw = await run.collect("watch")
        await gdb.disarm_watch(watched)
        await gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        stack = report.vcpus[stop.vcpu].stack
        assert stack is not None
        names = [frame.symbol or "" for frame in stack.frames]
        assert names[0].startswith("bpf_prog_")
        assert "fifo_" in names[0]
        guesses = [frame.guess for frame in stack.frames]
        assert guesses[0] is False
        assert any(guesses)
        assert not guesses[-1]
        assert any("enqueue_task_scx+" in name for name in names)
        assert stack.end in ("user", "end of stack")


@pytest.fixture(scope="session")
def maps_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scheduler with one map of each kind, compiled as the demos are."""
    here = Path(__file__).resolve().parent
    out = tmp_path_factory.mktemp("maps") / "maps.bpf.o"
    clang = shutil.which("clang") or shutil.which("clang-14")
    assert clang is not None, "no clang: apt install clang"
    flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"]
    include = [f"-I{libbpf.find(print) / 'include'}", f"-I{here.parents[1] / 'native/schedulers'}"]
    source = here / "probe/maps.bpf.c"
    subprocess.run([clang, *flags, *include, "-c", str(source), "-o", str(out)], check=True)
    return out


ROW = {
    "color": "RED (1)",
    "bytes": [1, 2, 3, 4],
    "at": {"x": -1, "y": 7},
    "on": True,
    "name": "first",
}


async def test_every_kind_of_map_is_rendered(running: Running, maps_object: Path) -> None:
    async with running(str(maps_object)) as run:
        sched = await run.loaded()
        view = run.view
        assert view.read_scheduler_name(sched) == "maps"
        await run.until(lambda: storage_entries(view))
        await run.machine.gdb.stop()
        raw = await run.collect("key")
        pids = {task.pid.value_() for task in for_each_task(view.prog)}
        await run.machine.gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        assert "0x1234567890" in {dsq.label for dsq in report.dsqs}
        maps = {one.name: one for one in report.maps}
        values = {
            name: {e.key: e.value for e in one.entries} for name, one in maps.items() if name != "maps.rodata"
        }
        assert values["rows"][1] == ROW
        assert cast("dict[str, Any]", values["rows"][0])["name"] == ""
        assert values["table"] == {0xFEDCBA9876543210: ROW}
        assert values["recent"] == {1: 42}
        assert sorted(cast("list[int]", values["shares"][1])) == [0, 42]
        assert sorted(cast("list[int]", values["recent_shares"][1])) == [0, 11]
        assert len(values["many"]) == 1024
        assert maps["many"].truncated
        assert all(value == key + 1 for key, value in values["many"].items())
        assert maps["ring"].error is None
        assert maps["ring"].state["unread_bytes"] == 0
        check_task_storage(values["tasks"], pids)
        data = cast("dict[str, Any]", values["maps.data"][0])
        assert (data["globals_work"], data["last"]["color"], data["last"]["name"]) == (
            -1,
            "GREEN (2)",
            "last",
        )


def storage_entries(view: KernelView) -> int:
    """How many tasks the scheduler has something stored of, at this moment."""
    raws, _ = view.maps.copy(view.fresh_space())
    return sum(len(raw.entries) for raw in raws if raw.type_name == "TASK_STORAGE")


def check_task_storage(stored: dict[Any, Any], pids: set[int]) -> None:
    """Every entry belongs to a task of that pid, which the scheduler wrote into it."""
    assert stored
    assert stored.keys() <= pids
    for pid, value in stored.items():
        assert value["color"] == "GREEN (2)"
        assert value["at"]["x"] == pid


def enqueued_offset(view: KernelView) -> int:
    """Where ``nr_enqueued`` is in the scheduler's .bss, told by the map's own BTF."""
    raws, _ = view.maps.copy(view.fresh_space())
    raw = next(one for one in raws if one.row["name"].startswith(b"fifo.bss"))
    rendered = view.maps.render(raw)
    assert "nr_enqueued" in cast("dict[str, Any]", rendered.entries[0].value)
    btf = view.maps.btf_of(raw)
    assert btf is not None
    section = btf.section(raw.row["value_type"])
    return next(at for variable, at, _ in section if btf.record(variable).name == "nr_enqueued")
