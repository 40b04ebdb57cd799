"""Fetching a QEMU for one user: what is chosen, what comes along, and that what was fetched runs.

The packages are made here, with a small program that is linked as QEMU is: one of its libraries is nowhere on
this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ktstr_tui.guest import qemu_fetch
from ktstr_tui.guest.apt import Archive
from ktstr_tui.guest.qemu_program import PROGRAM, choose_qemu, qemu_version
from ktstr_tui.model.errors import EXIT_HOST, HostError

VERSION, SUITE = "1:10.0.2+ds-2~bpo12+1", "bookworm-backports"
SAYS = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
const char *probe_version(void);
int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[3], "--version"))
		return printf("QEMU emulator version %s (Debian)\\n", probe_version()) < 0;
	for (int i = 1; i < argc; i++)
		printf("%s\\n", argv[i]);
	printf("modules %s, libraries %s\\n", getenv("QEMU_MODULE_DIR"), getenv("LD_LIBRARY_PATH"));
	return STATUS;
}
"""


def build(place: Path, status: int, beside: bool) -> tuple[Path, Path]:
    """The program, and the library that it cannot do without."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    place.mkdir()
    library, program = place / "libktstrprobe.so.7", place / PROGRAM
    (place / "version.c").write_text('const char *probe_version(void) { return "10.0.2"; }\n')
    (place / "program.c").write_text(SAYS)
    shared: list[str] = ["-shared", "-fPIC", "-Wl,-soname,libktstrprobe.so.7"]
    subprocess.run([compiler, *shared, "-o", library, place / "version.c"], check=True)
    # With a run path, the loader finds the library where it was built: as if the system had it.
    options = [f"-DSTATUS={status}", *([f"-Wl,-rpath,{place}"] if beside else [])]
    subprocess.run([compiler, *options, "-o", program, place / "program.c", library], check=True)
    return program, library


def package(place: Path, name: str, files: dict[str, bytes]) -> Path:
    """A Debian package of some files; those below bin are programs."""
    tree = place / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody\nDescription: made\n"
    (tree / "DEBIAN/control").write_text(control)
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
        (tree / path).chmod(0o755 if "/bin/" in path else 0o644)
    deb = place / f"{name}_1_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
    return deb


@dataclass
class Mirror:
    """Stands for the private apt root: packages that were made here, and what was asked for."""

    place: Path
    first: dict[str, Path]
    rest: list[Path]
    offers: list[tuple[str, str]] = field(
        default_factory=lambda: [(VERSION, SUITE), ("1:7.2+dfsg-7", "bookworm")]
    )
    asked: list[str] = field(default_factory=list)

    def update(self, say: Callable[[str], None]) -> None:
        """Be up to date."""

    def candidates(self, name: str) -> list[tuple[str, str]]:
        """What a real one would find."""
        return [("1.16.2-1", "bookworm")] if name == "seabios" else self.offers

    def download(self, name: str, into: Path, version: str | None = None, suite: str | None = None) -> Path:
        """Copy one."""
        self.asked.append(f"{name} {version or suite or 'newest'}")
        into.mkdir(exist_ok=True)
        return Path(shutil.copy(self.first[name], into))

    def download_closure(self, name: str, into: Path, version: str, suite: str) -> list[Path]:
        """Copy all others."""
        self.asked.append(f"all of {name} {version} {suite}")
        for deb in self.rest:
            shutil.copy(deb, into)
        return sorted(into.glob("*.deb"))


MakeMirror = Callable[..., Mirror]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeMirror:
    """Makes a mirror and lets `fetch` use it, on a machine whose PATH has no QEMU and whose cache is empty."""
    (tmp_path / "no-programs").mkdir()
    programs = [p for p in os.environ["PATH"].split(":") if not (Path(p) / PROGRAM).exists()]
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("dpkg-deb", "tar", "xz", "zstd", "cc", "as", "ld", "sh"):
        found = shutil.which(tool)
        if found is not None:
            (tools / tool).symlink_to(found)
    monkeypatch.setenv("PATH", ":".join([str(tools), *programs]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KTSTR_QEMU", raising=False)
    monkeypatch.setattr(
        qemu_fetch, "machine_archive", lambda: Archive("debian", "bookworm", "", tmp_path, ())
    )

    def make(
        status: int = 0,
        firmware: tuple[str, ...] = qemu_fetch.FIRMWARE,
        lost: bool = False,
        installed: bool = False,
    ) -> Mirror:
        program, library = build(tmp_path / "build", status, installed)
        bios = {f"usr/share/seabios/{name}": name.encode() for name in firmware if name.startswith("bios")}
        data = {f"usr/share/qemu/{name}": name.encode() for name in firmware if not name.startswith("bios")}
        module = {"usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so": b"module"}
        first = {
            "qemu-system-x86": package(
                tmp_path, "qemu-system-x86", {f"usr/bin/{PROGRAM}": program.read_bytes(), **module}
            ),
            "qemu-system-data": package(tmp_path, "qemu-system-data", data),
            "seabios": package(tmp_path, "seabios", bios),
        }
        lib = "usr/lib/x86_64-linux-gnu"
        rest = [
            package(tmp_path, "libc6", {f"{lib}/libc.so.6": b"not a library that any loader may meet"}),
            *([] if lost else [package(tmp_path, "libp7", {f"{lib}/{library.name}": library.read_bytes()})]),
        ]
        made = Mirror(tmp_path, first, rest)
        monkeypatch.setattr(qemu_fetch, "AptRoot", lambda *_: made)
        return made

    return make


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([("1:10.0.2+ds-2~bpo12+1", "bookworm-backports"), ("1:7.2+dfsg-7+b3", "bookworm")], 0),
        ([("1:10.2.0+ds-1~bpo13+1", "trixie-backports"), ("1:10.0.13+ds-0", "trixie")], 1),
        ([("1:8.2.2+ds-0ubuntu1.18", "noble-updates"), ("1:8.2.2+ds-0ubuntu1", "noble")], 0),
        ([("1:9.0+ds-1", "trixie"), ("1:8.0.4+dfsg-1", "trixie-updates")], 0),
    ],
)
def test_the_release_is_preferred_when_it_is_new_enough(offers: list[tuple[str, str]], chosen: int) -> None:
    assert qemu_fetch.choose_offer(offers) == offers[chosen]


@pytest.mark.parametrize("offers", [[], [("1:8.0.4+dfsg-1", "here"), ("1:7.2+dfsg-7", "here-backports")]])
def test_a_release_with_old_ones_only_is_named_with_its_versions(offers: list[tuple[str, str]]) -> None:
    with pytest.raises(HostError, match="none at all" if not offers else r"8\.0\.4.*7\.2") as raised:
        qemu_fetch.choose_offer(offers)
    assert "KTSTR_QEMU" in raised.value.hint


def test_a_machine_without_anything_gets_all_of_it(mirror: MakeMirror, tmp_path: Path) -> None:
    asked = mirror().asked
    said: list[str] = []
    found = qemu_fetch.ensure(said.append)
    assert (found.version, found.source, found.threads) == ("10.0.2 (Debian)", "private", "multi")
    place = tmp_path / "cache/ktstr-tui/qemu/10.0.2"
    assert found.program == place / PROGRAM
    assert asked == [
        f"qemu-system-x86 {VERSION}",
        f"qemu-system-data {SUITE}",
        "seabios newest",
        f"all of qemu-system-x86 {VERSION} {SUITE}",
    ]
    assert any("lacks 1 of them, such as libktstrprobe.so.7" in line for line in said)
    assert [path.name for path in (place / "lib").iterdir()] == ["libktstrprobe.so.7"], (
        "and not the C library"
    )
    assert sorted(path.name for path in (place / "share").iterdir()) == sorted(qemu_fetch.FIRMWARE)
    assert [path.name for path in place.parent.iterdir() if path.name != ".lock"] == ["10.0.2"], (
        "no leftovers"
    )
    # Found again without a look at the mirror.
    assert qemu_fetch.ensure(pytest.fail) == choose_qemu() == found
    assert len(asked) == 4


def test_the_script_hands_everything_over(mirror: MakeMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror()
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somebody/elses")
    program = qemu_fetch.ensure(lambda _: None).program
    moved = program.parent.rename(program.parent.with_name("a place, with spaces"))
    done = subprocess.run([moved / PROGRAM, "-x", "a b"], capture_output=True, text=True, check=True)
    *arguments, environment = done.stdout.splitlines()
    assert arguments == ["-L", f"{moved}/share", "-x", "a b"]
    assert environment == f"modules {moved}/modules, libraries {moved}/lib"
    assert (moved / "modules/accel-tcg-x86_64.so").read_bytes() == b"module"
    assert os.environ["LD_LIBRARY_PATH"] == "/somebody/elses"


def test_a_system_that_has_the_libraries_keeps_them(mirror: MakeMirror) -> None:
    asked = mirror(installed=True).asked
    found = qemu_fetch.ensure(lambda _: None)
    assert list((found.program.parent / "lib").iterdir()) == []
    assert len(asked) == 3, "only QEMU and its firmware"


def test_a_fetched_one_that_lost_its_libraries_is_replaced(
    mirror: MakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror()
    found = qemu_fetch.ensure(lambda _: None)
    (found.program.parent / "lib/libktstrprobe.so.7").unlink()
    qemu_version.cache_clear()
    with pytest.raises(HostError, match="libktstrprobe"):
        choose_qemu()
    assert qemu_fetch.ensure(lambda _: None) == found == choose_qemu()


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ({"lost": True}, r"cannot run on this system: libktstrprobe\.so\.7$"),
        ({"firmware": ("bios-256k.bin", "kvmvapic.bin")}, r"hold no linuxboot_dma\.bin"),
        ({"status": 3}, "does not start"),
    ],
)
def test_what_would_not_run_is_not_kept(
    made: dict[str, object], complaint: str, mirror: MakeMirror, tmp_path: Path
) -> None:
    mirror(**made)
    with pytest.raises(HostError, match=complaint) as raised:
        qemu_fetch.ensure(lambda _: None)
    assert raised.value.hint
    assert [path.name for path in (tmp_path / "cache/ktstr-tui/qemu").iterdir()] == [".lock"]


def test_without_network_an_old_one_goes_on(
    mirror: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(say: Callable[[str], None]) -> None:
        raise HostError("no package index could be fetched", "check the network")

    monkeypatch.setattr(mirror(), "update", no_network)
    assert qemu_fetch.main() == EXIT_HOST
    assert "going on" not in capsys.readouterr().err, "with what?"
    old = tmp_path / "tools" / PROGRAM
    old.write_text("#!/bin/sh\necho QEMU emulator version 7.2.22\n")
    old.chmod(0o755)
    assert qemu_fetch.main() == EXIT_HOST
    out, err = capsys.readouterr()
    assert out == ""
    assert "no package index" in err
    assert "continuing with QEMU 7.2.22" in err


def test_one_that_was_asked_for_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "mine"
    named.write_text("#!/bin/sh\necho QEMU emulator version 7.2.0\n")
    named.chmod(0o755)
    monkeypatch.setenv("KTSTR_QEMU", str(named))
    assert qemu_fetch.main() == 0
    assert capsys.readouterr().out == f"{named}\n"
