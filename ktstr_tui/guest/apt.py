"""Packages of the distribution, without root and without touching the system's package sources.

apt can be pointed at a directory of its own: its own list of suites, its own indexes, its own (empty)
record of what is installed. In such a *private root* the newest kernel of a newer suite can be looked up
and downloaded by anybody, while the machine's `apt` never learns of it. Mirror and proxy are the machine's
own.

The hard thing is trust. The mirror is read from the machine's sources, where third parties may have added
theirs under the same codename, so entries are ranked by how surely they are the distribution's. Every suite
is then bound to the distribution's keyring, and apt is told never to accept what that keyring does not
verify. A suite that cannot be verified or does not exist is left out and named; it does not fail the
others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ktstr_tui.guest.aptsources import AptSource, os_release, read_sources
from ktstr_tui.guest.unpack import tail
from ktstr_tui.model.errors import HostError

KEYRINGS = Path("/usr/share/keyrings")
ROLLING = ("stable", "testing", "unstable", "sid")
"""Names under which Debian's own sources may carry a release instead of its codename."""
UPDATE_TIMEOUT_S = 600
QUERY_TIMEOUT_S = 60

_CONFIG = """\
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State "{root}/state";
Dir::State::Lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where this machine gets its distribution from."""

    distribution: str
    """``debian`` or ``ubuntu``."""
    codename: str
    uri: str
    signed_by: Path
    components: tuple[str, ...]


def machine_archive(etc: Path = Path("/etc"), keyrings: Path = KEYRINGS) -> Archive:
    """Read the distribution's mirror and keyring from the machine's own apt sources.

    Args:
        etc: Directory that holds ``os-release`` and ``apt/``.
        keyrings: Directory of the distribution's keyrings.

    Raises:
        HostError: Not a Debian or Ubuntu machine, or no source entry is the distribution's.
    """
    release = os_release(etc / "os-release")
    distribution, codename = _identity(release)
    ring = _keyring(keyrings, distribution)
    sources = [s for s in read_sources(etc / "apt") if "main" in s.components]
    updated = {s.uri for s in sources if f"{codename}-updates" in s.suites}
    own = [s for s in sources if _carries(s, codename)]
    ranked = sorted(own, key=lambda s: _likeness(s, distribution, updated), reverse=True)
    if not ranked or _likeness(ranked[0], distribution, updated) == 0:
        raise HostError(
            f"none of the apt sources under {etc / 'apt'} is the {distribution} archive of {codename}",
            f"add the distribution's own entry for {codename} (component main) to the apt sources",
        )
    best = ranked[0]
    return Archive(distribution, codename, best.uri, ring, best.components)


def _identity(release: dict[str, str]) -> tuple[str, str]:
    """Tell distribution and codename; derivatives count as what they are derived from."""
    families = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for family, key in (("ubuntu", "UBUNTU_CODENAME"), ("debian", "DEBIAN_CODENAME")):
        codename = release.get(key) or release.get("VERSION_CODENAME", "")
        if family in families and codename:
            return family, codename
    raise HostError(
        f"this machine is {release.get('PRETTY_NAME', 'of an unknown distribution')}: "
        "packages can be fetched on Debian and Ubuntu only",
        "use your own: `--kernel PATH`, QEMU 8.1 or newer, libbpf 1.4 or newer through KTSTR_LIBBPF=PREFIX",
    )


def _keyring(keyrings: Path, distribution: str) -> Path:
    for suffix in ("gpg", "pgp"):
        ring = keyrings / f"{distribution}-archive-keyring.{suffix}"
        if ring.exists():
            return ring
    raise HostError(
        f"no {distribution}-archive-keyring under {keyrings}: downloads could not be verified",
        f"install the package {'ubuntu-keyring' if distribution == 'ubuntu' else 'debian-archive-keyring'}",
    )


def _carries(source: AptSource, codename: str) -> bool:
    return codename in source.suites or any(suite in ROLLING for suite in source.suites)


def _likeness(source: AptSource, distribution: str, updated: set[str]) -> int:
    """How surely an entry is the distribution's own; 0 means it is not.

    Args:
        source: The entry to judge.
        distribution: ``debian`` or ``ubuntu``.
        updated: URIs that also carry the release's updates, which third parties have no use for.
    """
    if source.signed_by and not Path(source.signed_by).name.startswith(f"{distribution}-archive-"):
        return 0  # bound to somebody else's key
    last = urlsplit(source.uri).path.rstrip("/").rsplit("/", 1)[-1]
    named = last in (distribution, f"{distribution}.list")  # a mirror, or cloud images' list of mirrors
    return 4 * bool(source.signed_by) + 2 * named + (source.uri in updated)


class AptRoot:
    """A private apt root over some suites of the machine's distribution.

    Args:
        root: Directory of the private root; made when missing, reused with its indexes when not.
        suites: Suites to look into, most wanted first. Those that do not exist on the mirror or that the
            keyring does not verify end up in ``skipped``.
        archive: The archive to read from; the machine's own when None.
        kind: ``deb`` for packages, ``deb-src`` for their sources.
    """

    def __init__(
        self,
        root: Path,
        suites: Sequence[str],
        archive: Archive | None = None,
        kind: Literal["deb", "deb-src"] = "deb",
    ) -> None:
        if shutil.which("apt-get") is None:
            raise HostError("apt-get is not on this machine", "use a Debian or Ubuntu machine")
        self.root = root.absolute()
        self.suites = tuple(dict.fromkeys(suites))
        self.archive = archive if archive is not None else machine_archive()
        self.kind = kind
        self.skipped: dict[str, str] = {}
        """Suites that were left out, with apt's reason."""
        for name in ("state", "lists/partial", "cache/archives/partial"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        self._config = self.root / "apt.conf"
        self._config.write_text(_CONFIG.format(root=self.root))
        self._write_sources(self.suites)

    def update(self, say: Callable[[str], None] | None = None) -> None:
        """Fetch and verify the indexes of all suites.

        Args:
            say: Receives a line for each suite that is left out.

        Raises:
            HostError: Not one of the suites could be fetched and verified.
        """
        self._write_sources(self.suites)
        done = self._run(["apt-get", "update", "--quiet", "--quiet"], UPDATE_TIMEOUT_S)
        have = self._indexed()
        self.skipped = {s: _reason(done.stderr, s) for s in self.suites if s not in have}
        if not have:
            raise HostError(
                f"no package index of {', '.join(self.suites)} could be fetched: {tail(done)}",
                "check the network and the mirror in the machine's apt sources, then try again",
            )
        for suite, reason in self.skipped.items():
            if say is not None:
                say(f"leaving out {suite}: {reason}")
        self._write_sources([s for s in self.suites if s in have])

    def names(self, pattern: str) -> list[str]:
        """Names of packages in which the regular expression is found (anchor it as needed), sorted."""
        match = re.compile(pattern).search
        done = self._checked(["apt-cache", "pkgnames"], QUERY_TIMEOUT_S, "cannot list packages")
        return sorted(name for name in done.stdout.split() if match(name))

    def candidates(self, package: str) -> list[tuple[str, str]]:
        """Pairs of version and suite in which a package can be had, newest first; empty when unknown."""
        done = self._checked(["apt-cache", "madison", package], QUERY_TIMEOUT_S, f"cannot look up {package}")
        found: dict[tuple[str, str], None] = {}
        for line in done.stdout.splitlines():
            fields = [field.strip() for field in line.split("|")]
            if len(fields) == 3 and fields[0] == package and fields[2].endswith(" Packages"):
                suite = fields[2].split()[1].rsplit("/", 1)[0]
                found[fields[1], suite] = None
        return list(found)

    def download(
        self, package: str, into: Path, version: str | None = None, suite: str | None = None
    ) -> Path:
        """Download a package and check it against the signed index.

        Args:
            package: Name of the package.
            into: Directory for the file; made when missing.
            version: Exactly this version; the newest of all suites when None.
            suite: The newest version of this suite; ignored when a version is given.

        Returns:
            The path of the ``.deb``.

        Raises:
            HostError: The package is unknown or could not be downloaded and verified.
        """
        if version is None:
            version = self._newest(package, suite)
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=".download-") as work:
            self._checked(
                ["apt-get", "download", "--quiet", "--quiet", f"{package}={version}"],
                UPDATE_TIMEOUT_S,
                f"cannot download {package} {version}",
                cwd=Path(work),
            )
            deb = next(Path(work).glob("*.deb"), None)
            if deb is None:
                raise HostError(f"apt-get downloaded no file for {package} {version}", "try again")
            return deb.replace(into / deb.name)

    def download_closure(self, package: str, into: Path, version: str, suite: str) -> list[Path]:
        """Download a package with all that it depends on, down to the C library, as `download` does.

        What this machine has installed does not matter.

        Args:
            package: Name of the package.
            into: Directory for the files; made when missing. What is there already is not fetched again.
            version: Version of the package.
            suite: Where that version is; preferred for what it depends on, too.

        Returns:
            The paths of all ``.deb`` files in the directory.

        Raises:
            HostError: Something is unknown or could not be downloaded and verified.
        """
        (into / "partial").mkdir(parents=True, exist_ok=True)
        options = ["--download-only", "--yes", "--no-install-recommends", "--quiet", "--quiet"]
        place = f"Dir::Cache::archives={into.absolute()}"
        self._checked(
            ["apt-get", "install", *options, "-t", suite, "-o", place, f"{package}={version}"],
            UPDATE_TIMEOUT_S,
            f"cannot download {package} {version} with what it needs",
        )
        return sorted(into.glob("*.deb"))

    def download_source(self, package: str, into: Path) -> Path:
        """Download the newest upstream source of a package and check it against the signed index.

        Only for a root of kind ``deb-src``.

        Returns:
            The path of the upstream tarball.

        Raises:
            HostError: The source is unknown or could not be downloaded and verified.
        """
        into.mkdir(parents=True, exist_ok=True)
        self._checked(
            ["apt-get", "source", "--quiet", "--quiet", "--download-only", "--tar-only", package],
            UPDATE_TIMEOUT_S,
            f"cannot download the source of {package}",
            cwd=into,
        )
        found = [path for path in into.glob("*.orig.tar.*") if path.suffix != ".asc"]
        if not found:
            raise HostError(f"the source of {package} has no upstream tarball", "try again")
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    def _newest(self, package: str, suite: str | None) -> str:
        for version, where in self.candidates(package):
            if suite is None or where == suite:
                return version
        raise HostError(
            f"no package {package} in {suite or ', '.join(self.suites)} of {self.archive.uri}",
            "the package may have been renamed or its suite moved; use your own file instead",
        )

    def _write_sources(self, suites: Sequence[str]) -> None:
        target = "Packages" if self.kind == "deb" else "Sources"
        options = f"[signed-by={self.archive.signed_by} target={target}]"
        lines = [f"{self.kind} {options} {self.archive.uri} {suite} main\n" for suite in suites]
        (self.root / "sources.list").write_text("".join(lines))

    def _indexed(self) -> set[str]:
        """Suites of which a verified index is on disk."""
        done = self._checked(
            ["apt-get", "indextargets", "--format", "$(RELEASE) $(FILENAME)"],
            QUERY_TIMEOUT_S,
            "cannot list the fetched indexes",
        )
        rows = [line.split(" ", 1) for line in done.stdout.splitlines() if " " in line]
        return {suite for suite, file in rows if Path(file).exists()}

    def _run(
        self, command: Sequence[str], timeout_s: int, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        program, *rest = command
        environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            return subprocess.run(
                [program, "-c", str(self._config), *rest],
                env=environment,
                cwd=cwd if cwd is not None else self.root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostError(
                f"{program} {rest[0]} did not finish within {timeout_s} s",
                "check the network, then try again",
            ) from None

    def _checked(
        self, command: Sequence[str], timeout_s: int, what: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = self._run(command, timeout_s, cwd)
        if done.returncode != 0:
            raise HostError(
                f"{what}: {tail(done)}", "check the network and the free disk space, then try again"
            )
        return done


def _reason(stderr: str, suite: str) -> str:
    """Apt's own words on why a suite was left out."""
    about = [line for line in stderr.splitlines() if re.search(rf"[ /]{re.escape(suite)}[ /]", line)]
    return about[0].strip() if about else "the mirror has no index of it"
