"""The private apt root: whose mirror is taken, and that nothing unverified is."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from ktstr_tui.guest import libbpf
from ktstr_tui.guest.apt import AptRoot, Archive, machine_archive
from ktstr_tui.guest.aptsources import AptSource, parse_deb822, parse_one_line
from ktstr_tui.guest.debian_version import parse_version
from ktstr_tui.guest.unpack import extract
from ktstr_tui.model.errors import HostError, UsageError

DEBIAN = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n"
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n'

DEBIAN_DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
UBUNTU_DEB822 = """\
# See the manual page
Types: deb
URIs: http://mirror.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/ubuntu/
Suites: noble
Components: main

Types: deb-src
URIs: http://source.example/ubuntu/
Suites: noble
Components: main
"""
UBUNTU_ONE_LINE = """\
# deb cdrom:[Ubuntu 22.04]/ jammy main
deb http://mirror.example/ubuntu noble main restricted
# deb-src http://mirror.example/ubuntu noble main restricted
deb http://mirror.example/ubuntu noble-updates main restricted
deb [arch=amd64 signed-by=/etc/apt/keyrings/other.gpg] https://other.example/linux/ubuntu noble stable
"""
THIRD_PARTY = "deb [signed-by=/etc/apt/keyrings/corp.gpg] https://corp.example/debian bookworm main\n"


def machine(place: Path, os_release: str, files: dict[str, str]) -> tuple[Path, Path]:
    """An ``/etc`` and a directory of keyrings as `machine_archive` takes them."""
    etc, rings = place / "etc", place / "keyrings"
    (etc / "apt/sources.list.d").mkdir(parents=True)
    rings.mkdir()
    for name in ("debian", "ubuntu"):
        (rings / f"{name}-archive-keyring.gpg").touch()
    (etc / "os-release").write_text(os_release)
    for name, text in files.items():
        (etc / "apt" / name).write_text(text)
    return etc, rings


def test_deb822_form() -> None:
    assert list(parse_deb822(UBUNTU_DEB822)) == [
        AptSource(
            "http://mirror.example/ubuntu/",
            ("noble", "noble-updates", "noble-backports"),
            ("main", "restricted", "universe", "multiverse"),
            "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        )
    ]
    assert [s.suites for s in parse_deb822(DEBIAN_DEB822)] == [
        ("bookworm", "bookworm-updates"),
        ("bookworm-security",),
    ]


def test_deb822_embedded_key_is_one_field() -> None:
    text = (
        "Types: deb\nURIs: http://a.example\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n"
    )
    (source,) = parse_deb822(text)
    assert source.signed_by == "\n-----BEGIN\n.\nabc"


def test_one_line_form() -> None:
    uris = [(s.uri, s.suites, s.signed_by) for s in parse_one_line(UBUNTU_ONE_LINE)]
    assert uris == [
        ("http://mirror.example/ubuntu", ("noble",), ""),
        ("http://mirror.example/ubuntu", ("noble-updates",), ""),
        ("https://other.example/linux/ubuntu", ("noble",), "/etc/apt/keyrings/other.gpg"),
    ]


@pytest.mark.parametrize(
    ("os_release", "files", "expected"),
    [
        (DEBIAN, {"sources.list.d/debian.sources": DEBIAN_DEB822}, ("debian", "bookworm", "/debian")),
        (UBUNTU, {"sources.list.d/ubuntu.sources": UBUNTU_DEB822}, ("ubuntu", "noble", "/ubuntu/")),
        (UBUNTU, {"sources.list": UBUNTU_ONE_LINE}, ("ubuntu", "noble", "/ubuntu")),
        (MINT, {"sources.list": UBUNTU_ONE_LINE}, ("ubuntu", "noble", "/ubuntu")),
        (
            DEBIAN,
            {"sources.list.d/a-corp.list": THIRD_PARTY, "sources.list.d/debian.sources": DEBIAN_DEB822},
            ("debian", "bookworm", "/debian"),
        ),
    ],
    ids=["debian", "ubuntu", "ubuntu-one-line", "derivative", "third-party"],
)
def test_machine_archive_is_the_distributions(
    os_release: str, files: dict[str, str], expected: tuple[str, str, str], tmp_path: Path
) -> None:
    distribution, codename, path = expected
    archive = machine_archive(*machine(tmp_path, os_release, files))
    assert (archive.distribution, archive.codename) == (distribution, codename)
    assert archive.uri == f"http://mirror.example{path}"
    assert archive.signed_by == tmp_path / "keyrings" / f"{distribution}-archive-keyring.gpg"


@pytest.mark.parametrize(
    ("os_release", "files"),
    [(DEBIAN, {"sources.list": THIRD_PARTY}), (DEBIAN, {}), ("ID=fedora\n", {}), ("", {})],
    ids=["only-third-party", "no-sources", "other-distribution", "no-os-release"],
)
def test_machine_without_a_usable_archive(os_release: str, files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(HostError) as raised:
        machine_archive(*machine(tmp_path, os_release, files))
    assert raised.value.hint


def make_package(place: Path) -> Path:
    tree = place / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: probe\nVersion: 1:2.0-1\nArchitecture: amd64\nMaintainer: nobody\nDescription: probe\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr/probe").write_text("probe\n")
    deb = place / "probe.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
    return deb


def make_unsigned_archive(place: Path) -> Archive:
    """A complete archive with one package and correct hashes, which nobody signed."""
    deb = make_package(place)
    data = deb.read_bytes()
    pool, index = place / "archive/pool", place / "archive/dists/here/main/binary-amd64"
    pool.mkdir(parents=True)
    index.mkdir(parents=True)
    (pool / "probe.deb").write_bytes(data)
    packages = (
        "Package: probe\nVersion: 1:2.0-1\nArchitecture: amd64\nFilename: pool/probe.deb\n"
        f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    (index / "Packages").write_text(packages)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    (index.parents[1] / "Release").write_text(
        "Suite: here\nCodename: here\nComponents: main\nArchitectures: amd64\n"
        f"SHA256:\n {digest} {len(packages)} main/binary-amd64/Packages\n"
    )
    ring = place / "ring.gpg"
    ring.touch()
    return Archive("debian", "here", f"file:{place}/archive", ring, ("main",))


def test_unverified_archive_is_never_used(tmp_path: Path) -> None:
    root = AptRoot(tmp_path / "root", ["here", "nowhere"], make_unsigned_archive(tmp_path))
    with pytest.raises(HostError, match="here, nowhere") as raised:
        root.update()
    assert "not signed" in raised.value.message
    assert set(root.skipped) == {"here", "nowhere"}
    assert root.candidates("probe") == []
    with pytest.raises(HostError, match="no package probe"):
        root.download("probe", tmp_path / "debs")
    assert not list(tmp_path.glob("debs/*.deb"))


def test_extract(tmp_path: Path) -> None:
    extract(make_package(tmp_path), tmp_path / "out/deep")
    assert (tmp_path / "out/deep/usr/probe").read_text() == "probe\n"


def test_extract_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "no.deb").write_text("not an archive")
    with pytest.raises(HostError, match=r"cannot unpack no\.deb"):
        extract(tmp_path / "no.deb", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1:1.4.6-1~bpo12+1", (1, 4, 6)),
        ("1:1.1.2-0+deb12u1", (1, 1, 2)),
        (" 1.5.0\n", (1, 5, 0)),
        ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", (7, 2, 22)),
        ("new", ()),
    ],
)
def test_upstream_version(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def make_libbpf(prefix: Path, version: str, directory: str) -> Path:
    (prefix / "include/bpf").mkdir(parents=True)
    (prefix / "include/bpf/libbpf.h").touch()
    (prefix / directory / "pkgconfig").mkdir(parents=True)
    (prefix / directory / "libbpf.a").touch()
    (prefix / directory / "pkgconfig/libbpf.pc").write_text(f"Name: libbpf\nVersion: {version}\n")
    return prefix


@pytest.mark.parametrize("directory", ["lib", "lib64", "lib/x86_64-linux-gnu"])
def test_libbpf_named_by_the_user(directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = make_libbpf(tmp_path, "1.4.0", directory)
    monkeypatch.setenv("KTSTR_LIBBPF", str(prefix))
    assert libbpf.find(lambda line: pytest.fail(f"nothing to say: {line}")) == prefix


def test_libbpf_named_by_the_user_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTSTR_LIBBPF", str(make_libbpf(tmp_path, "1.3.9", "lib")))
    with pytest.raises(UsageError, match=r"1\.3\.9"):
        libbpf.find(print)


def test_newest_fetched_libbpf_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KTSTR_LIBBPF", raising=False)
    monkeypatch.setattr(libbpf, "PREFIXES", ())
    cache = tmp_path / "ktstr-tui/libbpf"
    for version in ("1.4.6", "1.10.0", "1.9.1", "1.2.0"):
        make_libbpf(cache / version / "usr", version, "lib")
    (cache / ".work-left-over").mkdir()
    assert libbpf.find(print) == cache / "1.10.0/usr"
