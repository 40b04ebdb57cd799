"""The guest program's look at a scheduler program that works, or sleeps, on this host's own /proc."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

S = 1_000_000_000
_LOOKS = 1000
"""Enough for a process to get to where it sleeps, on any host."""


class Asleep(ctypes.Structure):
    """``struct asleep``."""

    _fields_ = (
        ("session", ctypes.c_int),
        ("looked_ns", ctypes.c_uint64),
        ("cpu_ns", ctypes.c_uint64),
        ("for_ns", ctypes.c_uint64),
    )


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("asleep") / "asleep.so"
    sources = [checkout / "native/agent" / name for name in ("asleep.c", "util.c")]
    flags = ["-D_GNU_SOURCE", "-shared", "-fPIC", "-Wall", "-Werror"]
    subprocess.run([shutil.which("cc") or "gcc", *flags, "-o", library, *sources], check=True)
    lib = ctypes.CDLL(str(library))
    lib.asleep_look.restype = ctypes.c_uint64
    return lib


@contextmanager
def session(command: str) -> Iterator[int]:
    """A shell in a session of its own, whose child does the work; its pid."""
    shell = subprocess.Popen(
        ["sh", "-c", f"{command} & echo; wait"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert shell.stdout is not None
    shell.stdout.readline()
    try:
        yield shell.pid
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(shell.pid)], check=False)
        shell.communicate()


def slept_s(agent: ctypes.CDLL, pid: int, looks: int, until_s: float) -> float:
    """How long the session is said to have slept after some looks, a second from one to the next."""
    it = Asleep()
    agent.asleep_begin(ctypes.byref(it), pid, ctypes.c_uint64(0))
    for_ns = 0
    for look in range(1, looks + 1):
        for_ns = agent.asleep_look(ctypes.byref(it), ctypes.c_uint64(look * S))
        if for_ns >= until_s * S:
            break
    return for_ns / S


def test_a_session_whose_child_works_does_not_sleep(agent: ctypes.CDLL) -> None:
    with session("exec sh -c 'while :; do :; done'") as pid:
        assert slept_s(agent, pid, 20, 1) == 0


def test_a_session_that_waits_sleeps(agent: ctypes.CDLL) -> None:
    with session("exec sleep 1000") as pid:
        assert slept_s(agent, pid, _LOOKS, 10) == 10


def test_a_look_that_comes_too_early_changes_nothing(agent: ctypes.CDLL) -> None:
    it = Asleep()
    agent.asleep_begin(ctypes.byref(it), 0, ctypes.c_uint64(0))
    assert agent.asleep_look(ctypes.byref(it), ctypes.c_uint64(S // 10)) == 0
    assert it.looked_ns == 0
