"""Debuggers and the pager on one process, whichever came first; names as in the contract of the pager."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from ktstr_tui.memory.pager import (
    Pager,
)
from ktstr_tui.memory.pager_messages import (
    Traced,
)
from tests.unit.memory.made_up import page
from tests.unit.memory.paged import counted, debugger, paged_process, wait_until
from tests.unit.memory.paging import event_of, hashed, pager_of, stored


async def ends_in_time(pager: Pager) -> None:
    begin = trio.current_time()
    await pager.shut_down()
    # The interval is what a pager may sleep; a busy host adds to it whatever it likes, so ask by its own count.
    assert trio.current_time() - begin < 60
    assert pager.ended is None
    with pytest.raises(ProcessLookupError):
        os.kill(pager.pid, 0)


@pytest.mark.parametrize("which", ["gdb", "lldb"])
async def test_pager_lifecycle_accepts_shutdown_in_lldb_after_ordering(which: str, tmp_path: Path) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 65))) as pager,
        paged_process(pager, 64) as it,
    ):
        assert await it.ask("register") is None
        await it.ask("touch", threads=2, count=8)
        missing = await it.ask("address", number=40)
        async with debugger(which, it) as debug:
            traced = await event_of(pager, Traced)
            assert isinstance(traced, Traced)
            assert traced.pid == int(it.status("TracerPid"))
            debug.say(f"x/1xb {missing}", f"memory read -c1 {missing}")
            said = await debug.leave()
            # gdb is told of an error where a page is missing; lldb reads in a way that brings it. None sees zeros.
            assert ("Cannot access memory" if which == "gdb" else f": {page(41)[0]:02x} ") in said
        assert await event_of(pager, Traced) == Traced(None)
        await it.ask("touch", threads=2, count=32)
        assert await it.ask("page", number=40) == hashed(page(41))
        assert (await counted(pager)).faults == 64
        await ends_in_time(pager)


@pytest.mark.parametrize("which", ["gdb", "lldb"])
async def test_pager_lifecycle_accepts_shutdown_in_lldb_before_ordering(which: str, tmp_path: Path) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 65))) as pager,
        paged_process(pager, 64) as it,
    ):
        await it.ask("address", number=0)
        async with debugger(which, it) as debug:
            debug.say("continue &", "process continue")
            await wait_until(lambda: not it.status("State").startswith("t"), "it runs again")
            assert await it.ask("register") is None
            await it.ask("touch", threads=2, count=32)
            assert it.status("TracerPid") != "0"
            assert (await counted(pager)).faults == 64
            await event_of(pager, Traced)
            await ends_in_time(pager)
        assert await it.ask("page", number=40) == hashed(page(41))
