"""The program as a whole: its version, ``python -m``, completion, and how little ``--help`` loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ktstr_tui
from ktstr_tui.guest.initramfs import GUEST_DIR_VARIABLE


def program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktstr_tui", *arguments],
        cwd=Path(ktstr_tui.__file__).parents[1],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_comes_first_and_compiled_parts_follow(option: str, tmp_path: Path) -> None:
    done = program(option, **{GUEST_DIR_VARIABLE: str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    version, native, guest = done.stdout.splitlines()
    assert version == f"ktstr-tui {ktstr_tui.__version__}"
    assert Path(native.removeprefix("native module: ")).is_file()
    assert guest.startswith(f"guest program: not built (the guest program is not built: {tmp_path}/")


def test_help_names_the_program_and_loads_no_room(checkout: Path) -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from ktstr_tui.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage: ktstr-tui [OPTIONS]" in done.stdout
    assert "'typer'" in done.stderr
    for heavy in ("trio", "zmq", "textual", "drgn", "cffi", "asyncio", "elftools"):
        assert f"'{heavy}'" not in done.stderr


@pytest.mark.parametrize(
    ("words", "wanted"), [("ktstr-tui capt", "capture"), ("ktstr-tui kernel f", "fetch")]
)
def test_shells_complete_commands(words: str, wanted: str) -> None:
    last = str(len(words.split()) - 1)
    done = program(_KTSTR_TUI_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=last)
    assert wanted in done.stdout.split()


def test_completion_is_for_the_installed_program() -> None:
    done = program("--show-completion", SHELL="/bin/bash")
    assert "_KTSTR_TUI_COMPLETE=complete_bash" in done.stdout
    assert done.stdout.rstrip().endswith(" ktstr-tui")
