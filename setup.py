"""Builds what a wheel holds beside Python files: the native module, and the programs that run in the guest.

Everything that can be said without code is in pyproject.toml. An editable install compiles nothing here:
scripts/setup does it in place, in steps that know when there is nothing to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

GUEST_DATA = "ktstr_tui/guest/data"
"""Where `ktstr_tui.guest.initramfs` looks for the guest program and the demo schedulers."""
# The list of packages is kept in one place, that of scripts/setup.
_ASK = "source scripts/parts/debian.sh && missing_to_build && { ! find_clang || echo clang=$clang_program; }"


def find_clang() -> str:
    """The path of a clang that is new enough, after making sure that all else is there to compile with.

    Raises:
        SystemExit: Something is missing; the message names its Debian package.
    """
    done = subprocess.run(["bash", "-c", _ASK], stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.split("\n")
    missing = [line for line in lines if line and "=" not in line]
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append("python3-dev")
    if missing:
        raise SystemExit(
            f"ktstr-tui cannot be built: missing {', '.join(missing)} (as Debian names the packages)\n"
            f"next: sudo apt-get install --no-install-recommends {' '.join(missing)}"
        )
    return next(line.removeprefix("clang=") for line in lines if "=" in line)


def build_guest(clang: str, out: Path) -> list[Path]:
    """Build the guest program, the observer, the pager and the demo schedulers in ``out`` and return them."""
    # As a process of its own: the package is not importable here, and its messages go to stderr.
    found = subprocess.run(
        [sys.executable, "-m", "ktstr_tui.guest.libbpf"], stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode:
        raise SystemExit("ktstr-tui cannot be built without a static libbpf of 1.4 or newer, see above")
    variables = [f"LIBBPF={found.stdout.strip()}", f"CLANG={clang}", f"OUT={out.resolve()}"]
    subprocess.run(["make", "-C", "native", *variables], check=True)
    programs = ("ktstr-agent", "ktstr-observer.so", "ktstr-pager", "ktstr-pager-shim.so")
    return [*(out / name for name in programs), *sorted(out.glob("*.bpf.o"))]


class BuildPackage(build_py):
    """Copies the package and adds what runs in the guest."""

    def run(self) -> None:
        """Build into an empty directory: a file that has left the package must leave the wheel too."""
        if self.editable_mode:
            super().run()
            return
        clang = find_clang()
        shutil.rmtree(Path(self.build_lib, "ktstr_tui"), ignore_errors=True)
        super().run()
        data = Path(self.build_lib, GUEST_DATA)
        data.mkdir(parents=True)
        for path in build_guest(clang, Path(self.get_finalized_command("build").build_temp, "guest")):
            shutil.copy2(path, data)


class BuildModule(build_ext):
    """Compiles the native module, except for an editable install."""

    def run(self) -> None:
        """Compile, unless scripts/setup does."""
        if not self.editable_mode:
            super().run()


os.chdir(Path(__file__).resolve().parent)
setup(
    cffi_modules=["native/build.py:wheel_builder"],
    cmdclass={"build_py": BuildPackage, "build_ext": BuildModule},
)
