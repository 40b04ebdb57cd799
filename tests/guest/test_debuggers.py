"""gdb and lldb on a live guest beside everything that watches it.

The first test has the coordinator in its own process, so that the watchpoints of the run can be removed behind its
back; the second one is a run as a user has it. The debuggers are the distribution's own.
"""

from __future__ import annotations

import queue
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.debug.door import DebuggerDoor
from ktstr_tui.debug.target import LiveTarget
from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.symbol_file import make_symbol_file
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import EXIT_EJECTED
from ktstr_tui.model.stop_events import DebuggerChanged
from tests.guest.conftest import BootGuest
from tests.guest.runs import PROGRAM, HeadlessRun, call, call_json, headless_run
from tests.guest.test_coordinator import Observed
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest

PANIC = "/proc/sys/kernel/panic"
"""Writing here calls ``proc_dointvec`` and stores an int in ``panic_timeout``."""
LOAD = """
name = "load"
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "bursty"
[[steps]]
name = "load"
duration_ms = 600000
until = "ejected"
scheduler = "demo:fifo"
"""


def is_frozen(coordinator: Coordinator) -> bool:
    """Whether the guest is stopped now."""
    return coordinator.frozen


class Gdb:
    """A stock gdb that is told one command at a time."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._read = b""

    async def ask(self, command: str) -> str:
        """Give a command, and return what it printed when it is done."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{command}\necho \\nDONE-\\n\n".encode())
        return await self._until(b"\nDONE-\n")

    async def value(self, expression: str) -> int:
        """Return the value of an expression."""
        return int((await self.ask(f"output/x {expression}")).split()[-1], 16)

    async def _until(self, mark: bytes) -> str:
        assert self.process.stdout is not None
        with trio.fail_after(BOOT_DEADLINE_S):
            while mark not in self._read:
                data = await self.process.stdout.receive_some()
                assert data, self._read.decode()
                self._read += data
        said, _, self._read = self._read.partition(mark)
        return said.decode()


async def open_gdb(nursery: trio.Nursery, where: str) -> Gdb:
    """Start gdb on a socket."""
    words = [
        "gdb",
        "-q",
        "-nx",
        "-iex",
        "set pagination off",
        "-iex",
        "set confirm off",
        "-iex",
        "set prompt",
        "-iex",
        "set remotetimeout 30",
    ]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    gdb = Gdb(await nursery.start(partial(trio.run_process, words, check=False, **options)))
    said = await gdb.ask(f"target remote {where}")
    assert "in ?? ()" in said or " in " in said, said
    return gdb


async def test_a_debugger_first_then_our_watches_and_back_if_somebody_removes_them(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, trio.open_nursery() as nursery:
        view = await trio.to_thread.run_sync(KernelView.open, GuestRam.from_fds(guest.machine.ram_parts()))
        watch = Observed(guest.machine, view, tmp_path)
        coordinator = watch.coordinator
        await nursery.start(coordinator.run)

        async def symbols() -> bytes | None:
            return await trio.to_thread.run_sync(make_symbol_file, view)

        def target(who: str) -> LiveTarget:
            return LiveTarget(coordinator.debug, machine_spec.topology.cpus, str, False, lambda written: None)

        door = DebuggerDoor(coordinator.debug, target, symbols, watch._emit, tmp_path, nursery)
        gdb = await open_gdb(nursery, (await door.open("ada")).where)
        # Our watch is armed while the debugger holds the guest.
        assert is_frozen(coordinator)
        coordinator.memory_typed(view)
        await coordinator.armed.wait()
        assert is_frozen(coordinator)
        # The same names and values as the kernel's own, by two ways that know nothing of each other.
        root = await gdb.value("&scx_root")
        assert root == view.symbols.address("scx_root")
        assert await gdb.value("*(unsigned long *)&linux_banner") == view.space.u64(
            view.symbols.address("linux_banner")
        )
        assert "No breakpoint" not in await gdb.ask("break proc_dointvec")
        assert "Hardware watchpoint" in await gdb.ask("watch *(int *)&panic_timeout")

        async with trio.open_nursery() as asking:
            asking.start_soon(guest.ask, f"write {PANIC} 17")
            assert "hit Breakpoint 1, 0x" in await gdb.ask("continue")
            rip = await gdb.value("$rip")
            assert rip == view.symbols.address("proc_dointvec")
            await gdb.ask("stepi")
            assert await gdb.value("$rip") > rip
            said = await gdb.ask("continue")
            assert "Hardware watchpoint 2" in said
            assert "New value = 17" in said
            await gdb.ask("delete")
            assert "cannot" in (await gdb.ask("set var *(int *)&panic_timeout = 4")).lower()
            assert view.space.u32(view.symbols.address("panic_timeout")) == 17
            assert "detached" in await gdb.ask("detach")
        await watch.wait_until(lambda: watch.of(DebuggerChanged)[-1].step == "left")
        assert not is_frozen(coordinator)

        # It is looked after while a debugger is attached, and the guest runs.
        gdb = await open_gdb(nursery, (await door.open("ada")).where)
        slot_zero = watch.view.scx_root_slot()
        await guest.machine.gdb.disarm_watch(slot_zero, 8)
        await watch.wait_until(lambda: coordinator.debug.statistics().restored == 1)
        assert coordinator.drops()["watches-restored"] == 1
        gdb.process.kill()
        await watch.wait_until(lambda: watch.of(DebuggerChanged)[-1].step == "left")
        assert not is_frozen(coordinator)
        assert (await guest.ask(f"cat {PANIC}")).strip() == "17"
        nursery.cancel_scope.cancel()


@contextmanager
def debugger(run: HeadlessRun, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``ktstr-tui gdb`` on a run; it is gone afterwards."""
    process = subprocess.Popen(
        [*PROGRAM, "gdb", run.name, *arguments],
        env=run.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Told:
    """The events of a run, followed from its beginning by a thread, so that none waits for this test."""

    def __init__(self, run: HeadlessRun) -> None:
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._follow, args=(run,), daemon=True).start()

    def _follow(self, run: HeadlessRun) -> None:
        for event in run.events("kernel-typed", "debugger", "capture"):
            self._queue.put(event)

    def until(self, **fields: str) -> dict[str, Any]:
        """Wait for the next event with these fields."""
        while True:
            event = self._queue.get(timeout=BOOT_DEADLINE_S)
            event |= event.get("report", {})
            if fields.items() <= event.items():
                return event

    def step(self, step: str) -> dict[str, Any]:
        """Wait until a debugger did that."""
        return self.until(type="debugger", step=step)


def script(path: Path, *lines: str) -> str:
    """A file of commands of gdb."""
    path.write_text("\n".join(("set pagination off", "set confirm off", *lines)) + "\n")
    return str(path)


def kill_one_and_send_garbage(run: HeadlessRun, told: Told, directory: Path) -> None:
    """A debugger that is killed in the middle of a stop, and one that sends garbage: the run is as before."""
    kill = script(directory / "kill.gdb", "break schedule", "continue", "shell kill -KILL $PPID")
    with debugger(run, "--", "-nx", "-batch", "-x", kill) as gdb:
        gdb.communicate(timeout=BOOT_DEADLINE_S)
        assert gdb.returncode == -signal.SIGKILL
    assert "closed" in told.step("left")["what"]
    where = call_json("gdb", run.name, "--no-start", env=run.env)["where"]
    assert "attached or expected" in call("gdb", run.name, "--no-start", env=run.env).stderr
    with socket.socket(socket.AF_UNIX) as garbage:
        garbage.connect(where)
        garbage.sendall(bytes(range(256)) * 400 + b"$qSupported#00$vCont;s:9#00$M0,1:#zz")
        told.step("attached")
    told.step("left")


def step_with_lldb(run: HeadlessRun, told: Told, *commands: str) -> None:
    """lldb, over TCP, is given commands, stops at a function and steps."""
    with debugger(
        run, "--lldb", "--tcp", "0", "--", "-x", "-b",
        "-o", "thread list", *(word for it in commands for word in ("-o", it)),
        "-o", "breakpoint set -n schedule", "-o", "continue",
        "-o", "register read rip", "-o", "thread step-inst", "-o", "process detach",
    ) as lldb:  # fmt: skip
        said, _ = lldb.communicate(timeout=BOOT_DEADLINE_S)
    assert "thread #2: tid = 0x0002" in said, said
    assert "stop reason = breakpoint 1.1" in said
    assert "`schedule" in said
    assert "stop reason = instruction step into" in said
    told.step("left")


def test_gdb_and_lldb_on_a_run_with_captures_watches_and_an_ejection(tmp_path: Path) -> None:
    (tmp_path / "load.toml").write_text(LOAD)
    with headless_run(tmp_path, "--no-seed", "--scenario", str(tmp_path / "load.toml")) as run:
        told = Told(run)
        told.until(type="kernel-typed")
        call("watch", "add", "jiffies", run.name, "--budget", "1000", "--length", "8", env=run.env)

        # gdb stops again and again for a condition, while captures are taken and our watch is hit.
        many = script(
            tmp_path / "many.gdb",
            "break tick_do_update_jiffies64 if (*(unsigned long *)&jiffies & 7) == 0",
            "continue", "continue", "info threads", "stepi", "detach",
        )  # fmt: skip
        with debugger(run, "--", "-nx", "-batch", "-x", many) as gdb:
            told.step("attached")
            captured = call_json("capture", run.name, env=run.env)
            said, _ = gdb.communicate(timeout=BOOT_DEADLINE_S)
        assert said.count("hit Breakpoint 1, 0x") == 2, said
        assert re.search(r"Thread 2 \(CPU 1: [^)]+\[\d+\]\)", said)
        assert "SIGINT" not in said
        assert "SIGTRAP" not in said
        assert captured["tag"] == "on-demand-001"
        assert told.step("left")["forwarded"] > 2

        kill_one_and_send_garbage(run, told, tmp_path)
        step_with_lldb(run, told)

        # The scheduler is ejected at its own write while gdb is attached and the guest runs: gdb sees nothing of it,
        # but that the guest is gone when the run ends with the ejection.
        wait = script(tmp_path / "wait.gdb", "hbreak panic", "continue")
        with debugger(run, "--", "-nx", "-batch", "-x", wait) as gdb:
            told.step("attached")
            call("scheduler", "replace", str(guest_artifacts().demos["stall"]), run.name, env=run.env)
            taken = told.until(type="capture", trigger="error")
            said, _ = gdb.communicate(timeout=BOOT_DEADLINE_S)
        assert "at the write" in taken["trigger_detail"]
        assert not re.search(
            "SIGTRAP|SIGINT|hit ", said.partition("Continuing")[2] or said.partition("panic")[2]
        )
        code, summary, _ = run.end()
        assert code == EXIT_EJECTED
        assert summary["ejections"] == 1
