"""Which QEMU is taken, of those that a machine may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktstr_tui.cli import doctor_checks
from ktstr_tui.guest import qemu_program
from ktstr_tui.guest.accel import decide_accelerator
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.qemu_program import PROGRAM, choose_qemu, find_qemu
from ktstr_tui.model.errors import HostError, UsageError

IMAGE = KernelImage(Path("/vmlinuz"), "9.9.9", b"", True, None)
BROKEN = "echo 'error while loading shared libraries: libslirp.so.0' >&2; exit 127"


class Host:
    """A machine whose QEMUs do nothing but say which they are."""

    def __init__(self, place: Path) -> None:
        self.programs, self.private = place / "programs", place / "cache/ktstr-tui/qemu"
        self.programs.mkdir()

    def system(self, version: str, script: str = "") -> Path:
        """Install one."""
        return self.make(self.programs / PROGRAM, version, script)

    def fetched(self, version: str, script: str = "") -> Path:
        """Put one into the cache."""
        return self.make(self.private / version.partition(" ")[0] / PROGRAM, version, script)

    @staticmethod
    def make(program: Path, version: str, script: str = "") -> Path:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\necho 'QEMU emulator version {version}'\necho Copyright\n")
        program.chmod(0o755)
        return program


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KTSTR_QEMU", raising=False)
    return made


@pytest.mark.parametrize(
    ("version", "threads"),
    [
        ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", "single"),
        ("8.0.50", "single"),
        ("8.1.0", "multi"),
        ("8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.4)", "multi"),
        ("10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", "multi"),
        ("11.0", "multi"),
        ("?", "single"),
        ("", "single"),
    ],
)
def test_threads_by_version(version: str, threads: str) -> None:
    assert qemu_program.tcg_threads(version) == threads


@pytest.mark.parametrize(
    ("version", "vcpus", "host_cpus", "asked", "threads"),
    [
        ("10.0.2", 2, 16, "", "single"),
        ("10.0.2", 4, 16, "", "single"),
        ("10.0.2", 5, 16, "", "multi"),
        ("10.0.2", 16, 16, "", "multi"),
        ("10.0.2", 17, 16, "", "single"),
        ("10.0.2", 8, 2, "", "single"),
        ("7.2.22", 16, 16, "", "single"),
        ("10.0.2", 2, 16, "multi", "multi"),
        ("10.0.2", 8, 2, "multi", "multi"),
        ("10.0.2", 16, 16, "single", "single"),
    ],
)
def test_threads_by_size(
    version: str, vcpus: int, host_cpus: int, asked: str, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTSTR_TCG_THREADS", asked)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(host_cpus)))
    assert qemu_program.threads_for(version, vcpus) == threads


def test_threads_that_nobody_knows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTSTR_TCG_THREADS", "many")
    with pytest.raises(UsageError, match="KTSTR_TCG_THREADS=many"):
        qemu_program.threads_for("10.0.2", 2)


def test_a_system_one_that_is_new_enough_comes_first(host: Host) -> None:
    system = host.system("8.2.2 (Debian 1:8.2.2)")
    host.fetched("10.0.2")
    found = choose_qemu()
    assert (found.program, found.source, found.short_version) == (system, "system", "8.2.2")
    assert found.threads == "multi"


def test_the_newest_private_one_comes_before_an_old_system_one(host: Host) -> None:
    host.system("7.2.22 (Debian 1:7.2)")
    host.fetched("9.2.0")
    newest = host.fetched("10.0.2")
    (host.private / ".work-left-over").mkdir()
    (host.private / "11.0.0").mkdir()
    found = choose_qemu()
    assert (found.program, found.source, found.threads) == (newest, "private", "multi")
    assert find_qemu() == newest


def test_a_private_one_serves_a_machine_without(host: Host) -> None:
    assert host.fetched("10.0.2") == find_qemu()


def test_an_old_system_one_is_better_than_none(host: Host) -> None:
    old = host.system("7.2.22")
    host.fetched("10.0.2", BROKEN)
    found = choose_qemu()
    assert (found.program, found.source, found.threads) == (old, "system", "single")


def test_a_broken_system_one_is_passed_over(host: Host) -> None:
    host.system("10.0.2", BROKEN)
    assert host.fetched("9.2.0") == find_qemu()


def test_none_at_all(host: Host) -> None:
    with pytest.raises(HostError, match="is not installed") as caught:
        choose_qemu()
    assert "qemu_fetch" in caught.value.hint


def test_only_broken_ones_are_quoted(host: Host) -> None:
    host.system("8.2.2", BROKEN)
    host.fetched("10.0.2", "exit 4")
    with pytest.raises(HostError, match=r"libslirp\.so\.0; .*exit status 4"):
        choose_qemu()


def test_the_one_that_was_named_beats_all(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.system("10.0.2")
    named = host.make(tmp_path / "mine/qemu", "7.2.0")
    monkeypatch.setenv("KTSTR_QEMU", str(named))
    found = choose_qemu()
    assert (found.program, found.source, found.threads) == (named, "KTSTR_QEMU", "single")


def test_a_named_one_that_does_not_run_is_no_silent_fallback(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.system("10.0.2")
    monkeypatch.setenv("KTSTR_QEMU", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="not a program"):
        choose_qemu()
    monkeypatch.setenv("KTSTR_QEMU", str(host.make(tmp_path / "bad", "9.0.0", BROKEN)))
    with pytest.raises(UsageError, match="libslirp"):
        choose_qemu()


async def test_the_verdict_says_why_cpus_take_turns(host: Host) -> None:
    host.system("7.2.22 (Debian 1:7.2)")
    verdict = await decide_accelerator("tcg", IMAGE, b"")
    assert "one host thread (QEMU 7.2.22 is older than 8.1;" in verdict.reason
    host.fetched("10.0.2")
    assert (await decide_accelerator("tcg", IMAGE, b"")).reason == "TCG (as requested)"


def qemu_row() -> doctor_checks.Row:
    return next(row for row in doctor_checks.all_rows() if row.name == "qemu")


def test_doctor_says_which_one_and_how_it_emulates(host: Host) -> None:
    assert (qemu_row().status, qemu_row().needed) == ("missing", True)
    old = host.system("7.2.22 (Debian 1:7.2)")
    row = qemu_row()
    assert row.status == "degraded"
    assert row.detail.startswith(f"7.2.22 (Debian 1:7.2), the system's: {old}; older than 8.1")
    assert "qemu_fetch" in row.next_step
    private = host.fetched("10.0.2")
    row = qemu_row()
    assert (row.status, row.next_step) == ("ok", "")
    assert row.detail.startswith(f"10.0.2, fetched for this user: {private}; ")
