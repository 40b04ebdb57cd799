"""User watchpoints on a real kernel: known writers, their values and stacks, and a storm that is survived.

The oracles are the guest's own /proc and QEMU's gdb stub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.capture.watch.watch_stops import MAX_STOOD_NS
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.model.commands import HITS_PER_S
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import CaptureTaken, WatchpointChanged, WatchpointHit
from tests.guest.conftest import BootGuest
from tests.guest.runs import HeadlessRun, call, call_json, headless_run
from tests.guest.test_coordinator import Observed, observed
from tests.oracles.gdb_memory import read_memory

pytestmark = pytest.mark.guest

PANIC = "/proc/sys/kernel/panic"
"""Writing here makes the writer store an int in ``panic_timeout``."""
WATCHED_S = 10
STANDS_AT_MOST = 0.2
"""The share of the time in which a guest with a paused watch may stand; one that is not paused stands nearly always."""
SLOWED_TO_AT_LEAST = 0.5
"""Of the workers' speed before."""
STEADY = """
name = "steady"
[[steps]]
name = "load"
duration_ms = 600000
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
count = 2
"""

FRAMES = """
name = "frames"
[[steps]]
name = "asks"
duration_ms = 500
watch = "scx_root"
[[steps]]
name = "refused"
duration_ms = 500
watch = "scx_rot"
[[steps]]
name = "comes"
duration_ms = 1500
scheduler = "demo:fifo"
"""


def hits(watch: Observed) -> list[WatchpointHit]:
    return [hit for hit in watch.of(WatchpointHit) if hit.slot]


def functions(hit: WatchpointHit) -> list[str]:
    assert hit.stack is not None
    return [(frame.symbol or "?").partition("+")[0] for frame in hit.stack.frames]


async def test_a_write_through_proc_is_seen_with_its_writer(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        before = int(await guest.ask(f"cat {PANIC}")) % (1 << 32)
        slot = await watch.coordinator.watches.add(WatchSpec(expression="panic_timeout"))
        armed = watch.of(WatchpointChanged)[-1]
        # The kernel's own idea of where the variable is.
        assert armed.address == int((await guest.ask("symbol panic_timeout")).split()[0], 16)
        for value in (17, 17, 4711):
            assert await guest.ask(f"write {PANIC} {value}") == "ok"
        await watch.wait_until(lambda: len(hits(watch)) == 3)
        assert [(hit.old, hit.value) for hit in hits(watch)] == [(before, 17), (17, 17), (17, 4711)]
        for hit in hits(watch):
            assert hit.slot == slot
            assert hit.writer is not None
            assert (hit.writer.pid, hit.writer.comm, hit.writer.cpu) == (1, "init", hit.vcpu)
            # From the store to the boundary to user mode, by way of the system call that was made.
            assert any(part in functions(hit)[0] for part in ("proc", "sysctl"))
            assert {"proc_sys_call_handler", "vfs_write"} <= set(functions(hit))
            assert hit.stack is not None
            assert hit.stack.end == "user"
            assert not any(frame.guess for frame in hit.stack.frames)
        assert int(await guest.ask(f"cat {PANIC}")) == 4711
        assert await watch.coordinator.freeze("look")
        seen = await read_memory(guest.machine.gdb, armed.address, 4)
        assert int.from_bytes(seen, "little") == 4711
        await watch.coordinator.thaw("looked")
        statistics = watch.coordinator.watches.statistics()
        assert (statistics.hits, statistics.unchanged, statistics.read_failures) == (3, 1, 0)
        assert watch.of(CaptureTaken) == []
        assert await watch.coordinator.watches.remove(slot)
        assert await guest.ask(f"write {PANIC} 0") == "ok"
        assert len(hits(watch)) == 3


async def test_once_and_capture(boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        spec = WatchSpec(expression="panic_timeout", once=True, capture=True)
        await watch.coordinator.watches.add(spec)
        for value in (5, 6):
            assert await guest.ask(f"write {PANIC} {value}") == "ok"
        await watch.wait_until(lambda: bool(watch.of(CaptureTaken)))
        (hit,) = hits(watch)
        (taken,) = watch.of(CaptureTaken)
        assert hit.capture == taken.report.tag
        assert taken.report.trigger == "watch"
        assert taken.report.trigger_detail.startswith("panic_timeout = 0x5, was ")
        # The capture stands at the very write: the writer's vCPU has the same stack as the hit.
        assert hit.vcpu is not None
        assert hit.stack is not None
        stood = taken.report.vcpus[hit.vcpu]
        assert stood.stack is not None
        assert [frame.address for frame in stood.stack.frames] == [
            frame.address for frame in hit.stack.frames
        ]
        assert watch.of(WatchpointChanged)[-1].state == "removed"
        assert watch.coordinator.watches.statistics().slots_taken == 0


async def test_expressions_follow_types_and_pointers_of_this_kernel(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        watches = watch.coordinator.watches
        slot = await watches.add(WatchSpec(expression="runqueues@1.nr_switches", length_bytes=8, once=True))
        await watch.wait_until(lambda: bool(hits(watch)))
        (hit,) = hits(watch)
        assert (hit.slot, hit.vcpu) == (slot, 1)
        assert hit.old is not None
        assert hit.value == hit.old + 1
        assert "__schedule" in functions(hit)
        await watches.add(WatchSpec(expression="scx_root->exit_kind"))
        assert watch.of(WatchpointChanged)[-1].state == "pending"
        assert watch.of(WatchpointChanged)[-1].detail == "scx_root is NULL"
        for text, message in (
            ("runqueues.nr_running", "is a per-CPU variable"),
            ("panic_timeot", "no symbol"),
            ("init_task.comm[1]", "not aligned"),
            ("0x1000", "user half"),
            ("init_task.mm_struct", "has no member"),
        ):
            with pytest.raises(UsageError, match=message):
                await watches.add(WatchSpec(expression=text))
        assert "Linux" in await guest.ask("cat /proc/version")


# -- the storm ---------------------------------------------------------------------------------------------


def progress(events: Iterator[dict[str, Any]], seconds: float) -> tuple[float, float]:
    """Over at least so many seconds: iterations of all workers in a second, and the share that the guest stood."""
    first: tuple[int, int] | None = None
    stood_ms: list[float] = []
    for event in events:
        if event["type"] == "beat" and first is not None:
            stood_ms.append(event["frozen_total_ms"])
        if event["type"] == "workers":
            done = sum(worker["iterations"] for worker in event["workers"])
            first = first or (event["mono_ns"], done)
            took_ns = event["mono_ns"] - first[0]
            if took_ns >= seconds * 1e9 and len(stood_ms) > 1:
                return (done - first[1]) / took_ns * 1e9, (stood_ms[-1] - stood_ms[0]) * 1e6 / took_ns
    raise AssertionError("the run ended while its workers were counted")


def skip_to(events: Iterator[dict[str, Any]], kind: str, **wanted: object) -> dict[str, Any]:
    """The next event of a type with some fields."""
    return next(
        it
        for it in events
        if it["type"] == kind and all(it.get(key) == value for key, value in wanted.items())
    )


def watched_run(run: HeadlessRun) -> dict[str, Any]:
    """Watch jiffies for ten seconds; how the guest went on before and meanwhile, and what was told."""
    events = run.events()
    skip_to(events, "scheduler", change="attached")
    before, _ = progress(events, WATCHED_S / 2)
    added = call_json("watch", "add", "jiffies", run.name, env=run.env)
    paused = skip_to(events, "watchpoint", slot=added["slot"], state="paused")
    during, stood = progress(events, WATCHED_S)
    listed = json.loads(call("watch", "list", run.name, "--json", env=run.env).stdout)
    events.close()  # type: ignore[attr-defined]
    return {
        "before": before,
        "during": during,
        "stood": stood,
        "added": added,
        "paused": paused,
        "listed": listed,
    }


def test_a_watch_on_jiffies_leaves_the_guest_alive_and_usable(tmp_path: Path) -> None:
    scenario = tmp_path / "steady.toml"
    scenario.write_text(STEADY)
    with headless_run(tmp_path, "--scenario", str(scenario), "--duration", "300") as run:
        seen = watched_run(run)
        assert seen["added"]["watch"]["state"] == "armed"
        assert seen["stood"] <= STANDS_AT_MOST
        assert seen["during"] >= SLOWED_TO_AT_LEAST * seen["before"]
        (jiffies,) = (watch for watch in seen["listed"] if watch["expression"] == "jiffies")
        assert jiffies["state"] == "paused"
        # Either limit is one: the number of hits, or the time that fewer of them cost on a host that is slow to stop.
        if seen["paused"]["detail"].startswith(f"more than {HITS_PER_S} hits in a second"):
            assert jiffies["hits"] == HITS_PER_S + 1
        else:
            stood_ms = int(re.findall(r"stopped the guest for (\d+) ms", seen["paused"]["detail"])[0])
            assert stood_ms >= MAX_STOOD_NS / 1e6
            assert 0 < jiffies["hits"] <= HITS_PER_S
        assert jiffies["last_value"] > jiffies["last_old"]
        # Commands are answered, and the guest is as it was.
        report = call_json("capture", run.name, env=run.env)["report"]
        assert not report["is_placeholder"]
        assert report["scheduler"]["name"] == "fifo"
        resumed = call_json("watch", "resume", str(jiffies["slot"]), run.name, env=run.env)
        assert resumed["changed"]
        assert call_json("watch", "remove", str(jiffies["slot"]), run.name, env=run.env) == {"changed": True}
        assert call("watch", "remove", str(jiffies["slot"]), run.name, env=run.env).returncode == 2
        status = call_json("status", run.name, env=run.env)
        assert (status["ejections"], status["frozen"], status["scheduler"]["name"]) == (0, None, "fifo")
        call_json("end", run.name, env=run.env)
        code, _summary, errors = run.end()
        assert code == 0, errors


def test_a_scenario_watches_through_frames(tmp_path: Path) -> None:
    scenario = tmp_path / "frames.toml"
    scenario.write_text(FRAMES)
    with headless_run(tmp_path, "--scenario", str(scenario)) as run:
        code, summary, errors = run.end()
    assert code == 0, errors
    taken = [entry for entry in summary["captures"] if entry["trigger"] == "watch"]
    # The scheduler came and went: two writes, and the second report is numbered.
    assert [entry["tag"] for entry in taken] == ["scx_root", "scx_root-2"]
    assert not taken[0]["is_placeholder"]
    assert len(list(Path(taken[0]["path"]).parent.glob("*scx_root*"))) == 2
    (recording,) = (tmp_path / "state").rglob("recording.ktstr")
    told = call("events", str(recording), env=run.env).stdout
    assert "ktstr-agent: watch 1: done" in told
    assert "ktstr-agent: watch 2: failed: this kernel has no symbol 'scx_rot'" in told


def test_unknown_names_are_refused_with_names_that_there_are(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--scenario", "idle", "--duration", "300") as run:
        run.wait_for("kernel-typed")
        done = call("watch", "add", "scx_rot", run.name, env=run.env)
        assert done.returncode == 2
        assert "this kernel has no symbol 'scx_rot'" in done.stderr
        assert "scx_root" in done.stderr
        call_json("end", run.name, env=run.env)
        run.end()
