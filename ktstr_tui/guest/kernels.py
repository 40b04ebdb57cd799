"""Kernels from the distribution's packages, cached per user and verified to have sched_ext.

A kernel is one file here: all drivers that a guest needs are built in, so the modules are left out. Package
names carry the release, so the newest is found by name, without asking apt about each one. What a name
promises is not believed: each candidate is downloaded and its types are asked (`ktstr_tui.guest.image`), and
when it has no sched_ext the next one is tried.

The cache is ``<cache>/kernels/<release>/{vmlinuz,config,meta.json}`` with a symbolic link ``current`` to one of
them. Directories appear by rename, so a fetch that is interrupted leaves nothing half done.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from ktstr_tui.guest.apt import AptRoot, Archive, machine_archive
from ktstr_tui.guest.debian_version import version_key
from ktstr_tui.guest.image import KernelImage, open_image, require_sched_ext
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.guest.unpack import extract
from ktstr_tui.model.errors import HostError, KtstrError, UsageError

MAX_ATTEMPTS = 6
"""Candidates that are downloaded before a fetch gives up."""
_PACKAGE = re.compile(
    r"linux-(?:binary|image)-(?:unsigned-)?(?P<release>\d[\w.+~]*(?:-\d+)?-(?:amd64|generic))(?:-unsigned)?"
)
_SKIPPED_FLAVOURS = re.compile(r"-(?:cloud|rt)-")
_SUITES = {
    "debian": (("{}", "{}-backports", "stable-backports", "testing"), ("unstable",)),
    "ubuntu": (("{}", "{}-updates", "{}-security"), ("devel", "devel-updates", "devel-proposed")),
}
"""Where to look, by distribution: first suites that are tested as a whole, then others."""

Say = Callable[[str], None]


class CachedKernel(msgspec.Struct, frozen=True):
    """A kernel in the cache."""

    release: str
    path: Path
    current: bool
    """Whether it is used when ``--kernel`` is not given."""
    package: str
    version: str
    suite: str


class KernelOffer(msgspec.Struct, frozen=True):
    """A kernel that the distribution's archive has."""

    release: str
    packages: tuple[str, ...]
    """Names that may hold it, most likely first."""


class _Meta(msgspec.Struct, frozen=True):
    release: str
    package: str
    version: str
    suite: str
    fetched_at: str
    """Wall time, UTC, ISO 8601: for people."""


def resolve_kernel(spec: str | None) -> KernelImage:
    """The kernel that ``--kernel`` means.

    Args:
        spec: A path, a release (or the beginning of one) in the cache, or None for the current one.

    Raises:
        UsageError: There is no such kernel, or it cannot run sched_ext schedulers.
        HostError: None was named and none is cached.
    """
    if spec is None:
        return require_sched_ext(open_image(default_kernel().path))
    if "/" in spec or Path(spec).exists():
        return require_sched_ext(open_image(Path(spec)))
    return require_sched_ext(open_image(find_cached(spec).path))


def kernel_of_content(path: str, sha256: str, release: str = "") -> KernelImage:
    """A kernel that ran before, wherever this host has it: on another machine, or for another user, paths differ.

    Args:
        path: Where it was.
        sha256: Of the file that was booted, in hexadecimal.
        release: What it is called, where that is known.

    Raises:
        UsageError: This host has it nowhere, or it cannot run sched_ext schedulers.
    """
    for place in (Path(path), *(it.path for it in cached_kernels())):
        with suppress(KtstrError, OSError):
            image = open_image(place)
            if hashlib.sha256(image.path_to_boot.read_bytes()).hexdigest() == sha256:
                return require_sched_ext(image)
    what = f"kernel {release}" if release else "the kernel"
    raise UsageError(
        f"{what} of {sha256[:12]}… is not here: neither is it {path}, nor among the fetched kernels",
        f"put it there, or fetch it: ktstr-tui kernel fetch{f' --release {release}' if release else ''}",
    )


def cached_kernels() -> list[CachedKernel]:
    """What the cache holds, newest release first."""
    directory = _kernels_dir()
    current = _current(directory)
    found = []
    for entry in directory.iterdir():
        image = entry / "vmlinuz"
        if entry.is_symlink() or entry.name.startswith(".") or not image.is_file():
            continue
        meta = _read_meta(entry)
        found.append(
            CachedKernel(entry.name, image, entry.name == current, meta.package, meta.version, meta.suite)
        )
    return sorted(found, key=lambda kernel: version_key(kernel.release), reverse=True)


def default_kernel() -> CachedKernel:
    """The kernel that is used when none is named: the current one, else the newest.

    Raises:
        HostError: None is cached.
    """
    kernels = cached_kernels()
    chosen = next((kernel for kernel in kernels if kernel.current), None) or next(iter(kernels), None)
    if chosen is None:
        raise HostError("no kernel is cached", "ktstr-tui kernel fetch, or use your own: --kernel PATH")
    return chosen


def find_cached(prefix: str) -> CachedKernel:
    """The newest cached kernel whose release is or begins with ``prefix``.

    Raises:
        UsageError: There is none.
    """
    kernels = cached_kernels()
    for kernel in kernels:
        if matches(kernel.release, prefix):
            return kernel
    known = ", ".join(kernel.release for kernel in kernels) or "none"
    raise UsageError(
        f"no cached kernel {prefix!r} (cached: {known}), and no file of that name",
        f"ktstr-tui kernel fetch --release {prefix}",
    )


def use_kernel(prefix: str) -> CachedKernel:
    """Make a cached kernel the current one.

    Raises:
        UsageError: There is no such kernel.
    """
    kernel = find_cached(prefix)
    _set_current(kernel.release)
    return msgspec.structs.replace(kernel, current=True)


def available_kernels(say: Say, release: str | None = None) -> tuple[AptRoot, list[KernelOffer]]:
    """What the archive offers, newest first, with the apt root to download from.

    Args:
        say: Receives progress, a line at a time.
        release: Only releases that are or begin with this.

    Raises:
        HostError: The archive cannot be read.
    """
    archive = machine_archive()
    tested, untested = _SUITES[archive.distribution]
    for suites in (tested, tested + untested):
        root = _apt_root(archive, suites, say)
        offers = [
            offer for offer in group_offers(root.names("^linux-(binary|image)-")) if _fits(offer, release)
        ]
        if offers:
            break
    return root, offers


def fetch_kernel(say: Say, release: str | None = None) -> CachedKernel:
    """Fetch the newest packaged kernel that has sched_ext and make it current.

    Args:
        say: Receives progress, a line at a time.
        release: Only releases that are or begin with this, such as ``6.19``; it does not become current when
            another one is.

    Raises:
        UsageError: The archive has no such release.
        HostError: Nothing could be fetched, or nothing fetched had sched_ext.
    """
    root, offers = available_kernels(say, release)
    if not offers:
        raise UsageError(
            f"the archive {root.archive.uri} has no kernel {release or ''}".rstrip(),
            "see ktstr-tui kernel list --available, or use your own: --kernel PATH",
        )
    refused: list[str] = []
    for offer in offers[:MAX_ATTEMPTS]:
        try:
            kernel = _cached(offer.release) or _install(root, offer, say)
            _complete(root, kernel, say)
        except KtstrError as error:
            refused.append(f"{offer.release}: {error.message}")
            say(refused[-1])
            continue
        if release is None or _current(_kernels_dir()) is None:
            _set_current(kernel.release)
        return find_cached(kernel.release)
    raise HostError(
        f"none of the {len(refused)} newest packaged kernels can be used: {'; '.join(refused)}",
        "use your own: --kernel PATH (a bzImage, a vmlinux or a build tree)",
    )


def group_offers(names: list[str]) -> list[KernelOffer]:
    """Package names as offers, one per release, newest first.

    Leaves out debug packages and the cloud and realtime flavours, which lack drivers or behave differently.
    """
    by_release: dict[str, list[str]] = {}
    for name in names:
        match = _PACKAGE.fullmatch(name)
        if match is not None and not _SKIPPED_FLAVOURS.search(name):
            by_release.setdefault(match["release"], []).append(name)
    ordered = sorted(by_release, key=version_key, reverse=True)
    return [KernelOffer(release, tuple(sorted(by_release[release], key=_likelihood))) for release in ordered]


def matches(release: str, prefix: str) -> bool:
    """Whether ``release`` is ``prefix`` or continues it at a boundary: 6.1 does not match 6.19."""
    rest = release.removeprefix(prefix)
    return release.startswith(prefix) and not (rest[:1].isdigit() and prefix[-1:].isdigit())


def _fits(offer: KernelOffer, release: str | None) -> bool:
    return release is None or matches(offer.release, release)


def _likelihood(package: str) -> tuple[int, str]:
    """``linux-image-…`` is a package without a kernel where ``linux-binary-…`` exists."""
    return ("linux-binary-" not in package) * 2 + ("unsigned" not in package), package


def _apt_root(archive: Archive, suites: tuple[str, ...], say: Say) -> AptRoot:
    named = [suite.format(archive.codename) for suite in suites]
    say(f"looking for kernels in {', '.join(named)}")
    root = AptRoot(cache_dir() / "apt/kernels", named, archive)
    root.update(say)
    return root


def _install(root: AptRoot, offer: KernelOffer, say: Say) -> CachedKernel:
    directory = _kernels_dir()
    problem: KtstrError | None = None
    for package in offer.packages:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as name:
            work = Path(name)
            try:
                version, suite = next(iter(root.candidates(package)), ("", ""))
                say(f"fetching {package} {version} from {suite}")
                extract(root.download(package, work, version or None), work / "tree")
                return _keep(work, _Meta(offer.release, package, version, suite, _now()))
            except KtstrError as error:
                problem = error
    raise problem or HostError(
        f"no package holds the kernel {offer.release}", "try ktstr-tui kernel list --available"
    )


def _complete(root: AptRoot, kernel: CachedKernel, say: Say) -> None:
    """Add the build configuration of a cached kernel, from the package that holds it; without it, say so."""
    place = kernel.path.parent
    if (place / "config").is_file():
        return
    # Debian's packages from 6.19 on have it in linux-base-RELEASE, Ubuntu's in linux-modules-RELEASE.
    known = set(root.names(f"^linux-(base|modules)-{re.escape(kernel.release)}$"))
    for package in sorted(known):
        with tempfile.TemporaryDirectory(dir=_kernels_dir(), prefix=".fetch-") as name:
            work = Path(name)
            try:
                version, suite = next(iter(root.candidates(package)), ("", ""))
                say(f"fetching the kernel's configuration: {package} {version} from {suite}")
                extract(root.download(package, work, version or None), work / "tree")
            except KtstrError as error:
                say(f"{package}: {error.message}")
                continue
            found = _config_in(work / "tree")
            if found is not None:
                os.replace(found, place / "config")
                return
    say(f"no package holds the configuration of {kernel.release}: schedulers that ask for it may not load")


def _config_in(tree: Path) -> Path | None:
    places = ("boot/config-*", "usr/lib/modules/*/config", "lib/modules/*/config")
    found = (path for place in places for path in sorted(tree.glob(place)))
    return next((path for path in found if path.is_file() and not path.is_symlink()), None)


def _keep(work: Path, meta: _Meta) -> CachedKernel:
    """Check the kernel of an unpacked package and move it into the cache."""
    tree = work / "tree"
    images = [
        *tree.glob("boot/vmlinuz*"),
        *tree.glob("usr/lib/modules/*/vmlinuz*"),
        *tree.glob("lib/modules/*/vmlinuz*"),
    ]
    image = next((path for path in images if path.is_file() and not path.is_symlink()), None)
    if image is None:
        raise UsageError(f"the package {meta.package} holds no kernel")
    finished = work / "finished"
    finished.mkdir()
    shutil.copyfile(image, finished / "vmlinuz")
    config = _config_in(tree)
    if config is not None:
        shutil.copyfile(config, finished / "config")
    (finished / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta)))
    place = _kernels_dir() / meta.release
    shutil.rmtree(place, ignore_errors=True)
    os.rename(finished, place)
    try:
        # In its final place, because what is found out is remembered under the path.
        require_sched_ext(open_image(place / "vmlinuz"))
    except KtstrError:
        shutil.rmtree(place)
        raise
    return find_cached(meta.release)


def _cached(release: str) -> CachedKernel | None:
    return next((kernel for kernel in cached_kernels() if kernel.release == release), None)


def _kernels_dir() -> Path:
    directory = cache_dir() / "kernels"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _current(directory: Path) -> str | None:
    try:
        return os.readlink(directory / "current")
    except OSError:
        return None


def _set_current(release: str) -> None:
    directory = _kernels_dir()
    temporary = directory / f".current-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(release)
    os.replace(temporary, directory / "current")


def _read_meta(entry: Path) -> _Meta:
    try:
        return msgspec.json.decode((entry / "meta.json").read_bytes(), type=_Meta)
    except (OSError, msgspec.MsgspecError):
        return _Meta(entry.name, "", "", "", "")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
