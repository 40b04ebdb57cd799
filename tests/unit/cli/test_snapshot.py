"""``ktstr-tui snapshot``: what it prints of stores on disk, and what it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from ktstr_tui.backend.prepare_restore import again_of
from ktstr_tui.cli.snapshot import app
from ktstr_tui.memory.find import find_snapshot
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.store import PAGES, SnapshotStore
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.report import CaptureReport
from tests.unit.memory.made_up import info, page, ram, store_one
from tests.unit.memory.serving import served


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    """Two snapshots of a run; of the second, one page of four differs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = SnapshotStore(tmp_path / "ktstr-tui/runs/tour-1/snapshots")
    for name, last in (("before", 3), ("after", 4)):
        report = msgspec.json.encode(CaptureReport(tag=name, trigger="on-demand"))
        store_one(made, name, ram(1, 0, 2, last), report=report)
    return made


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def data(*arguments: str) -> Any:  # noqa: ANN401
    return json.loads(call(*arguments, "--json"))


def test_list_show_and_keep(store: SnapshotStore) -> None:
    assert [(it["run"], it["name"], it["kept"]) for it in data("list")] == [
        ("tour-1", "before", False),
        ("tour-1", "after", False),
    ]
    assert "tour-1/after  kept" not in call("list")
    assert call("keep", "after") == "tour-1/after is kept\n"
    assert "tour-1/after  kept  made up, demo:stall, 7.2.12" in call("list")
    assert data("show", "tour-1/after")["pages"] == 3
    assert data("keep", "after", "--undo") == {"run": "tour-1", "name": "after", "kept": False}


def test_diff_counts_pages_and_compares_the_captures(store: SnapshotStore) -> None:
    found = data("diff", "before", "after")
    assert (found["changed_pages"], found["pages"]) == (1, 4)
    assert (found["captures"]["before"], found["captures"]["after"]) == ("before", "after")
    assert call("diff", "before", "after").startswith("1 of 4 pages differ\n")


def test_damage_is_named_and_the_other_snapshot_is_whole(store: SnapshotStore) -> None:
    assert [it["damage"] for it in data("verify")] == [[], []]
    pages = bytearray((store.directory / PAGES).read_bytes())
    pages[-10] ^= 1  # in the page that only the second one has
    (store.directory / PAGES).write_bytes(pages)
    with pytest.raises(HostError, match="damaged: after"):
        call("verify")
    assert "whole" in call("verify", "before")


def test_export_writes_the_memory_and_no_file_of_a_damaged_one(store: SnapshotStore, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    assert data("export", "after", str(out), "--raw")["data_bytes"] == 3 * PAGE_BYTES
    assert out.read_bytes() == ram(1, 0, 2, 4)
    with pytest.raises(UsageError, match="is there already"):
        call("export", "after", str(out), "--raw")
    pages = bytearray((store.directory / PAGES).read_bytes())
    pages[60] ^= 1  # in the first page
    (store.directory / PAGES).write_bytes(pages)
    with pytest.raises(HostError, match=r"not what was stored|cannot be read"):
        call("export", "after", str(tmp_path / "other"), "--raw")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("form", ["--raw", "--vmcore"])
def test_what_is_exported_is_its_owners_alone_as_the_store_is(
    form: str, store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ktstr_tui.memory.vmcore.find_vmcoreinfo", lambda ram: b"OSRELEASE=7.2.12\n")
    monkeypatch.setattr("ktstr_tui.memory.vmcore.direct_map_of", lambda ram, note: 0xFFFF888000000000)
    out, before = tmp_path / "out", os.umask(0)
    try:
        assert data("export", "after", str(out), form)["data_bytes"] == 3 * PAGE_BYTES
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="is there already"):
        call("export", "after", str(out), form)
    with pytest.raises(HostError, match="none/out cannot be written: No such file"):
        call("export", "after", str(tmp_path / "none/out"), form)


def test_rm_gives_back_what_only_the_removed_one_had(store: SnapshotStore) -> None:
    store_one(store, "large", b"".join(page(it) for it in range(10, 200)))
    freed = data("rm", "large")
    assert freed["removed"] == ["tour-1/large"]
    assert freed["freed_bytes"] > 0
    assert store.names() == ["before", "after"]
    assert [it["damage"] for it in data("verify")] == [[], []]
    with pytest.raises(UsageError, match="no snapshot large"):
        find_snapshot("large")


def test_snapshots_of_a_run_elsewhere_are_named_by_its_sockets(store: SnapshotStore, tmp_path: Path) -> None:
    far = tmp_path / "far"
    with pytest.raises(UsageError, match="not the directory of a run's sockets"):
        data("list", str(tmp_path))
    with served(store, far, "afar"):
        assert [(it["run"], it["name"]) for it in data("list", str(far))] == [
            ("afar", "before"),
            ("afar", "after"),
        ]
        assert call("list", str(far)).startswith("afar/before  made up, demo:stall")
        shown = data("show", f"{far}/after")
        assert (shown["pages"], shown["pages_here"]) == (3, 0)
        assert data("diff", f"{far}/before", f"{far}/after")["changed_pages"] == 1
        done = CliRunner().invoke(app, ["export", f"{far}/after", str(tmp_path / "image"), "--raw"])
        assert "3 of 3 are here now" in done.stderr
        assert data("show", f"{far}/after")["pages_here"] == 3
        for command in ("keep", "rm"):
            with pytest.raises(UsageError, match="lies where its run is"):
                call(command, f"{far}/after")
    assert store.names() == ["before", "after"]


def test_a_snapshot_is_found_by_the_name_of_its_run_too(store: SnapshotStore, tmp_path: Path) -> None:
    runs = store.directory.parent.parent
    store.directory.parent.rename(runs / "tour-20261130-101112")
    assert find_snapshot("tour/after").name == "after"
    store_one(SnapshotStore(runs / "tour-20261130-101113.5/snapshots"), "after", ram(1))
    with pytest.raises(UsageError, match="may be several"):
        find_snapshot("tour/after")
    assert find_snapshot("tour-20261130-101112/after").run == "tour-20261130-101112"
    with pytest.raises(UsageError, match="no snapshot mine/before; there is tour-20261130-101112/before"):
        find_snapshot("mine/before")
    with pytest.raises(UsageError, match="'' names no snapshot"):
        find_snapshot("")


def test_snapshots_of_two_runs_are_compared_without_a_time_between_them(
    store: SnapshotStore, tmp_path: Path
) -> None:
    other = SnapshotStore(tmp_path / "ktstr-tui/runs/other-1/snapshots")
    report = msgspec.json.encode(CaptureReport(tag="third", trigger="on-demand", mono_ns=5))
    about = msgspec.structs.replace(info("third"), run_id="another")
    store_one(other, "third", ram(1, 0, 2, 3), about, report=report)
    captures = data("diff", "before", "third")["captures"]
    assert captures["between_ms"] is None
    assert "two" in captures["notes"]["runs"]


def test_rm_takes_a_name_twice_and_says_what_it_could_not_give_back(store: SnapshotStore) -> None:
    with store.writing():
        done = CliRunner().invoke(app, ["rm", "before", "before", "--json"])
    assert isinstance(done.exception, HostError)
    assert "somebody else writes" in done.exception.message
    found = json.loads(done.stdout)
    assert (found["removed"], found["freed_bytes"]) == (["tour-1/before"], 0)
    assert data("gc")["freed_bytes"] > 0


def test_gc_goes_on_behind_a_store_that_is_in_use(store: SnapshotStore, tmp_path: Path) -> None:
    other = SnapshotStore(tmp_path / "ktstr-tui/runs/zz-1/snapshots")
    store_one(other, "third", ram(7, 8))
    other.remove("third")
    with store.writing():
        done = CliRunner().invoke(app, ["gc", "--json"])
    assert isinstance(done.exception, HostError)
    assert json.loads(done.stdout)["freed_bytes"] > 0


def test_a_snapshot_of_a_run_with_a_seed_needs_what_that_run_kept(store: SnapshotStore) -> None:
    store_one(store, "seeded", ram(1), msgspec.structs.replace(info("seeded"), again_at_ns=5))
    with pytest.raises(UsageError, match=f"what that run kept is not in {store.directory.parent}"):
        again_of(find_snapshot("seeded"))
