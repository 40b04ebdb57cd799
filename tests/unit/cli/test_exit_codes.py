"""Exit code 1 means that a scheduler was ejected: no command can leave with it for any other reason."""

from __future__ import annotations

import ast
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import ktstr_tui
from ktstr_tui.cli import main as program
from ktstr_tui.cli.groups import add_group
from ktstr_tui.model.errors import (
    EXIT_BUG,
    EXIT_EJECTED,
    EXIT_GUEST,
    EXIT_HOST,
    EXIT_USAGE,
    GuestError,
    HostError,
    InternalError,
    UsageError,
)
from ktstr_tui.text.output import EXIT_BROKEN_PIPE, RunExit, guarded

_CLICK_ERROR = next(it for it in typer.BadParameter.__mro__ if it.__name__ == "ClickException")
"""typer has a click of its own; the base of its errors leaves with 1."""
ENDS: list[tuple[type[BaseException], tuple[object, ...], int]] = [
    (UsageError, ("no",), EXIT_USAGE),
    (HostError, ("no",), EXIT_HOST),
    (GuestError, ("no",), EXIT_GUEST),
    (InternalError, ("no",), EXIT_BUG),
    (OSError, (errno.ENOSPC, "full"), EXIT_HOST),
    (OSError, (errno.EMFILE, "many"), EXIT_HOST),
    (OSError, (errno.EBADF, "bad"), EXIT_BUG),
    (MemoryError, (), EXIT_HOST),
    (ImportError, ("libk5crypto.so: failed to map segment from shared object",), EXIT_HOST),
    (ImportError, ("libz.so: cannot open shared object file: Too many open files",), EXIT_HOST),
    (ImportError, ("No module named x",), EXIT_BUG),
    (RuntimeError, ("can't start new thread",), EXIT_HOST),
    (FileNotFoundError, (2, "No usable temporary directory found in [/tmp]"), EXIT_HOST),
    (BrokenPipeError, (errno.EPIPE, "gone"), EXIT_BROKEN_PIPE),
    (KeyboardInterrupt, (), 130),
    (EOFError, (), EXIT_USAGE),
    (typer.Abort, (), EXIT_USAGE),
    (_CLICK_ERROR, ("no",), EXIT_USAGE),
    (typer.Exit, (1,), EXIT_USAGE),
    (SystemExit, (1,), EXIT_USAGE),
    (SystemExit, ("words",), EXIT_USAGE),
    (SystemExit, (3,), 3),
    (KeyError, ("x",), EXIT_BUG),
    (RunExit, (1,), EXIT_EJECTED),
]


def leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command of a tree, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from leaves(one, (*path, name))


def all_commands() -> dict[tuple[str, ...], object]:
    """Every command of the program; two calls of it make two trees."""
    for name in ("kernel", "watch", "op", "runs"):
        add_group(program.app, name)
    try:
        return dict(leaves(typer.main.get_command(program.app)))
    finally:
        del program.app.registered_groups[-4:]


COMMANDS = all_commands()


def code_of(path: tuple[str, ...], kind: type[BaseException], arguments: tuple[object, ...]) -> int:
    """The exit code when the command raises that."""
    command = COMMANDS[path]

    def broken(**_: object) -> None:
        raise kind(*arguments)

    command.callback, command.params = broken, []  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as left:
        guarded(lambda: command.main([], prog_name="ktstr-tui"))  # type: ignore[attr-defined]
    assert left.value.code is None or isinstance(left.value.code, int)
    return left.value.code or 0


def test_the_tree_of_commands_is_whole() -> None:
    assert {("run",), ("op", "read"), ("watch", "add"), ("kernel", "fetch"), ("capture-diff",)} <= set(
        COMMANDS
    )
    assert len(COMMANDS) >= 25


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_leaves_with_1_for_an_ejection_only(
    path: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    found = [(kind, arguments, code_of(path, kind, arguments)) for kind, arguments, _ in ENDS]
    assert found == ENDS
    capfd.readouterr()


@pytest.mark.parametrize(
    "arguments", [("nosuch",), ("op",), ("op", "read"), ("run", "--nosuch"), ("watch", "add")]
)
def test_mistakes_that_typer_finds(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
    before = list(program.app.registered_groups)
    with pytest.raises(SystemExit) as left:
        program.main()
    program.app.registered_groups[:] = before
    assert left.value.code == EXIT_USAGE


def test_only_a_run_may_leave_with_1() -> None:
    """No other place of the product names that code: a literal 1, a text, or the constant.

    A screen that goes back to an instant runs the run again, and leaves as that one does.
    """
    runs = ("cli/run.py", "cli/screen.py")
    root = Path(ktstr_tui.__file__).parent
    wrong = []
    for path in root.rglob("*.py"):
        where = path.relative_to(root).as_posix()
        text = path.read_text()
        if not any(word in text for word in ("exit", "Exit", "Abort")):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name == "RunExit" and where not in runs:
                wrong.append(f"{where}:{node.lineno}: RunExit")
            leaves_ = name in ("SystemExit", "sys.exit", "exit", "os._exit", "typer.Exit", "typer.Abort")
            literal = [ast.unparse(it) for it in node.args]
            if leaves_ and (name == "typer.Abort" or literal in (["1"], ["EXIT_EJECTED"])):
                wrong.append(f"{where}:{node.lineno}: {name}({literal})")
    assert wrong == []


def test_a_backend_with_a_defect_leaves_with_70(checkout: Path) -> None:
    import subprocess

    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "ktstr_tui.backend", str(writing)],
        cwd=checkout,
        input=b"no configuration",
        pass_fds=(writing,),
        capture_output=True,
        check=False,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert b'"fault": "bug"' in told.read()
    assert done.returncode == EXIT_BUG
