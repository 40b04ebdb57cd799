"""The C code under the address and undefined-behaviour sanitizers, driven by random operations (``hammer.c``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ktstr_tui.heartbeat.tracked import COUNTERS

HAMMER = Path(__file__).with_name("hammer.c")
SANITIZE = "-fsanitize=address,undefined"


@pytest.fixture(scope="module")
def hammer(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built with sanitizers."""
    program = tmp_path_factory.mktemp("hammer") / "hammer"
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", str(checkout / "native")]
    sanitizers = [SANITIZE, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    subprocess.run(["cc", *flags, *sanitizers, "-o", str(program), str(HAMMER)], check=True)
    return program


@pytest.mark.parametrize("seed", ["0xC0FFEE", "0xDEADBEEF"])
def test_random_operations_find_no_fault(hammer: Path, seed: str) -> None:
    done = subprocess.run(
        [str(hammer), seed, "1000000"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    runs = [dict(zip(COUNTERS, map(int, line.split()), strict=True)) for line in done.stdout.splitlines()]
    assert len(runs) == 4
    happened = {counter for run in runs for counter in COUNTERS if run[counter]}
    assert set(COUNTERS) - happened <= {"invariant_violations", "probe_exhausted"}


def test_the_build_does_sanitize(tmp_path: Path) -> None:
    source = tmp_path / "fault.c"
    source.write_text("#include <stdlib.h>\nint main(void) { volatile char *p = malloc(8); return p[8]; }\n")
    program = tmp_path / "fault"
    subprocess.run(["cc", SANITIZE, "-o", str(program), str(source)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
