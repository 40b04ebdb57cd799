"""What the control loop looks at by itself: shares of what has grown, and nothing where nothing can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktstr_tui.backend.probes import DiskSpace, HostShares, ThreadShares


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_vcpu_thread_runs_and_waits_for_shares_of_the_time_between_two_readings(tmp_path: Path) -> None:
    clock = Clock()
    stat = tmp_path / "7" / "task" / "8" / "schedstat"
    shares = ThreadShares(7, {0: 8, 1: 9}, clock, tmp_path)
    write(stat, "1000 500 3\n")
    assert shares.read() == {"vcpu0.cpu": None, "vcpu0.waited": None, "vcpu1.cpu": None, "vcpu1.waited": None}
    clock.now_ns = 1000
    write(stat, "1600 750 9\n")
    assert shares.read() == {"vcpu0.cpu": 0.6, "vcpu0.waited": 0.25, "vcpu1.cpu": None, "vcpu1.waited": None}
    stat.unlink()
    clock.now_ns = 2000
    assert shares.read()["vcpu0.cpu"] is None


def test_a_thread_of_several_vcpus_is_one_reading_under_their_names(tmp_path: Path) -> None:
    clock = Clock()
    shares = ThreadShares(7, {0: 8, 1: 8, 2: 8}, clock, tmp_path)
    write(tmp_path / "7" / "task" / "8" / "schedstat", "1000 500 3\n")
    shares.read()
    clock.now_ns = 1000
    write(tmp_path / "7" / "task" / "8" / "schedstat", "1800 500 9\n")
    assert shares.read() == {"vcpu0-2.cpu": 0.8, "vcpu0-2.waited": 0.0}


def test_the_host_without_counters_is_unknown_and_not_idle(tmp_path: Path) -> None:
    clock = Clock()
    shares = HostShares(clock, tmp_path)
    shares.read()
    clock.now_ns = 10**9
    assert set(shares.read().values()) == {None}


def test_the_host_in_shares_and_mib(tmp_path: Path) -> None:
    clock = Clock()
    shares = HostShares(clock, tmp_path)
    write(tmp_path / "meminfo", "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n")
    write(tmp_path / "stat", "cpu 0 0 0 0 0 0 0 0 0 0\n")
    write(tmp_path / "pressure" / "memory", "some avg10=0 total=0\nfull avg10=0 total=0\n")
    shares.read()
    clock.now_ns = 10**9
    write(tmp_path / "stat", "cpu 60 0 0 20 0 0 0 20 0 0\n")
    write(tmp_path / "pressure" / "memory", "some avg10=0 total=250000\nfull avg10=0 total=0\n")
    found = shares.read()
    assert (found["steal"], found["psi.memory"], found["psi.cpu"]) == (0.2, 0.25, None)
    assert found["memory_available_mib"] == 2


def test_a_directory_that_is_gone_is_the_probes_failure(tmp_path: Path) -> None:
    assert (DiskSpace(tmp_path).read()["free_mib"] or 0) > 0
    with pytest.raises(OSError, match="gone"):
        DiskSpace(tmp_path / "gone").read()
