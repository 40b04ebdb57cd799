"""Runs that can be had again: what is kept, what refuses to be the same, bundles, instants, first differences."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from ktstr_tui.backend import again, instants
from ktstr_tui.backend.bundle import bundle, unbundle
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.identity import Identity, write_identity
from ktstr_tui.backend.prepare_restore import again_of
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.scenario import Scenario, Step
from ktstr_tui.memory.copy import RamCopy
from ktstr_tui.memory.find import Found
from ktstr_tui.memory.remote import RemoteStore
from ktstr_tui.memory.remote_pages import Remote
from ktstr_tui.memory.store import DIRECTORY, SnapshotStore
from ktstr_tui.memory.writing import Parts, write_snapshot
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.report import Pause
from ktstr_tui.model.sample import Sample, SchedulerSample
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.model.topology import Topology
from tests.unit.memory.made_up import info

INITRD = b"agent, plan and scheduler"
SECOND = 1_000_000_000


def identity(**changes: object) -> Identity:
    made = Identity(
        seed=7,
        instruction_ns=4,
        topology="1n1l2c1t",
        memory_bytes=512 << 20,
        command_line="quiet",
        qemu="10.0.2",
        kernel_sha256="a" * 64,
        initramfs_sha256=hashlib.sha256(INITRD).hexdigest(),
        observer_sha256=None,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a run that can be had again."""
    made = tmp_path / "lost-20260101-000000"
    made.mkdir()
    scenario = Scenario(name="lost", steps=(Step(name="one", duration_ms=1000),))
    config = RunConfig(name="lost", build="make", memory_mib=256, determinism=Determinism(7), keeps_pace=True)
    again.keep_inputs(made, config, scenario, machine(tmp_path))
    write_identity(made, identity())
    return made


def test_what_is_of_one_run_alone_is_not_had_again(run: Path) -> None:
    kept = again.read_kept(run)
    alone = {
        "owner_pid": 7,
        "debugger_fd": 9,
        "record": "r",
        "run_dir": "d",
        "watch_files": ("f",),
        "build": "make",
    }
    config = msgspec.structs.replace(kept.config, name="lost", **alone)
    assert config.of_no_run() == kept.config
    again.keep_inputs(run, config, kept.scenario, machine(run.parent))
    assert again.read_kept(run).config == kept.config
    whole = msgspec.structs.replace(kept, config=config)
    assert again.config_again(whole) == again.config_again(kept)


def machine(path: Path, run_files: bytes | None = None) -> MachineSpec:
    return MachineSpec(
        kernel=path / "vmlinuz",
        initrd=INITRD,
        topology=Topology(),
        memory_bytes=512 << 20,
        accelerator="tcg",
        socket_dir=path,
        console_log=path / "console.log",
        run_files=run_files,
    )


def test_what_came_after_a_saved_boot_is_kept_and_checked(run: Path) -> None:
    kept = again.read_kept(run)
    assert kept.run_files is None
    again.keep_inputs(run, kept.config, kept.scenario, machine(run.parent, b"plan"))
    with pytest.raises(UsageError, match="is not what the run was made of"):
        again.read_kept(run)
    write_identity(run, identity(run_files_sha256=hashlib.sha256(b"plan").hexdigest()))
    assert again.read_kept(run).run_files == b"plan"
    (run / again.RUN_FILES_FILE).unlink()
    with pytest.raises(UsageError, match="is not what the run was made of"):
        again.read_kept(run)


def test_what_is_kept_asks_for_the_same_run(run: Path) -> None:
    config = again.config_again(again.read_kept(run))
    assert config.determinism == Determinism(7, 4)
    assert (config.memory_mib, config.topology) == (512, "1n1l2c1t"), "as it was, whatever was asked for"
    assert config.name is None
    assert not config.build, "nothing is built again"
    assert not config.keeps_pace, "and it runs as fast as it can"
    assert config.kernel == str(run.parent / "vmlinuz")


def test_a_run_without_a_seed_cannot_be_had_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="had no seed"):
        again.read_kept(tmp_path)


@pytest.mark.parametrize("name", [again.CONFIG_FILE, again.SCENARIO_FILE, again.INITRAMFS_FILE])
def test_what_was_damaged_is_not_run(run: Path, name: str) -> None:
    (run / name).write_bytes(b"{")
    with pytest.raises(UsageError):
        again.read_kept(run)


def test_all_that_differs_is_named() -> None:
    again.require_same(identity(), identity())
    with pytest.raises(HostError) as refused:
        again.require_same(identity(), identity(qemu="11.0", kernel_sha256="b" * 64))
    assert "QEMU was 10.0.2 and is 11.0" in refused.value.message
    assert "the kernel was aaaaaaaaaaaa and is bbbbbbbbbbbb" in refused.value.message


def test_times() -> None:
    assert again.seconds(["12.5", "3s", "500ms"]) == (12_500_000_000, 3 * SECOND, SECOND // 2)
    for wrong in ("", "soon", "-1", "nan", "1e30"):
        with pytest.raises(UsageError, match="cannot be read"):
            again.seconds([wrong])


def test_a_bundle_is_the_run_elsewhere(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "lost.ktstr-run"
    bundle(run, path)
    there = unbundle(path)
    assert again.read_kept(there) == again.read_kept(run)
    assert unbundle(path) == there
    with pytest.raises(UsageError, match="there already"):
        bundle(run, path)


def test_a_bundle_that_was_cut_or_changed_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "lost.ktstr-run"
    bundle(run, path)
    whole = path.read_bytes()
    for broken in (
        b"",
        whole[:-30],
        whole[: len(whole) // 2],
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
    ):
        path.write_bytes(broken)
        with pytest.raises(UsageError):
            unbundle(path)


def test_an_instant_leaves_out_what_a_person_froze() -> None:
    pause = Pause(total_us=1.0)
    recorded: list[ev.Event] = [
        ev.Frozen(reason="f", mono_ns=2 * SECOND, seq=1),
        ev.Thawed(reason="f", pause=pause, mono_ns=5 * SECOND, seq=2),
        ev.WatchpointHit(slot=0, expression="scx_root", vcpu=0, value=1, old=0, mono_ns=6 * SECOND, seq=3),
        ev.WatchpointHit(slot=1, expression="jiffies", vcpu=0, value=1, old=0, mono_ns=7 * SECOND, seq=4),
        ev.SchedulerChanged(change="ejected", mono_ns=8 * SECOND, seq=5),
    ]
    assert instants.instant_of(recorded, instants.of_ejection, "ejection") == 5 * SECOND
    assert instants.instant_of(recorded, instants.of_watch_hit(1), "hit") == 4 * SECOND
    assert instants.instant_of(recorded, instants.of_event(2), "event") == 2 * SECOND
    with pytest.raises(UsageError, match="no capture x"):
        instants.instant_of(recorded, instants.of_capture("x"), "capture x")


def test_an_instant_of_a_later_boot_is_refused() -> None:
    recorded: list[ev.Event] = [
        ev.SchedulerChanged(seq=1, mono_ns=SECOND, change="attached", name="lost"),
        ev.GuestRestarted(seq=2, mono_ns=2 * SECOND, boot=2, reason="asked for"),
        ev.SchedulerChanged(seq=3, mono_ns=3 * SECOND, change="ejected", name="lost"),
    ]
    assert instants.instant_of(recorded, instants.of_event(1), "event 1") == SECOND
    with pytest.raises(
        UsageError, match="the ejection was in boot 2 of the run, and a rerun has the first one"
    ):
        instants.instant_of(recorded, instants.of_ejection, "ejection")


def test_a_time_of_the_run_without_what_a_person_froze_before_it() -> None:
    pause = Pause(total_us=1.0)
    recorded: list[ev.Event] = [
        ev.Frozen(reason="f", mono_ns=2 * SECOND, seq=1),
        ev.Thawed(reason="f", pause=pause, mono_ns=5 * SECOND, seq=2),
        ev.Frozen(reason="f", mono_ns=8 * SECOND, seq=3),
    ]
    at = {it: instants.without_freezes(recorded, it * SECOND) / SECOND for it in (1, 3, 7, 10)}
    assert at == {1: 1, 3: 2, 7: 4, 10: 5}
    assert instants.without_freezes([], 3) == 3


def test_the_first_difference() -> None:
    assert instants.difference([1, 2], [1, 2]) is None
    assert instants.difference([1, 2], [1, 3]) == (1, 2, 3)
    assert instants.difference([1], [1, 3]) == (1, None, 3)


def test_events_are_the_same_but_for_the_host() -> None:
    def sampled(read_us: float, jiffies: int) -> ev.Sampled:
        return ev.Sampled(
            sample=Sample(cpus=(), scheduler=SchedulerSample(), read_us=read_us, jiffies=jiffies),
            seq=int(read_us),
        )

    assert instants.of_the_guest(sampled(1, 5)) == instants.of_the_guest(sampled(2, 5))
    assert instants.of_the_guest(sampled(1, 5)) != instants.of_the_guest(sampled(1, 6))
    assert instants.of_the_guest(ev.Logged(severity="info", source="seed", text="identical")) is None
    assert instants.of_the_guest(ev.AlertCleared(key="host", kind="host")) is None
    assert instants.of_the_guest(ev.AlertCleared(key="age", kind="runnable-age")) is not None
    assert instants.of_the_guest(ev.BootMaking(spent_ms=1.0, guest_ms=1.0)) is None
    assert instants.of_the_guest(ev.OutputText(stream="boot", text="[ 0.1] Linux")) is None
    assert instants.of_the_guest(ev.OutputText(stream="console", text="[ 0.1] Linux")) is not None


def snapshot_of(run: Path, again_at_ns: int | None) -> Found:
    """A snapshot in the store of a run."""
    store = SnapshotStore(run / DIRECTORY)
    copy = RamCopy([])
    told = msgspec.structs.replace(info("lost"), again_at_ns=again_at_ns)
    parts = Parts(
        state=b"",
        initrd=INITRD,
        run_files=None,
        report=b"{}",
        plan=b"{}",
        config=b"{}",
        vmcoreinfo=b"",
        elapsed_ns=None,
        step=None,
    )
    write_snapshot(store, copy, parts, told)
    return Found(store, "lost")


def test_a_snapshot_without_its_machine_is_restored_by_the_run_that_it_lies_in(run: Path) -> None:
    found = snapshot_of(run, 3 * SECOND)
    config = again_of(found)
    assert config is not None
    assert (config.again, config.freeze_at_ns, config.restores_again) == (str(run), 3 * SECOND, True)
    assert config.restored_from == "tour/lost"
    assert config.determinism == Determinism(7)
    elsewhere = RemoteStore(found.store.directory, cast("Remote", SimpleNamespace(run="far/lost")))
    with pytest.raises(UsageError, match="where it was"):
        again_of(Found(elsewhere, "lost"))
    (run / IDENTITY_FILE).unlink()
    with pytest.raises(UsageError, match="what that run kept is not in"):
        again_of(found)


def test_a_snapshot_with_its_machine_needs_no_run(run: Path) -> None:
    assert again_of(snapshot_of(run, None)) is None
