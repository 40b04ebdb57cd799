"""The two halves stay apart at run time too: contracts read source, this reads ``sys.modules``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOAD_ALL = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    importlib.import_module(module.name)
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(room: str, checkout: Path) -> set[str]:
    """Top-level packages in a fresh interpreter after importing every module of a room."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, f"ktstr_tui.{room}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("room", "unwanted"),
    [
        ("model", {"trio", "zmq", "textual", "rich", "drgn", "cffi"}),
        ("wire", {"trio", "zmq", "textual", "rich", "drgn"}),
        ("kernel", {"trio", "zmq", "textual", "rich"}),
        ("guest", {"zmq", "textual", "rich", "drgn", "_pytest"}),
        ("capture", {"zmq", "textual", "rich"}),
        ("link", {"textual", "rich", "drgn"}),
        ("backend", {"textual", "pytest", "_pytest"}),
        ("tui", {"trio", "drgn"}),
    ],
)
def test_room_loads_nothing_it_must_not(room: str, unwanted: set[str], checkout: Path) -> None:
    assert loaded_by(room, checkout) & unwanted == set()


def test_a_screen_that_attaches_loads_only_what_it_shows(checkout: Path) -> None:
    imports = "import ktstr_tui.cli.screen, ktstr_tui.cli.look, ktstr_tui.link.viewer, ktstr_tui.tui.app"
    check = f"{imports}, sys; sys.exit(', '.join({{'trio', 'drgn', 'cryptography'}} & set(sys.modules)) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_loads_nothing_to_make_strings_of_strings(checkout: Path) -> None:
    lines = (
        "import sys",
        "from ktstr_tui.cli.main import main",
        "sys.argv = ['ktstr-tui', 'attach', 'nosuchrun', '--theme', 'none']",
        "try: main()",
        "except SystemExit as end: print(end.code, 'pydantic' in sys.modules)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.stdout == "2 False\n", done.stderr


def test_the_check_sees_what_is_loaded(checkout: Path) -> None:
    assert {"textual", "ktstr_tui"} <= loaded_by("tui", checkout)
