"""Fuzzing for a moment, with every test run: the same targets as ``scripts/fuzz``, with seeds that are fixed.

Nothing is skipped: a machine without clang's sanitizers fails here and is told which package has them.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ktstr_tui.model.errors import KtstrError
from tests.unit import fuzz_decoders

NATIVE = ("frames", "beats", "uploads", "pages", "observer")
SECONDS = 5
RUNS = {"payloads": 1500, "dispatch": 500, "recording": 300, "codec": 2500, "btf": 500, "vmcoreinfo": 1000}
OTHER_RUNS = 2500


def run_fuzz(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts/fuzz", *arguments],
        env={**os.environ, "KTSTR_FUZZ_SEED": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", NATIVE)
def test_sanitizers_find_nothing_in_c(target: str, checkout: Path) -> None:
    done = run_fuzz(checkout, str(SECONDS), target)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None
    assert int(executed[1]) > len(list((checkout / "native/fuzz/corpus" / target).iterdir()))


@pytest.mark.parametrize("target", fuzz_decoders.TARGETS)
def test_decoders_refuse_or_decode(target: str) -> None:
    report = fuzz_decoders.fuzz(target, seed=1, runs=RUNS.get(target, OTHER_RUNS))
    assert report.runs > RUNS.get(target, OTHER_RUNS)


@pytest.mark.parametrize("target", fuzz_decoders.TARGETS)
def test_sound_input_is_taken(target: str) -> None:
    one = fuzz_decoders.TARGETS[target]
    taken = 0
    for data in one.seeds():
        try:
            one.run(data)
        except KtstrError:
            continue
        taken += 1
    assert taken or target == "vmcoreinfo", "a target that refuses every seed tests only its first check"


def test_what_breaks_is_found_and_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        if b"bad" in data:
            raise IndexError("out of range")

    broken = fuzz_decoders.Target(lambda: [b"good", b"has bad in it"], run)
    monkeypatch.setitem(fuzz_decoders.TARGETS, "broken", broken)
    monkeypatch.setattr(fuzz_decoders, "FOUND", tmp_path)
    with pytest.raises(fuzz_decoders.Broken, match="IndexError"):
        fuzz_decoders.fuzz("broken", seed=1, runs=0)
    (saved,) = tmp_path.iterdir()
    assert saved.read_bytes() == b"has bad in it"


def test_a_decoder_that_hoards_memory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hoarder = fuzz_decoders.Target(lambda: [b"x"], lambda data: len(bytes(2 * fuzz_decoders.MAX_PEAK_BYTES)))
    monkeypatch.setitem(fuzz_decoders.TARGETS, "hoarder", hoarder)
    monkeypatch.setattr(fuzz_decoders, "FOUND", tmp_path)
    with pytest.raises(fuzz_decoders.Broken, match="bytes of memory"):
        fuzz_decoders.fuzz("hoarder", seed=1, runs=0)


def test_missing_sanitizers_are_named(checkout: Path, tmp_path: Path) -> None:
    # A compiler that knows of no runtime, first in the path under a version above all others.
    clang = tmp_path / "clang-99"
    clang.write_text(
        "#!/bin/sh\ncase $1 in -dumpversion) echo 99.0.0 ;; -print-resource-dir) echo /nonexistent ;; esac\n"
    )
    clang.chmod(0o755)
    done = run_fuzz(checkout, "1", "frames", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 3
    assert "libclang-rt-99-dev" in done.stderr


def test_wrong_arguments_are_refused(checkout: Path) -> None:
    assert run_fuzz(checkout, "soon").returncode == 2
    assert run_fuzz(checkout, "1", "nothing").returncode == 2
