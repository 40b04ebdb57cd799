"""The choice of the accelerator, with a QEMU that does what the test says."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from ktstr_tui.guest import accel, qemu
from ktstr_tui.guest.accel import decide_accelerator, kvm_obstacle
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.model.errors import HostError, UsageError

IMAGE = KernelImage(Path("/vmlinuz"), "9.9.9", b"", True, None)
ABORTING = 'echo "kvm_buf_set_msrs: Assertion failed" >&2; echo run >> "$KTSTR_TEST_RUNS"; kill -ABRT $$'


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose KVM opens and whose QEMU aborts; the file has a line for each start."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / qemu.PROGRAM
    version = '[ "$1" = --version ] && echo "QEMU emulator version 10.0" && exit'
    program.write_text(f"#!/bin/sh\n{version}\n{ABORTING}\n")
    program.chmod(0o755)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KTSTR_QEMU", raising=False)
    monkeypatch.setenv("KTSTR_TEST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(accel, "kvm_obstacle", lambda: kvm_obstacle(device))
    (tmp_path / "runs").touch()
    return tmp_path / "runs"


def starts(runs: Path) -> int:
    return runs.read_text().count("run")


async def test_kvm_that_does_not_boot_falls_back_with_the_reason_and_is_remembered(runs: Path) -> None:
    first = await decide_accelerator("auto", IMAGE, b"")
    assert first.accelerator == "tcg"
    assert "kvm_buf_set_msrs" in first.detail
    assert re.fullmatch(r"TCG \(KVM failed: [^:;]{5,48}; see `ktstr-tui doctor`\).*", first.reason)
    assert not first.remembered
    assert first.probed_ms is not None
    assert first.probed_ms > 0
    again = await decide_accelerator("auto", IMAGE, b"")
    assert again.remembered
    assert (again.accelerator, again.reason, again.probed_ms) == (
        first.accelerator,
        first.reason,
        first.probed_ms,
    )
    assert starts(runs) == 1


async def test_another_kernel_or_a_fresh_look_probes_again(runs: Path) -> None:
    await decide_accelerator("auto", IMAGE, b"")
    other = KernelImage(Path("/vmlinuz"), "9.9.10", b"", True, None)
    assert not (await decide_accelerator("auto", other, b"")).remembered
    assert not (await decide_accelerator("auto", IMAGE, b"", fresh=True)).remembered
    assert starts(runs) == 3


async def test_a_damaged_memory_is_ignored(runs: Path, tmp_path: Path) -> None:
    await decide_accelerator("auto", IMAGE, b"")
    for path in (tmp_path / "cache/ktstr-tui/accelerators").iterdir():
        path.write_text("{")
    assert not (await decide_accelerator("auto", IMAGE, b"")).remembered


async def test_what_is_requested_is_taken_at_its_word(runs: Path) -> None:
    assert (await decide_accelerator("tcg", IMAGE, b"")).reason == "TCG (as requested)"
    assert (await decide_accelerator("kvm", IMAGE, b"")).accelerator == "kvm"
    with pytest.raises(UsageError, match="unknown accelerator 'xen'"):
        await decide_accelerator("xen", IMAGE, b"")
    assert starts(runs) == 0


async def test_no_device_needs_no_probe(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "kvm").unlink()
    verdict = await decide_accelerator("auto", IMAGE, b"")
    assert (verdict.accelerator, verdict.probed_ms) == ("tcg", None)
    assert "has no" in verdict.reason
    with pytest.raises(HostError, match="KVM was requested"):
        await decide_accelerator("kvm", IMAGE, b"")
    assert starts(runs) == 0


def test_obstacles_in_words(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert "has no" in (kvm_obstacle(device) or "")
    device.mkdir()
    assert "cannot be opened" in (kvm_obstacle(device) or "")
    device.rmdir()
    device.touch()
    assert stat.S_ISREG(device.stat().st_mode)
    assert kvm_obstacle(device) is None
