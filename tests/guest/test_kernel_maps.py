"""BPF maps of a kernel with a real scheduler: every kind, and a stop inside the scheduler's own code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from drgn import FaultError
from drgn import cast as drgn_cast
from drgn.helpers.linux.bpf import bpf_map_for_each
from drgn.helpers.linux.pid import for_each_task

from ktstr_tui.guest import libbpf
from ktstr_tui.kernel.bpf_map_raw import RawMap
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import MapReport, Stack
from ktstr_tui.wire.frames import FrameAssembler
from ktstr_tui.wire.messages import MsgType
from tests.guest.kernel_run import Running
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest

ENQUEUERS = ("enqueue_task_scx", "put_prev_task_scx")
"""Who calls do_enqueue_task, which is compiled into them."""


async def test_a_stop_inside_the_schedulers_own_code_is_unwound_through_it(running: Running) -> None:
    """A watch on a global of the scheduler stops the CPU in JIT-compiled code, which has no unwind tables."""
    async with running("demo:fifo") as run:
        await run.loaded()
        view, gdb = run.view, run.machine.gdb
        bss = next(m for m in bpf_map_for_each(view.prog) if m.name.string_() == b"fifo.bss")
        array = drgn_cast("struct bpf_array *", bss)
        watched = array.value.address_of_().value_() + enqueued_offset(view)

        async def stack_at_a_write() -> Stack:
            await gdb.stop()
            await gdb.arm_watch(watched)
            await gdb.resume()
            stop = await gdb.wait_stop()
            raw = await run.collect("watch")
            await gdb.disarm_watch(watched)
            await gdb.resume()
            report = await trio.to_thread.run_sync(raw.render, view)
            stack: Stack | None = report.vcpus[stop.vcpu].stack
            assert stack is not None
            return stack

        # A task that wakes is put into a queue by enqueue_task_scx, one whose slice is over by put_prev_task_scx.
        names: list[str] = []
        with trio.fail_after(BOOT_DEADLINE_S):
            while not any("enqueue_task_scx+" in name for name in names):
                stack = await stack_at_a_write()
                names = [frame.symbol or "" for frame in stack.frames]
                assert names[0].startswith("bpf_prog_")
                assert "fifo_" in names[0]
                guesses = [frame.guess for frame in stack.frames]
                assert guesses[0] is False
                assert any(guesses)
                assert not guesses[-1]
                assert any(f"{caller}+" in name for caller in ENQUEUERS for name in names), names
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


ASKED = (
    "rows",
    "table",
    "recent",
    "shares",
    "recent_shares",
    "inside",
    "routes",
    "outer",
    "named",
    "maps.data",
)
PEEKED = ("waiting", "pile")


@pytest.fixture(scope="session")
def maps_program(maps_object: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that loads this scheduler and has bpftool print its maps in the guest; its command line."""
    tool = bpftool()
    needed = subprocess.run(["ldd", tool], capture_output=True, check=True, text=True).stdout
    libraries = [line.split()[2] for line in needed.splitlines() if "=> /" in line]
    prefix = libbpf.find(lambda message: None)
    program = tmp_path_factory.mktemp("program") / "maps"
    defines = [f'-DOBJECT="{maps_object}"', f'-DBPFTOOL="{tool}"', f"-I{prefix / 'include'}"]
    source = Path(__file__).resolve().parent / "failures/bpftool.c"
    archive = next(prefix.glob("lib*/**/libbpf.a"))
    links = [str(archive), "-lelf", "-lz", "-Wl,--no-as-needed"]
    subprocess.run(["gcc", "-O1", *defines, source, "-o", program, *links, *libraries], check=True)
    return " ".join((str(program), *ASKED, *(f"peek:{name}" for name in PEEKED)))


def bpftool() -> Path:
    """The host's bpftool; on Ubuntu the one in PATH is a script that starts it."""
    places = [Path(place) / "bpftool" for place in ("/usr/sbin", "/usr/bin", "/sbin")]
    places += sorted(Path("/usr/lib").glob("linux-tools*/*/bpftool"))
    found = next((place for place in places if place.exists() and place.read_bytes()[:4] == b"\x7fELF"), None)
    assert found is not None, "no bpftool: apt install bpftool (Ubuntu: linux-tools-generic)"
    return found


def answers(said: bytes) -> dict[str, Any]:
    """What bpftool printed, by the name of the map."""
    frames = FrameAssembler().feed(said)
    log = b"".join(it.payload for it in frames if it.msg_type == MsgType.SchedLog).decode()
    found = {}
    for part in log.split("@@ ")[1:]:
        command, _, text = part.partition("\n")
        if command.split()[0] in ("dump", "peek"):
            found[command.split()[1]] = json.loads(text)
    return found


def octets(words: list[str]) -> bytes:
    """Bytes as bpftool prints them."""
    return bytes(int(word, 16) for word in words)


def check_against_bpftool(raws: list[RawMap], said: dict[str, Any]) -> None:
    """Every key and value, byte by byte; the first value of what has no keys; ids of inner maps."""
    maps = {text(raw.row["name"]): raw for raw in raws}
    for name in ASKED:
        theirs: dict[bytes, object] = {}
        for entry in said[name]:
            each = entry.get("values")
            theirs[octets(entry["key"])] = (
                octets(entry["value"]) if each is None else tuple(octets(one["value"]) for one in each)
            )
        ours = {key: plain(value) for key, value in maps[name].entries}
        assert ours == theirs, name
    for name in PEEKED:
        assert maps[name].entries[0][1] == octets(said[name]["value"]), name


def plain(value: object) -> object:
    """An inner map's id as user space reads it."""
    return value["map_id"].to_bytes(4, "little") if isinstance(value, dict) else value


ROW = {
    "color": "RED (1)",
    "bytes": [1, 2, 3, 4],
    "at": {"x": -1, "y": 7},
    "on": True,
    "name": "first",
}


async def test_every_kind_of_map_is_rendered(running: Running, maps_program: str) -> None:
    async with running(maps_program) as run:
        sched = await run.loaded()
        view = run.view
        assert view.read_scheduler_name(sched) == "maps"
        await run.until(lambda: storage_entries(view))
        await run.until(lambda: b"@@ done" in run.said)
        await run.until(lambda: only_living_tasks(view))
        await run.machine.gdb.stop()
        raw = await run.collect("key")
        copied, _ = view.maps.copy(view.fresh_space())
        pids = {task.pid.value_() for task in for_each_task(view.prog)}
        await run.machine.gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        assert "0x1234567890" in {dsq.label for dsq in report.dsqs}
        maps = {one.name: one for one in report.maps}
        values = {
            name: {e.key: e.value for e in one.entries}
            for name, one in maps.items()
            if name not in ("maps.rodata", "routes")
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
        check_against_bpftool(copied, answers(bytes(run.said)))
        check_queues(maps, values)
        check_pointers(maps, values)
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


def check_queues(maps: dict[str, MapReport], values: dict[str, dict[Any, Any]]) -> None:
    """What would come out next comes first; forks of the trie are no entries; the ring's records are unread."""
    assert list(values["waiting"].values()) == [71, 72, 73, 80]
    assert list(values["pile"].values()) == [73, 72, 71, 70]
    routes = {(e.key["length"], *e.key["data"][:2]): e.value for e in maps["routes"].entries}
    assert routes == {(8, 10, 0): 1, (16, 10, 200): 2, (16, 10, 100): 3}
    assert maps["ring"].state == {
        "capacity": 4096,
        "consumer_pos": 0,
        "producer_pos": 32,
        "pending_pos": 16,  # it moves when the next record is reserved
        "unread_bytes": 32,
    }
    assert values["ring"] == {
        0: {"state": "submitted", "bytes": 8, "data": "8877665544332211"},
        16: {"state": "discarded", "bytes": 8},
    }
    assert not [one.error for one in maps.values() if one.error]


def check_pointers(maps: dict[str, MapReport], values: dict[str, dict[Any, Any]]) -> None:
    """Inner maps by id, storage by the cgroup's id, the objects of an arena by the global that points to them."""
    inner = maps["inside"].id
    assert values["outer"] == {1: {"map_id": inner}}
    assert values["named"] == {2: {"map_id": inner}}
    assert values["groups"] == {1: 4711}
    assert values["alarms"][0]["started"] == 5
    assert values["alarms"][0]["timer"]["armed"] is False
    assert values["alarms"][0]["timer"]["expires_ns"] > 0
    assert maps["arena"].state["pages_in_use"] == 1
    first, second = values["arena"]["*in_arena"], values["arena"]["*in_arena->next"]
    assert (first["magic"], second) == (11, {"magic": 22, "next": "0x0"})


def only_living_tasks(view: KernelView) -> bool:
    """Whether the storage of bpftool's processes is gone: it outlives their pids for a grace period of RCU."""
    raws, _ = view.maps.copy(view.fresh_space())
    try:
        pids = {task.pid.value_() for task in for_each_task(view.prog)}
    except FaultError:  # the guest runs
        return False
    stored = next(raw for raw in raws if raw.type_name == "TASK_STORAGE")
    return {int.from_bytes(key, "little") for key, _ in stored.entries} <= pids


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
