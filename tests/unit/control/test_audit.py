"""The audit: every attempt in the ring and in a chain of hashes, also with a full disk or a killed process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from ktstr_tui.control.audit import MAX_PENDING, RETRY_TICKS, RING, Audit
from ktstr_tui.control.audit_chain import AUDIT_FILE, FIRST_PREV, TORN_FILE, AuditEntry, AuditFile, verify
from tests.unit.ops.full_disk import files_end_at

APPENDER = """
import sys
from pathlib import Path
from ktstr_tui.control.audit import Audit
from ktstr_tui.control.audit_chain import AuditFile
audit = Audit(AuditFile(Path(sys.argv[1])))
while True:
    seq = audit.record("ann@build-7", "freeze", "accepted", "x" * 500).seq
    if seq == 50:
        print("fifty", flush=True)
"""


def opened(directory: Path) -> Audit:
    return Audit(AuditFile(directory), wall=lambda: "2026-01-02T03:04:05.678+00:00")


def lines(directory: Path) -> list[bytes]:
    return (directory / AUDIT_FILE).read_bytes().splitlines()


def test_each_line_names_the_hash_of_the_one_before(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    for request in ("freeze", "thaw", "end"):
        audit.record("ann@build-7", request, "accepted")
    prev = FIRST_PREV
    for line in lines(tmp_path):
        assert json.loads(line)["prev"] == prev
        prev = hashlib.sha256(line).hexdigest()
    report, entries = verify((tmp_path / AUDIT_FILE).read_bytes())
    assert report.proven
    assert report.last_hash == prev
    assert [it.request for it in entries] == ["freeze", "thaw", "end"]
    assert (tmp_path / AUDIT_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("change", "broken"), [("edit", 3), ("remove", 2), ("insert", 3), ("swap", 2)])
def test_a_change_in_the_middle_shows(tmp_path: Path, change: str, broken: int) -> None:
    audit = opened(tmp_path)
    for number in range(5):
        audit.record("ann@build-7", "freeze", "accepted", str(number))
    found = lines(tmp_path)
    match change:
        case "edit":
            found[1] = found[1].replace(b"ann", b"bob")
        case "remove":
            del found[1]
        case "insert":
            found.insert(2, found[1])
        case "swap":
            found[1], found[2] = found[2], found[1]
    report, entries = verify(b"\n".join(found) + b"\n")
    assert not report.proven
    assert report.broken_line == broken
    assert len(entries) == broken - 1


def test_the_ring_keeps_256(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    for _ in range(RING + 10):
        audit.record("ann@build-7", "freeze", "rejected", "no control")
    recent = audit.recent()
    assert [recent[0][0].seq, recent[-1][0].seq, len(recent)] == [11, RING + 10, 256]
    assert not any(pending for _, pending in recent)


def test_chain_pending_on_failure_and_appended_when_space_returns(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    audit.record("ann@build-7", "freeze", "accepted")
    size = (tmp_path / AUDIT_FILE).stat().st_size
    with files_end_at(size + 40):
        second = audit.record("ann@build-7", "thaw", "accepted")
        third = audit.record("ann@build-7", "end", "accepted")
        assert audit.is_pending(second.seq)
        assert audit.is_pending(third.seq)
        assert audit.why_pending
        assert (tmp_path / AUDIT_FILE).stat().st_size == size
    audit.record("ann@build-7", "capture", "accepted")
    report, entries = verify((tmp_path / AUDIT_FILE).read_bytes())
    assert report.proven
    assert [it.seq for it in entries] == [1, 2, 3, 4]
    assert not any(pending for _, pending in audit.recent())


class FullChain:
    """A file that never has room."""

    last_seq = 0

    def append(self, entry: AuditEntry) -> None:
        raise OSError(28, "No space left on device")

    def sync(self) -> None:
        raise OSError(5, "Input/output error")


class Disk:
    """A file that has room when told so, and notes in which thread it is put on the disk."""

    last_seq = 0

    def __init__(self) -> None:
        self.full = False
        self.kept: list[AuditEntry] = []
        self.synced: list[tuple[int, int]] = []
        self.broken = False

    def append(self, entry: AuditEntry) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.kept.append(entry)

    def sync(self) -> None:
        self.synced.append((len(self.kept), threading.get_ident()))
        if self.broken:
            raise OSError(5, "Input/output error")


async def test_every_entry_is_put_on_the_disk_outside_of_the_loops_thread() -> None:
    disk = Disk()
    audit = Audit(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.keep_on_disk)
        for _ in range(3):
            audit.record("ann@build-7", "freeze", "accepted")
            await trio.testing.wait_all_tasks_blocked()
        audit.record("ann@build-7", "end", "accepted")
        nursery.cancel_scope.cancel()
    assert disk.synced[-1][0] == 4, "also what came last, before the run is over"
    assert threading.get_ident() not in {thread for _, thread in disk.synced}


async def test_a_disk_that_does_not_take_it_is_counted_and_ends_nothing() -> None:
    disk = Disk()
    disk.broken = True
    audit = Audit(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.keep_on_disk)
        audit.record("ann@build-7", "freeze", "accepted")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert audit.drops() == {"entries-given-up": 0, "entries-not-synced": 1}


async def test_a_recovery_handler_writes_what_waited_for_room_without_another_command() -> None:
    disk = Disk()
    audit = Audit(disk)
    disk.full = True
    audit.record("ann@build-7", "freeze", "accepted")
    assert audit.is_pending(1)
    assert [await audit.recover() for _ in range(RETRY_TICKS)][-1] == {"waited": 1, "waiting": 1}
    disk.full = False
    assert [await audit.recover() for _ in range(RETRY_TICKS)][-1] == {"waited": 1, "waiting": 0}
    assert [it.seq for it in disk.kept] == [1]
    assert [await audit.recover() for _ in range(2 * RETRY_TICKS)] == [None] * 2 * RETRY_TICKS


async def test_admin_audit_chain_appender_receives_every_recorded_commit() -> None:
    disk = Disk()
    audit = Audit(disk)
    for number in range(5):
        audit.record("ann@build-7", "freeze", "rejected" if number % 2 else "accepted", str(number))
    assert disk.kept == [entry for entry, _pending in audit.recent()]
    assert [it.seq for it in disk.kept] == [1, 2, 3, 4, 5]


async def test_audit_ring_flags_chain_pending_on_appender_failure() -> None:
    audit = Audit(FullChain())
    audit.record("ann@build-7", "freeze", "accepted")
    assert [(entry.seq, pending) for entry, pending in audit.recent()] == [(1, True)]


def test_what_waits_for_room_is_bounded_and_counted() -> None:
    audit = Audit(FullChain())
    for _ in range(MAX_PENDING + 3):
        audit.record("ann@build-7", "freeze", "accepted")
    assert audit.drops() == {"entries-given-up": 3, "entries-not-synced": 0}


def test_given_up_entries_show_as_missing(tmp_path: Path) -> None:
    file = AuditFile(tmp_path)
    for seq in (1, 4):
        file.append(
            AuditEntry(
                seq=seq, at="", operator="ann@build-7", request="freeze", outcome="accepted", reason=""
            )
        )
    report, _ = verify((tmp_path / AUDIT_FILE).read_bytes())
    assert (report.missing, report.broken_line, report.proven) == (2, None, False)


def test_a_torn_last_line_is_cut_kept_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    audit.record("ann@build-7", "freeze", "accepted")
    audit.record("ann@build-7", "thaw", "accepted")
    path = tmp_path / AUDIT_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert verify(path.read_bytes())[0].torn_bytes
    file = AuditFile(tmp_path)
    torn = whole.splitlines()[1][:-19]
    assert file.repaired == len(torn)
    assert (tmp_path / TORN_FILE).read_bytes() == torn + b"\n"
    Audit(file).record("ann@build-7", "end", "accepted")
    report, entries = verify(path.read_bytes())
    assert report.proven
    assert [it.request for it in entries] == ["freeze", "end"]


def test_a_second_start_hides_no_change_made_between(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    for _ in range(3):
        audit.record("ann@build-7", "freeze", "accepted")
    path = tmp_path / AUDIT_FILE
    path.write_bytes(path.read_bytes().replace(b"ann", b"bob", 1))
    file = AuditFile(tmp_path)
    assert file.found is not None
    assert file.found.broken_line == 2
    Audit(file).record("ann@build-7", "end", "accepted")
    assert verify(path.read_bytes())[0].broken_line == 2


def test_a_process_killed_while_it_appends_leaves_a_chain_that_goes_on(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", APPENDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"fifty\n"
        process.kill()
    audit = Audit(AuditFile(tmp_path))
    audit.record("ann@build-7", "end", "accepted")
    report, entries = verify((tmp_path / AUDIT_FILE).read_bytes())
    assert report.proven
    assert len(entries) > 50
    assert entries[-1].request == "end"
