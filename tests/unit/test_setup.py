"""Set-up: locked dependencies, no host named anywhere, and what a bare machine is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

LOCKS = ("requirements.txt", "requirements-dev.txt")
# In pieces, so that this file does not name them either.
HOSTS = [
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("security", "ubuntu", "com"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("golang", "org"),
    )
]
NOT_OURS = {".git", ".venv", "build", "dist", ".hypothesis", ".ruff_cache", "__pycache__"}
BASICS = ("bash", "cut", "dirname", "env", "flock", "grep", "mkdir", "sed", "sha256sum", "sort", "tail")


def locked(path: Path) -> dict[str, str]:
    """Requirement to the options that follow it, from a lock file."""
    joined = path.read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.lstrip().startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_exactly_and_hashes_everything(name: str, checkout: Path) -> None:
    for requirement, options in locked(checkout / name).items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", requirement)
        marker, *hashes = options.split("--hash=")
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes)
        assert marker.strip() == "" or marker.startswith("; ")


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_origin(name: str, checkout: Path) -> None:
    text = (checkout / name).read_text()
    for word in ("://", "index-url", "find-links", "trusted-host", " @ ", "-e "):
        assert word not in text


def test_locks_agree_with_the_project_and_each_other(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    run, dev = (locked(checkout / name) for name in LOCKS)
    groups = project["dependency-groups"]
    assert set(project["project"]["dependencies"]) | set(groups["build"]) <= set(run)
    assert {pin for pin in groups["dev"] if isinstance(pin, str)} <= set(dev)
    assert set(run) <= set(dev)
    assert set(project["build-system"]["requires"]) <= set(run)


def test_hooks_run_pinned_tools_that_ci_runs_too(checkout: Path) -> None:
    hooks = re.findall(r"^ +entry: (\S+)", (checkout / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    ci = (checkout / ".ci/run").read_text()
    tools = {Path(hook).name for hook in hooks}
    assert {Path(hook).parent for hook in hooks} == {Path(".venv/bin")}
    assert tools >= {"ruff", "mypy", "lint-imports", "shellcheck", "clang-format"}
    for tool in tools:
        assert (checkout / ".venv/bin" / tool).is_file(), tool
        assert re.search(rf"(^|\| xargs -0 ){tool} ", ci, re.MULTILINE), tool


def our_files(checkout: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(checkout):
        folders[:] = [folder for folder in folders if folder not in NOT_OURS]
        yield from (Path(directory) / name for name in names)


def test_no_file_names_a_package_host(checkout: Path) -> None:
    pattern = re.compile("|".join(map(re.escape, HOSTS)).encode(), re.IGNORECASE)
    named = [path for path in our_files(checkout) if path.is_file() and pattern.search(path.read_bytes())]
    assert named == []


@pytest.fixture
def bare_machine(checkout: Path) -> Iterator[Path]:
    """A checkout whose PATH has a shell and little else, readable by every user.

    Its apt-get leaves a trace when it is run.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(checkout / "scripts", place / "scripts")
        (place / "bin").mkdir()
        for program in BASICS:
            found = shutil.which(program)
            assert found is not None
            (place / "bin" / program).symlink_to(found)
        apt = place / "bin/apt-get"
        apt.write_text('#!/bin/bash\necho "$@" >>"${0%/*}/../apt-get-was-run"\nexit 100\n')
        apt.chmod(0o755)
        place.chmod(0o755)
        yield place


def run_setup_unprivileged(place: Path) -> subprocess.CompletedProcess[str]:
    nobody = 65534
    return subprocess.run(
        ["bash", "scripts/setup"],
        cwd=place,
        env={"PATH": str(place / "bin"), "HOME": str(place)},
        user=nobody if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_unprivileged_user_is_told_what_to_install(bare_machine: Path) -> None:
    done = run_setup_unprivileged(bare_machine)
    assert done.returncode == 3
    assert done.stdout == ""
    command = next(line for line in done.stderr.splitlines() if "sudo apt-get" in line)
    for package in ("gcc", "make", "clang"):
        assert package in command.split()
    assert not (bare_machine / "apt-get-was-run").exists()
    assert not (bare_machine / ".venv").exists()


def test_unknown_argument_is_refused(checkout: Path) -> None:
    done = subprocess.run(
        ["bash", checkout / "scripts/setup", "--frobnicate"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--frobnicate" in done.stderr


def test_coverage_is_counted_per_room(checkout: Path, tmp_path: Path) -> None:
    package = tmp_path / "ktstr_tui"
    (package / "wire").mkdir(parents=True)
    (package / "wire/ran.py").write_text("a = 1\nif not a:\n    b = 2\n")
    (package / "__init__.py").write_text("x = 1\n")
    (tmp_path / "pyproject.toml").write_text('[tool.coverage.run]\nsource = ["ktstr_tui"]\n')
    script = checkout / "scripts/parts/room_coverage.py"

    def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    empty = python(script)
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "run first" in empty.stderr
    (tmp_path / "use.py").write_text("import ktstr_tui.wire.ran\n")
    assert python("-m", "coverage", "run", "use.py").returncode == 0
    rows = [line.split() for line in python(script).stdout.splitlines()]
    assert ["wire", "3", "1", "66.7", "%"] in rows
    assert ["ktstr_tui", "1", "0", "100.0", "%"] in rows
    assert ["all", "4", "1", "75.0", "%"] in rows
