"""A run with a seed, had again beside itself so that its debugger can go back in time.

It is a backend of its own, as every run is, in a process of its own. What it writes goes into a directory that is
removed with it, so it appears in no list of runs. It is ended by being killed: there is nothing in it to be saved.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from ktstr_tui.backend.again import config_again, read_kept
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.interventions import read_interventions
from ktstr_tui.guest.gdb_connection import GdbConnection
from ktstr_tui.guest.retracing import Place
from ktstr_tui.model.commands import Failure
from ktstr_tui.model.control import RunKernelWrite
from ktstr_tui.model.errors import GuestError, InternalError
from ktstr_tui.model.text import counted

READY_WITHIN_S: Final = 120.0
"""From the start of the process until it serves; a saved boot may have to be made first."""
WHY_WITHIN_S: Final = 5.0
_REPORT_BYTES: Final = 65536


def config_for_debugger(data_dir: Path, fd: int) -> RunConfig:
    """What is asked for to have a run again for its debugger.

    Args:
        data_dir: Of the run.
        fd: Of the socket to it, in the new process.

    Raises:
        UsageError: What the run keeps of itself is missing or damaged.
    """
    return msgspec.structs.replace(
        config_again(read_kept(data_dir)),
        name="past",
        again=str(data_dir),
        without=(),
        debugger_fd=fd,
        owner_pid=os.getpid(),
        on_exit="end",
        # What it did was recorded when it did it first, and what was changed is among its interventions.
        record_trace=False,
        memory_on_ejection=False,
        runs_limit_mib=0,
        freeze_at_ns=None,
        restores_again=False,
        restored_from="",
        captures_at_ns=(),
        watches=(),
        sets=(),
        replace_scheduler=None,
    )


@asynccontextmanager
async def open_again(data_dir: Path) -> AsyncIterator[GdbConnection]:
    """Have a run again, held at its first instructions; it is gone when the context ends.

    Args:
        data_dir: Of the run.

    Raises:
        KtstrError: It cannot be had again.
    """
    ours, theirs = socket.socketpair()
    with _places(data_dir) as places, theirs:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            config = await trio.to_thread.run_sync(config_for_debugger, data_dir, theirs.fileno())
            process, reports = await _start(config, places, theirs)
            try:
                theirs.close()
                await _wait_ready(reports)
                connection = GdbConnection(stream)
                with trio.move_on_after(READY_WITHIN_S) as scope:
                    # It is answered once the guest is held.
                    await connection.send_questions(["QStartNoAckMode"])
                    await connection.answer()
                if scope.cancelled_caught:
                    raise GuestError(f"the rerun did not begin within {READY_WITHIN_S:g} s")
                yield connection
            except GuestError as error:
                raise GuestError(error.message, await _why_ended(reports) or error.hint) from error
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                    await reports.aclose()


def written_before(data_dir: Path, place: Place) -> str:
    """Say how often somebody wrote to the kernel before an instant: no vCPU made these stores, so none is found.

    Args:
        data_dir: Of the run.
        place: The instant.

    Returns:
        Words to go behind a sentence; empty when nobody did.
    """
    written = sum(
        isinstance(it.change, RunKernelWrite) and it.instructions <= place.total
        for it in read_interventions(data_dir)
    )
    return f" but {counted(written, 'write')} by somebody (rerun --list)" if written else ""


@contextmanager
def _places(data_dir: Path) -> Iterator[dict[str, str]]:
    """Where the rerun puts what it writes, as variables of its environment; removed at the end.

    Its data is in the directory of the run, with which it goes if nobody comes to remove it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ktstr-past-", ignore_cleanup_errors=True) as sockets,
        tempfile.TemporaryDirectory(prefix="past-", dir=data_dir, ignore_cleanup_errors=True) as data,
    ):
        yield {"XDG_RUNTIME_DIR": sockets, "XDG_STATE_HOME": data}


async def _start(
    config: RunConfig, places: dict[str, str], theirs: socket.socket
) -> tuple[trio.Process, trio.lowlevel.FdStream]:
    reading, writing = os.pipe()
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "ktstr_tui.backend", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing, theirs.fileno()),
            start_new_session=True,
            env={**os.environ, **places},
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    assert process.stdin is not None
    # Not given up in the middle: whoever gets the process ends it.
    with trio.CancelScope(shield=True):
        async with process.stdin as words:
            await words.send_all(msgspec.json.encode(config))
    return process, trio.lowlevel.FdStream(reading)


async def _wait_ready(reports: trio.lowlevel.FdStream) -> None:
    """Wait until the run has begun.

    Raises:
        KtstrError: It could not.
    """
    text = b""
    while data := await reports.receive_some(_REPORT_BYTES):
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            report = msgspec.json.decode(line, type=dict[str, Any])
            if "ready" in report:
                return
            if "error" in report:
                failure = msgspec.convert(report["error"], Failure)
                message = f"the run cannot be repeated: {failure.message}"
                raise msgspec.structs.replace(failure, message=message).to_error()
    raise InternalError("the rerun ended before it began", "ktstr-tui rerun says why")


async def _why_ended(reports: trio.lowlevel.FdStream) -> str:
    """Why a run ended, as far as it has said so within a moment."""
    text = b""
    with trio.move_on_after(WHY_WITHIN_S):
        while data := await reports.receive_some(_REPORT_BYTES):
            text += data
    for line in reversed(text.splitlines()):
        report = msgspec.json.decode(line, type=dict[str, Any])
        if "ended" in report:
            return f"it says: {report['ended']['reason']}"
    return ""
