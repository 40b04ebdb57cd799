"""A static libbpf that is new enough, for the guest program that loads schedulers.

libbpf older than 1.4 cannot load a ``sched_ext_ops`` into current kernels (the kernel answers -524).
Releases that people run today carry older ones, so this looks in order of cost: the system's own, the
package of the machine's release or of its backports, and last the source package of the distribution's next
release, built here. A *binary* of a newer release is never taken: it was compiled against a newer C library
than the machine links with.

``python -m ktstr_tui.guest.libbpf`` prints the prefix, the directory of ``include/bpf`` and
``lib*/**/libbpf.a``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ktstr_tui.guest.apt import AptRoot, Archive, machine_archive
from ktstr_tui.guest.debian_version import parse_version
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.guest.unpack import extract, run_checked, unpack_tarball
from ktstr_tui.model.errors import HostError, KtstrError, UsageError

MINIMUM = (1, 4)
"""The oldest libbpf (major, minor) that loads a sched_ext scheduler into a 6.19 or 7.2 kernel."""
NEXT_RELEASE = {"debian": "testing", "ubuntu": "devel"}
"""Suite in which the distribution gathers its next release; a name that never goes out of date."""
PREFIXES = (Path("/usr/local"), Path("/usr"))

Say = Callable[[str], None]


def find(say: Say) -> Path:
    """Find or fetch libbpf and return its prefix.

    Args:
        say: Receives one line for each step that takes time.

    Raises:
        UsageError: ``KTSTR_LIBBPF`` names a directory without a usable libbpf.
        HostError: There is none and none can be fetched or built.
    """
    present = available()
    if present is not None:
        return present
    cache = cache_dir() / "libbpf"
    archive = machine_archive()
    return _from_package(archive, cache, say) or _from_source(archive, cache, say)


def available() -> Path | None:
    """The prefix of a libbpf that is on this machine already, None when there is none.

    Raises:
        UsageError: ``KTSTR_LIBBPF`` names a directory without a usable libbpf.
    """
    chosen = os.environ.get("KTSTR_LIBBPF", "")
    if chosen:
        return _chosen(Path(chosen))
    prefixes = (*PREFIXES, *_cached(cache_dir() / "libbpf"))
    return next((prefix for prefix in prefixes if usable(prefix)), None)


def usable(prefix: Path) -> bool:
    """Tell whether headers and a static library of a version that is new enough are under ``prefix``."""
    return version_of(prefix) >= MINIMUM and library_of(prefix) is not None


def library_of(prefix: Path) -> Path | None:
    """The static library under ``prefix``, None when headers or library are missing."""
    if not (prefix / "include/bpf/libbpf.h").is_file():
        return None
    return next((path for path in _below(prefix, "libbpf.a") if path.is_file()), None)


def version_of(prefix: Path) -> tuple[int, ...]:
    """Version in the pkg-config file under ``prefix``; ``()``, less than any version, when there is none."""
    for path in _below(prefix, "pkgconfig/libbpf.pc"):
        if path.is_file():
            return parse_version(path.read_text(errors="replace").partition("Version:")[2])
    return ()


def _below(prefix: Path, name: str) -> Iterator[Path]:
    """Where a library directory of Debian, Fedora or a plain ``make install`` would hold ``name``."""
    for directory in ("lib64", "lib"):
        yield prefix / directory / name
    yield from sorted((prefix / "lib").glob(f"*-linux-gnu/{name}"))


def _chosen(prefix: Path) -> Path:
    if usable(prefix):
        return prefix
    found = ".".join(map(str, version_of(prefix))) or "no libbpf"
    raise UsageError(
        f"KTSTR_LIBBPF={prefix} has {found}; libbpf.a and headers of 1.4 or newer are needed there",
        "point it at the prefix that libbpf was installed to, or unset it",
    )


def _cached(cache: Path) -> list[Path]:
    """Prefixes that were fetched before, newest version first."""
    found = [path / "usr" for path in cache.iterdir()] if cache.is_dir() else []
    return sorted((path for path in found if path.is_dir()), key=version_of, reverse=True)


def _from_package(archive: Archive, cache: Path, say: Say) -> Path | None:
    """The package of the machine's own release or of its backports; None when they have none new enough."""
    suites = (archive.codename, f"{archive.codename}-updates", f"{archive.codename}-backports")
    say(f"looking for libbpf 1.4 or newer in {', '.join(suites)}")
    root = AptRoot(cache.parent / "apt/libbpf", suites, archive)
    root.update(say)
    for version, suite in root.candidates("libbpf-dev"):
        if parse_version(version) < MINIMUM:
            continue
        say(f"fetching libbpf {version} from {suite}")
        with _workshop(cache) as work:
            deb = root.download("libbpf-dev", Path(work), version)
            extract(deb, Path(work) / "root")
            return _keep(Path(work) / "root/usr", cache)
    return None


def _from_source(archive: Archive, cache: Path, say: Say) -> Path:
    """Build the source package of the distribution's next release."""
    suite = NEXT_RELEASE[archive.distribution]
    say(f"none there; fetching the source of libbpf from {suite} and building it")
    root = AptRoot(cache.parent / "apt/libbpf-source", [suite], archive, kind="deb-src")
    root.update(say)
    with _workshop(cache) as work:
        tree = unpack_tarball(root.download_source("libbpf", Path(work)), Path(work) / "source")
        out = Path(work) / "root"
        variables = [
            "BUILD_STATIC_ONLY=1",
            "NO_PKG_CONFIG=1",
            "PREFIX=/usr",
            "LIBDIR=/usr/lib",
            f"DESTDIR={out}",
        ]
        run_checked(["make", "-s", "-C", str(tree / "src"), *variables, "install"], "cannot build libbpf")
        return _keep(out / "usr", cache)


def _workshop(cache: Path) -> tempfile.TemporaryDirectory[str]:
    cache.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=cache, prefix=".work-")


def _keep(prefix: Path, cache: Path) -> Path:
    """Move a finished prefix to its place in the cache, replacing what is there."""
    if not usable(prefix):
        raise HostError(
            "the fetched package has no static libbpf of 1.4 or newer",
            "install libbpf 1.4 or newer and set KTSTR_LIBBPF to its prefix",
        )
    place = cache / ".".join(map(str, version_of(prefix)))
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return prefix.rename(place / "usr")


def main() -> int:
    """Print the prefix on stdout, everything else on stderr."""

    def say(line: str) -> None:
        print(f"libbpf: {line}", file=sys.stderr)

    try:
        print(find(say))
    except KtstrError as error:
        say(error.message)
        say(error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
