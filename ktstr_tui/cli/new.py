"""``new``: a directory with a scheduler to begin with: source, headers, scenario and Makefile.

The files are those of ``ktstr_tui/templates``. In them ``NAME`` stands for the scheduler's name, which becomes part of
identifiers in C, and ``@PYTHON@`` for the Python that this program runs under.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.text.output import print_json, print_line

MAX_NAME = 32
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")
_PLACEHOLDER = re.compile(r"\bNAME(?=_|\b)")


def new_command(directory: Path, as_json: bool) -> None:
    """Write the directory and say what to do next.

    Args:
        directory: Where; its last part is the scheduler's name.
        as_json: Print data instead of words.

    Raises:
        UsageError: It cannot be a name, or there is something of that name.
        HostError: It cannot be written.
    """
    files = write_scheduler(directory)
    if as_json:
        print_json({"directory": str(directory.absolute()), "files": sorted(files)})
        return
    print_line(f"{directory}: {', '.join(sorted(files))}")
    print_line(f"next: make -C {directory} run    builds it, boots a kernel with it and shows it")
    print_line(f"      make -C {directory} edit   the same, and loads it again whenever a file is saved")


def write_scheduler(directory: Path) -> list[str]:
    """Write the directory as a whole or not at all; returns the names of the files.

    Raises:
        UsageError: It cannot be a name, or there is something of that name.
        HostError: It cannot be written.
    """
    name = directory.name
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a scheduler",
            f"use up to {MAX_NAME} letters, digits and underscores, a letter first",
        )
    if directory.exists() or directory.is_symlink():
        raise UsageError(f"{directory} exists already", "choose another name; nothing is overwritten")
    files = {_named(it.name, name): _filled(it.read_text("utf-8"), name) for it in _templates()}
    try:
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{name}-") as work:
            made = Path(work) / name
            made.mkdir()
            for file, text in files.items():
                (made / file).write_text(text, "utf-8")
            made.rename(directory)
    except OSError as error:
        raise HostError(
            f"cannot write {directory}: {error.strerror}", "choose a directory that you may write to"
        ) from error
    return list(files)


def _templates() -> list[Path]:
    # Files of the package are files: it is never run from an archive.
    return sorted(Path(str(resources.files("ktstr_tui") / "templates")).iterdir())


def _named(file: str, name: str) -> str:
    return _PLACEHOLDER.sub(name, file)


def _filled(text: str, name: str) -> str:
    return _PLACEHOLDER.sub(name, text).replace("@PYTHON@", sys.executable)
