"""One build: bounded output, a file of it, the line that matters, and no process that outlives it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from ktstr_tui.backend.edit import command
from ktstr_tui.backend.edit.command import MAX_LINES, run_build
from ktstr_tui.backend.prepare import build_first
from ktstr_tui.model.errors import UsageError


def content(path: Path | str) -> str:
    return Path(path).read_text()


COMPILER_SAYS = """
echo 'cc -c mine.bpf.c'
echo 'In file included from mine.bpf.c:9:'
echo 'mine.bpf.c:12:2: warning: unused variable'
echo "mine.bpf.c:14:9: error: expected ';' after expression" >&2
echo 'mine.bpf.c:18:1: error: and so on' >&2
echo 'make: *** [Makefile:18: mine.bpf.o] Error 1' >&2
exit 2
"""


async def test_a_build_that_works_keeps_what_it_printed(tmp_path: Path) -> None:
    result = await run_build("echo one; echo two >&2; printf three", tmp_path / "logs/build-001.log")
    assert (result.ok, result.exit_code, result.headline) == (True, 0, "")
    assert result.log == ("one", "two", "three")
    assert result.path == str(tmp_path / "logs/build-001.log")
    assert content(result.path) == "one\ntwo\nthree"


async def test_the_first_error_of_the_compiler_is_what_matters(tmp_path: Path) -> None:
    result = await run_build(COMPILER_SAYS, tmp_path / "log")
    assert (result.ok, result.exit_code) == (False, 2)
    assert result.headline == "mine.bpf.c:14:9: error: expected ';' after expression"


async def test_a_build_that_says_nothing_has_its_exit_code(tmp_path: Path) -> None:
    assert (await run_build("exit 3", tmp_path / "log")).headline == "exit code 3"
    assert (await run_build("kill -9 $$", tmp_path / "log")).exit_code == -9


async def test_output_is_bounded_and_what_is_not_kept_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MAX_LOG_BYTES", 1000)
    lines = 3 * MAX_LINES
    result = await run_build(f"seq -f '%09.0f' {lines}; printf '%5000d' 7", tmp_path / "log")
    printed = 10 * lines + 5000
    assert len(content(result.path)) == 1000
    assert result.unkept_bytes == printed - 1000
    assert len(result.log) == 2 * MAX_LINES + 1
    assert result.log[0] == "000000001"
    assert result.log[MAX_LINES] == f"… {lines + 1 - 2 * MAX_LINES} lines left out …"
    one_more = await run_build(f"seq {2 * MAX_LINES + 1}", tmp_path / "log")
    assert one_more.log[MAX_LINES] == "… 1 line left out …"
    assert max(map(len, result.log)) == command.MAX_LINE_CHARACTERS


async def test_a_disk_that_takes_nothing_costs_the_file_and_not_the_build() -> None:
    result = await run_build("echo built", Path("/dev/full"))
    assert (result.ok, result.log, result.path) == (True, ("built",), "")
    assert (await run_build("echo built", Path("/proc/nowhere/log"))).path == ""


async def test_a_process_left_behind_does_not_hold_the_build_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LEFT_OPEN_S", 0.05)
    result = await run_build(f"sleep 1000 & echo $! > {tmp_path}/pid; echo built", tmp_path / "log")
    assert result.log == ("built",)
    os.kill(int(content(tmp_path / "pid")), 9)


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_a_build_that_is_cancelled_ends_with_all_its_processes(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "KILL_S", 0.1)
    os.mkfifo(tmp_path / "begun")
    script = f"{trap}sleep 1000 & echo $! > {tmp_path}/begun; wait; wait"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_build, script, tmp_path / "log")
        child = int(await trio.to_thread.run_sync((tmp_path / "begun").read_text))
        process = os.pidfd_open(child)
        nursery.cancel_scope.cancel()
    with trio.fail_after(60):
        await trio.lowlevel.wait_readable(process)  # it has ended
    os.close(process)


async def test_a_first_build_that_fails_says_what_it_printed() -> None:
    noted: list[str] = []
    with pytest.raises(UsageError, match=r"the build failed: mine.bpf.c:14:9: error: expected"):
        await build_first(COMPILER_SAYS, noted.append)
    assert "  mine.bpf.c:18:1: error: and so on" in noted
