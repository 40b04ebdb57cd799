"""Paged processes, and the debuggers that look at them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from ktstr_tui.memory.pager import Pager
from ktstr_tui.memory.pager_statistics import PagerStatistics
from ktstr_tui.memory.pages import PAGE_BYTES

WAIT_S = 60.0
"""For what happens within milliseconds when nothing is wrong."""


async def counted(pager: Pager) -> PagerStatistics:
    """The counters, when all that was served is counted: a page is there before that is."""
    await pager.fill(False)
    return pager.statistics()


async def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that the pager does by itself."""
    with trio.move_on_after(WAIT_S):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(0.01)
        return
    raise AssertionError(f"never: {what}")


class Paged:
    """A process that runs ``paged_process.py``."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.pid = process.pid
        self._answers = b""

    async def ask(self, verb: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Have something done and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        await self.process.stdin.send_all(json.dumps([verb, arguments]).encode() + b"\n")
        with trio.fail_after(WAIT_S):
            while b"\n" not in self._answers:
                more = await self.process.stdout.receive_some()
                assert more, "the paged process has ended"
                self._answers += more
        line, _, self._answers = self._answers.partition(b"\n")
        return json.loads(line)

    def status(self, field: str) -> str:
        """A field of its status in /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        raise AssertionError(field)


@asynccontextmanager
async def paged_process(
    pager: Pager, pages: int, *, ram_fd: int = -1, offset_pages: int = 0
) -> AsyncIterator[Paged]:
    """Start a process with memory that is not registered yet; it is killed afterwards."""
    fds = [pager.handoff.fileno(), *([ram_fd] if ram_fd >= 0 else [])]
    words = map(str, (fds[0], ram_fd, pages * PAGE_BYTES, offset_pages * PAGE_BYTES))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.unit.memory.paged_process", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=fds,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield Paged(process)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


def ram_file(pages: int) -> int:
    """An empty RAM file; to be closed by the taker."""
    fd = os.memfd_create("ktstr-test-ram")
    os.ftruncate(fd, pages * PAGE_BYTES)
    return fd


class Debugger:
    """A gdb or lldb that is given commands."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process = process
        self._name = name

    def say(self, gdb: str, lldb: str) -> None:
        """Give a command, in the words of whichever it is."""
        assert self.process.stdin is not None
        self.process.stdin.write((gdb if self._name == "gdb" else lldb) + "\n")
        self.process.stdin.flush()

    async def leave(self) -> str:
        """Have it detach and end; return all that it said."""
        self.say("detach", "process detach")
        self.say("quit", "quit")
        return await trio.to_thread.run_sync(lambda: self.process.communicate(timeout=WAIT_S)[0])


def _attach(name: str, pid: int) -> subprocess.Popen[str]:
    words = {
        "gdb": ["gdb", "-q", "-nx", "-iex", "set debuginfod enabled off"],
        "lldb": ["lldb", "--no-lldbinit"],
    }
    return subprocess.Popen(
        [*words[name], "-p", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@asynccontextmanager
async def debugger(name: str, paged: Paged) -> AsyncIterator[Debugger]:
    """Attach a debugger to a process, which stops it; the debugger is killed afterwards."""
    process = _attach(name, paged.pid)
    try:
        await wait_until(lambda: paged.status("State").startswith("t"), f"{name} stops the process")
        yield Debugger(process, name)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.communicate)
