"""The cpio writer against an independent reader, and where the build's results are looked for."""

from __future__ import annotations

import gzip
import stat
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest.guest_files import GuestFile, SchedulerPayload
from ktstr_tui.guest.initramfs import (
    DEMOS,
    GUEST_DIR_VARIABLE,
    PLAN_PATH,
    build_initramfs,
    guest_artifacts,
    pack_cpio,
)
from ktstr_tui.model.errors import HostError, InternalError


class Entry(NamedTuple):
    """A cpio entry as the kernel's unpacker sees it."""

    mode: int
    content: bytes
    device: tuple[int, int]
    inode: int


def unpack(archive: bytes) -> dict[str, Entry]:
    """Read a newc archive by the kernel's rules (Documentation/driver-api/early-userspace/buffer-format)."""
    entries: dict[str, Entry] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, _, _, _, mtime, size, _, _, major, minor, name_size, _ = fields
        assert mtime == 0
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        start = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(start + size) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return entries
        path = name[:-1].decode()
        parent = path.rpartition("/")[0]
        assert not parent or stat.S_ISDIR(entries[parent].mode), "a directory comes before what is in it"
        assert path not in entries
        entries[path] = Entry(mode, archive[start : start + size], (major, minor), inode)


part = st.text("abcXYZ019._-é", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
# Top-level names that no directory has, so that a file never stands where a directory must be.
paths = st.lists(part, min_size=1, max_size=4).map(
    lambda parts: "/" + "/d".join([*parts[:-1], "f" + parts[-1]])
)
files = st.dictionaries(paths, st.tuples(st.sampled_from([0o600, 0o644, 0o755]), st.binary(max_size=300)))


@given(files)
def test_every_file_comes_out_as_it_went_in(content: dict[str, tuple[int, bytes]]) -> None:
    directories = {str(parent) for path in content for parent in Path(path).parents}
    content = {path: file for path, file in content.items() if path not in directories}
    entries = unpack(pack_cpio(content))
    for path, (mode, data) in content.items():
        entry = entries[path.lstrip("/")]
        assert (entry.mode, entry.content) == (stat.S_IFREG | mode, data)
    others = entries.keys() - {path.lstrip("/") for path in content} - {"dev/console"}
    assert all(stat.S_ISDIR(entries[path].mode) for path in others)
    assert len({entry.inode for entry in entries.values()}) == len(entries)


@given(files, st.randoms())
def test_the_order_of_the_input_does_not_matter(
    content: dict[str, tuple[int, bytes]], random: object
) -> None:
    items = list(content.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert pack_cpio(dict(items)) == pack_cpio(content)


def test_the_guest_has_its_directories_and_a_console() -> None:
    entries = unpack(pack_cpio({}))
    assert {"dev", "proc", "run", "sys", "tmp"} <= entries.keys()
    assert entries["dev/console"][:3] == (stat.S_IFCHR | 0o600, b"", (5, 1))


def payload(content: bytes) -> SchedulerPayload:
    """A scheduler with one library."""
    return SchedulerPayload("x", "program", {"/lib64/ld.so": GuestFile(content, 0o755)}, ("/x",))


def test_the_initramfs_holds_agent_plan_and_payloads(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    archive = build_initramfs(agent, b"plan", [payload(b"1"), payload(b"1")])
    entries = unpack(archive)
    assert entries["init"][:2] == (stat.S_IFREG | 0o755, b"agent")
    assert entries[PLAN_PATH.lstrip("/")].content == b"plan"
    assert entries["lib64/ld.so"].content == b"1"
    packed = build_initramfs(agent, b"plan", [payload(b"1")], compress=True)
    assert gzip.decompress(packed) == archive
    assert packed == build_initramfs(agent, b"plan", [payload(b"1")], compress=True)


def test_two_different_files_at_one_path_are_a_defect(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    with pytest.raises(InternalError, match=r"/lib64/ld\.so"):
        build_initramfs(agent, b"", [payload(b"1"), payload(b"2")])


def test_an_unreadable_agent_is_the_hosts_fault(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="agent cannot be read"):
        build_initramfs(tmp_path / "agent", b"", [])


def test_artifacts_are_found_or_missed_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GUEST_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(HostError, match="ktstr-agent is missing") as error:
        guest_artifacts()
    assert "./scripts/setup" in error.value.hint
    assert f"unset {GUEST_DIR_VARIABLE}" in error.value.hint
    for name in ("ktstr-agent", *(f"{demo}.bpf.o" for demo in DEMOS)):
        (tmp_path / name).touch()
    found = guest_artifacts()
    assert found.agent == tmp_path / "ktstr-agent"
    assert found.demos == {demo: tmp_path / f"{demo}.bpf.o" for demo in DEMOS}


def test_artifacts_are_part_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GUEST_DIR_VARIABLE, raising=False)
    assert guest_artifacts().agent.parent == Path(str(resources.files("ktstr_tui.guest"))) / "data"
