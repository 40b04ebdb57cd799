"""The wheel: built from the source distribution as anybody would, installed elsewhere, and used.

No index is asked: what the package depends on is lent by the environment of the tests, the package itself
is not, because a path of that environment in a ``.pth`` file does not make Python read its ``.pth`` files.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import ktstr_tui
from ktstr_tui.guest.initramfs import DEMOS, GUEST_DIR_VARIABLE
from tests.guest.runs import TIMEOUT_S, private_environment
from tests.guest.terminal import Terminal

SOURCES = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
FOLDERS = ("ktstr_tui", "native", "scripts", "themes")
IMPORT_ALL = """
import importlib, json, pkgutil, ktstr_tui
names = [m.name for m in pkgutil.walk_packages(ktstr_tui.__path__, "ktstr_tui.")]
print(json.dumps({name: importlib.import_module(name).__file__ for name in names}))
"""


@pytest.fixture(scope="module")
def source(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which nothing is built, but for a module of a Python that does not exist."""
    place = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(checkout / name, place)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(checkout / name, place / name, symlinks=True, ignore=ignored)
    (place / "ktstr_tui/_native.cpython-399-x86_64-linux-gnu.so").write_bytes(b"stale")
    return place


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, by way of the source distribution, so that the latter is known to be whole."""
    out = tmp_path_factory.mktemp("dist")
    make_sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    checked([sys.executable, "-c", make_sdist, out], cwd=source)
    (sdist,) = out.glob("ktstr_tui-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    checked([*pip, "--wheel-dir", out, sdist], cwd=out)
    (built,) = out.glob("*.whl")
    return built


class Installed:
    """The wheel in a virtual environment of its own, with a directory to work in that is not the checkout."""

    def __init__(self, wheel: Path, place: Path) -> None:
        self.root = place / "venv"
        self.cwd = place / "elsewhere"
        self.cwd.mkdir()
        venv.create(self.root, with_pip=False, symlinks=True)
        variables = {"base": str(self.root), "platbase": str(self.root)}
        self.packages = Path(sysconfig.get_path("platlib", "venv", variables))
        (self.packages / "lent.pth").write_text(f"{sysconfig.get_path('platlib')}\n")
        # Whatever points a Python at the checkout or at its build is left out.
        hidden = (GUEST_DIR_VARIABLE, "PYTHONPATH", "VIRTUAL_ENV")
        self.env = {key: value for key, value in private_environment(place).items() if key not in hidden}
        self.python = self.root / "bin/python"
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "install",
            "--no-index",
            "--no-deps",
        ]
        checked([*pip, "--ignore-installed", wheel], cwd=self.cwd)

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run ``ktstr-tui ARGUMENTS`` and return what it prints on standard output."""
        program = self.root / "bin/ktstr-tui"
        return checked([program, *arguments], cwd=self.cwd, env=self.env, expect=expect)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


def checked(
    command: Sequence[str | Path], cwd: Path, env: dict[str, str] | None = None, expect: int = 0
) -> str:
    """Run a command, which must leave with the expected code, and return its standard output."""
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == expect, f"{command} left with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_wheel_is_for_this_python_and_machine_and_has_the_latest_version(wheel: Path, checkout: Path) -> None:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name == f"ktstr_tui-{ktstr_tui.__version__}-{python}-{python}-linux_x86_64.whl"
    released = re.search(r"^## \[(\d[^]]*)\]", (checkout / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is not None
    assert released[1] == ktstr_tui.__version__
    with zipfile.ZipFile(wheel) as archive:
        info = archive.read(f"ktstr_tui-{ktstr_tui.__version__}.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false" in info


def test_wheel_holds_what_a_checkout_has(wheel: Path, checkout: Path) -> None:
    package = checkout / "ktstr_tui"
    # Python itself lists every module; what else belongs to the package is named here.
    expected = {str(path.relative_to(checkout)) for path in package.rglob("*.py")}
    expected |= {f"ktstr_tui/scenarios/{path.name}" for path in (package / "scenarios").glob("*.toml")}
    expected |= {f"ktstr_tui/themes/{path.name}" for path in (checkout / "themes").glob("*.toml")}
    expected |= {f"ktstr_tui/guest/data/{demo}.bpf.o" for demo in DEMOS}
    expected |= {
        f"ktstr_tui/templates/{path.name}" for path in (package / "templates").iterdir() if path.is_file()
    }
    expected |= {
        f"ktstr_tui/_native{sysconfig.get_config_var('EXT_SUFFIX')}",
        "ktstr_tui/_native.pyi",
        "ktstr_tui/guest/data/ktstr-agent",
        "ktstr_tui/guest/data/ktstr-observer.so",
        "ktstr_tui/guest/data/ktstr-pager",
        "ktstr_tui/guest/data/ktstr-pager-shim.so",
        "ktstr_tui/py.typed",
        "ktstr_tui/tui/ktstr.tcss",
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert archive.read("ktstr_tui/guest/data/ktstr-agent")[:4] == b"\x7fELF"
    assert expected <= names
    assert [name for name in names - expected if name.endswith((".so", ".o", ".c", ".h"))] == []
    assert all(name.startswith("ktstr_tui/") for name in names)


def test_every_module_is_imported_from_the_installed_wheel(installed: Installed) -> None:
    printed = checked([installed.python, "-c", IMPORT_ALL], cwd=installed.cwd, env=installed.env)
    modules: dict[str, str] = json.loads(printed)
    assert {"ktstr_tui._native", "ktstr_tui.backend.session", "ktstr_tui.tui.app"} <= set(modules)
    assert [path for path in modules.values() if not path.startswith(str(installed.packages))] == []


def test_the_program_says_its_version_and_what_it_was_built_with(installed: Installed) -> None:
    printed = installed.run("--version")
    assert printed.startswith(f"ktstr-tui {ktstr_tui.__version__}\n")
    assert f"guest program: {installed.packages}/ktstr_tui/guest/data/ktstr-agent" in printed
    assert checked([installed.python, "-m", "ktstr_tui", "-V"], installed.cwd, installed.env) == printed


def test_the_installed_program_writes_a_scheduler_that_can_be_built(installed: Installed) -> None:
    installed.run("new", "mine")
    checked(["make", "-C", "mine"], installed.cwd, installed.env)
    assert (installed.cwd / "mine/mine.bpf.o").is_file()
    assert f"KTSTR_PYTHON ?= {installed.python}\n" in (installed.cwd / "mine/Makefile").read_text("utf-8")


def test_the_installed_program_runs_a_guest_and_replays_it(installed: Installed) -> None:
    rows = {row["name"]: row for row in json.loads(installed.run("doctor", "--json"))["rows"]}
    assert rows["guest program"]["status"] == "ok"
    assert rows["runs with a seed"]["status"] == "ok", "the observer came with it"
    assert str(installed.packages) in rows["guest program"]["detail"]
    summary = json.loads(
        installed.run(
            "run",
            "--headless",
            "--no-seed",
            "--json",
            "-s",
            "demo:fifo",
            "--scenario",
            "steady",
            "--duration",
            "3",
        )
    )
    assert summary["exit_code"] == 0
    program = [str(installed.root / "bin/ktstr-tui")]
    env = {**installed.env, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    screen = Terminal(
        env, installed.cwd, ["replay", str(Path(summary["data_dir"]) / "recording.ktstr")], (120, 40), program
    )
    try:
        screen.wait_for(r"fifo\s+● enabled")
        screen.press("C-q")
        screen.wait_for("LEFT WITH 0")
    finally:
        screen.close()
