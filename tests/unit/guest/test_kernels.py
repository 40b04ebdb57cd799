"""Choosing and caching kernels; the order of versions against dpkg's own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktstr_tui.guest import kernels
from ktstr_tui.guest.debian_version import version_key
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.kernels import (
    KernelOffer,
    cached_kernels,
    fetch_kernel,
    find_cached,
    group_offers,
    kernel_of_content,
    matches,
    resolve_kernel,
    use_kernel,
)
from ktstr_tui.model.errors import HostError, UsageError

NAMES = [
    "linux-binary-6.19.14+deb13-amd64",
    "linux-binary-7.2.9+deb13-amd64",
    "linux-binary-7.2.12+deb14-amd64",
    "linux-binary-7.2.13+deb14-cloud-amd64",
    "linux-binary-7.2.13+deb14-rt-amd64",
    "linux-binary-unsigned-7.2.12+deb14-amd64",
    "linux-image-7.2.12+deb14-amd64",
    "linux-image-7.2.12+deb14-amd64-dbg",
    "linux-image-6.12.95+deb12-amd64-unsigned",
    "linux-image-amd64",
    "linux-image-unsigned-6.17.0-14-generic",
    "linux-image-6.17.0-14-generic",
]


@pytest.fixture
def kernels_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; any file counts as a kernel with sched_ext unless it says ``old``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def open_fake(path: Path) -> KernelImage:
        old = path.read_text() == "old"
        return KernelImage(path, path.parent.name, b"btf", not old, None)

    monkeypatch.setattr(kernels, "open_image", open_fake)
    return tmp_path / "ktstr-tui/kernels"


def add(kernels_dir: Path, *releases: str) -> None:
    for release in releases:
        (kernels_dir / release).mkdir(parents=True)
        (kernels_dir / release / "vmlinuz").write_text("kernel")


class FakeRoot:
    """An archive of packages, each a directory tree that is 'downloaded' by name."""

    archive = type("Archive", (), {"uri": "archive:"})()

    def __init__(self, content: dict[str, str | None]) -> None:
        self.content = content
        self.downloaded: list[str] = []

    def candidates(self, package: str) -> list[tuple[str, str]]:
        return [("1.0", "testing")] if package in self.content else []

    def names(self, pattern: str) -> list[str]:
        return sorted(name for name in self.content if re.search(pattern, name))

    def download(self, package: str, into: Path, version: str | None = None) -> Path:
        assert version == "1.0"
        self.downloaded.append(package)
        return into / package


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> FakeRoot:
    root = FakeRoot(
        {
            "linux-binary-unsigned-7.3.0+x-amd64": "old",
            "linux-image-7.2.0+x-amd64": "kernel",
            "linux-binary-7.2.0+x-amd64": None,
            "linux-base-7.2.0+x-amd64": "CONFIG_HZ=250\n",
            "linux-image-6.19.1+x-amd64": "kernel",
        }
    )

    def extract(deb: Path, into: Path) -> None:
        into.mkdir()
        content = root.content[deb.name]
        if content is not None and content.startswith("CONFIG_"):
            (into / "usr/lib/modules/7.2.0").mkdir(parents=True)
            (into / "usr/lib/modules/7.2.0/config").write_text(content)
        elif content is not None:
            (into / "boot").mkdir()
            (into / "boot/vmlinuz-1").write_text(content)
            if "6.19" in deb.name:
                (into / "boot/config-1").write_text("CONFIG_HZ=1000\n")

    machine = type("Archive", (), {"distribution": "debian", "codename": "bookworm"})
    monkeypatch.setattr(kernels, "machine_archive", machine)
    monkeypatch.setattr(kernels, "_apt_root", lambda *_: root)
    monkeypatch.setattr(kernels, "extract", extract)
    return root


def test_offers_are_grouped_by_release_newest_first() -> None:
    offers = group_offers(NAMES)
    assert offers[0] == KernelOffer(
        "7.2.12+deb14-amd64",
        (
            "linux-binary-unsigned-7.2.12+deb14-amd64",
            "linux-binary-7.2.12+deb14-amd64",
            "linux-image-7.2.12+deb14-amd64",
        ),
    )
    assert [offer.release for offer in offers[1:]] == [
        "7.2.9+deb13-amd64",
        "6.19.14+deb13-amd64",
        "6.17.0-14-generic",
        "6.12.95+deb12-amd64",
    ]
    assert offers[3].packages[0] == "linux-image-unsigned-6.17.0-14-generic"


@pytest.mark.parametrize(
    ("release", "prefix", "expected"),
    [
        ("6.19.14+deb13-amd64", "6.19", True),
        ("6.19.14+deb13-amd64", "6.1", False),
        ("6.19.14+deb13-amd64", "6.19.14+deb13-amd64", True),
        ("6.19.14+deb13-amd64", "6", True),
        ("7.2.12", "6", False),
    ],
)
def test_prefixes_end_at_boundaries(release: str, prefix: str, expected: bool) -> None:
    assert matches(release, prefix) is expected


def test_an_empty_cache_says_what_to_do(kernels_dir: Path) -> None:
    assert cached_kernels() == []
    with pytest.raises(HostError, match="no kernel is cached") as caught:
        resolve_kernel(None)
    assert "kernel fetch" in caught.value.hint


def test_list_use_and_resolve(kernels_dir: Path) -> None:
    add(kernels_dir, "6.19.14+deb13-amd64", "7.2.12+deb14-amd64", "7.10.1-amd64")
    assert [kernel.release for kernel in cached_kernels()] == [
        "7.10.1-amd64",
        "7.2.12+deb14-amd64",
        "6.19.14+deb13-amd64",
    ]
    assert resolve_kernel(None).release == "7.10.1-amd64", "the newest when none is current"
    assert use_kernel("6.19").current
    assert resolve_kernel(None).release == "6.19.14+deb13-amd64"
    assert resolve_kernel("7.2").release == "7.2.12+deb14-amd64"
    assert [kernel.current for kernel in cached_kernels()] == [False, False, True]
    with pytest.raises(UsageError, match=r"no cached kernel '7.3' \(cached: 7.10.1-amd64, ") as caught:
        find_cached("7.3")
    assert caught.value.hint == "ktstr-tui kernel fetch --release 7.3"


def test_a_path_is_taken_as_it_is(kernels_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/image").write_text("old")
    with pytest.raises(UsageError, match="no sched_ext"):
        resolve_kernel(str(tmp_path / "tree/image"))


def test_a_kernel_that_ran_elsewhere_is_found_by_its_content(kernels_dir: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine/vmlinuz"
    add(kernels_dir, "6.19.14+deb13-amd64", "7.2.12+deb14-amd64")
    (kernels_dir / "6.19.14+deb13-amd64/vmlinuz").write_text("another")
    digest = hashlib.sha256(b"another").hexdigest()
    assert kernel_of_content(str(mine), digest).release == "6.19.14+deb13-amd64"
    mine.parent.mkdir()
    mine.write_text("another")
    assert kernel_of_content(str(mine), digest).path_to_boot == mine
    mine.write_text("replaced")
    (kernels_dir / "6.19.14+deb13-amd64/vmlinuz").write_text("newer")
    with pytest.raises(UsageError, match=f"kernel 6.19 of .* is not here: neither is it {mine}") as caught:
        kernel_of_content(str(mine), digest, "6.19")
    assert "kernel fetch --release 6.19" in caught.value.hint


def test_fetch_goes_on_until_a_kernel_has_sched_ext(kernels_dir: Path, archive: FakeRoot) -> None:
    said: list[str] = []
    fetched = fetch_kernel(said.append)
    assert (fetched.release, fetched.current) == ("7.2.0+x-amd64", True)
    # 7.3.0 has none, and the first package of 7.2.0 holds no kernel at all.
    assert archive.downloaded == [
        "linux-binary-unsigned-7.3.0+x-amd64",
        "linux-binary-7.2.0+x-amd64",
        "linux-image-7.2.0+x-amd64",
        "linux-base-7.2.0+x-amd64",
    ]
    assert any("7.3.0+x-amd64" in line and "no sched_ext" in line for line in said)
    assert (fetched.package, fetched.version, fetched.suite) == (
        "linux-image-7.2.0+x-amd64",
        "1.0",
        "testing",
    )
    assert [path.name for path in kernels_dir.iterdir() if path.name.startswith(".")] == [], (
        "nothing is left over"
    )


def test_a_named_release_does_not_become_current(kernels_dir: Path, archive: FakeRoot) -> None:
    fetch_kernel(lambda _: None)
    fetched = fetch_kernel(lambda _: None, "6.19")
    assert (fetched.release, fetched.current) == ("6.19.1+x-amd64", False)
    archive.downloaded.clear()
    fetch_kernel(lambda _: None, "6.19")
    assert archive.downloaded == [], "what is cached is not fetched again"
    with pytest.raises(UsageError, match=r"no kernel 5\.4"):
        fetch_kernel(lambda _: None, "5.4")


def test_the_configuration_is_kept_beside_the_kernel(kernels_dir: Path, archive: FakeRoot) -> None:
    fetch_kernel(lambda _: None)
    fetch_kernel(lambda _: None, "6.19")
    assert (kernels_dir / "7.2.0+x-amd64/config").read_text() == "CONFIG_HZ=250\n"
    assert (kernels_dir / "6.19.1+x-amd64/config").read_text() == "CONFIG_HZ=1000\n"


def test_a_cached_kernel_without_its_configuration_is_completed(kernels_dir: Path, archive: FakeRoot) -> None:
    add(kernels_dir, "7.2.0+x-amd64", "6.19.1+x-amd64")
    said: list[str] = []
    fetch_kernel(said.append, "7.2.0")
    assert archive.downloaded == ["linux-base-7.2.0+x-amd64"]
    assert (kernels_dir / "7.2.0+x-amd64/config").read_text() == "CONFIG_HZ=250\n"
    fetch_kernel(said.append, "6.19")
    assert "no package holds the configuration of 6.19.1+x-amd64" in said[-1]


def test_nothing_usable_says_what_was_tried(kernels_dir: Path, archive: FakeRoot) -> None:
    archive.content = {"linux-binary-7.3.0+x-amd64": "old"}
    with pytest.raises(HostError, match=r"none of the 1 newest.*no sched_ext"):
        fetch_kernel(lambda _: None)
    assert cached_kernels() == []


versions = st.from_regex(r"[0-9][0-9a-z.+~]{0,8}(-[0-9a-z+~.]{1,4})?", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(versions, versions)
def test_versions_sort_as_dpkg_says(first: str, second: str) -> None:
    dpkg = shutil.which("dpkg")
    assert dpkg is not None
    relation = "lt" if version_key(first) < version_key(second) else "ge"
    assert subprocess.run([dpkg, "--compare-versions", first, relation, second], check=False).returncode == 0


def test_tilde_sorts_before_the_end() -> None:
    ordered = ["7.2~rc1", "7.2", "7.2+deb14", "7.2.1", "7.10", "1:1.0"]
    shuffled = ["7.10", "7.2+deb14", "1:1.0", "7.2", "7.2.1", "7.2~rc1"]
    assert sorted(shuffled, key=version_key) == ordered
