"""``ktstr-tui drgn``: which run is meant, what is refused, and code that fails."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import drgn
import pytest

from ktstr_tui.cli import drgn_prompt
from ktstr_tui.cli.drgn_prompt import KernelStack, drgn_command, find_record, open_view, run_code
from ktstr_tui.guest import ram
from ktstr_tui.kernel.program import KernelNotFound
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import HostError, UsageError


@contextmanager
def run_directory(place: Path, record: object = None) -> Iterator[Path]:
    """The directory of a run: two sockets on which somebody listens, and ``run.json``."""
    place.mkdir(mode=0o700)
    if record is not None:
        (place / "run.json").write_text(json.dumps(record))
    with ExitStack() as stack:
        for name in ("events.sock", "control.sock"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(place / name))
            listener.listen(8)
        yield place


class StubView:
    """A view whose program has no memory."""

    def __init__(self) -> None:
        self.prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> KernelView:
    return StubView()  # type: ignore[return-value]


def test_a_run_of_this_host_is_found_by_its_directory_and_by_its_socket(tmp_path: Path) -> None:
    with run_directory(tmp_path / "r", {"name": "mine", "pid": os.getpid()}) as place:
        assert find_record(str(place)).pid == os.getpid()
        assert find_record(str(place / "control.sock")).name == "mine"


def test_forwarded_sockets_are_told_to_be_another_machines(tmp_path: Path) -> None:
    with (
        run_directory(tmp_path / "far") as place,
        pytest.raises(UsageError, match="another machine") as caught,
    ):
        find_record(str(place))
    assert "on the machine of the run" in caught.value.hint


def test_a_run_that_is_over_is_refused(tmp_path: Path) -> None:
    with (
        run_directory(tmp_path / "r", {"name": "mine", "pid": 1 << 30}) as place,
        pytest.raises(UsageError, match="run r has ended: its process 1073741824 is gone"),
    ):
        find_record(str(place))


def test_a_directory_of_another_user_is_refused_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_run: str | None) -> Path:
        raise PermissionError(13, "Permission denied", "/run/user/7/ktstr/theirs/events.sock")

    monkeypatch.setattr(drgn_prompt, "find_run", refuse)
    with pytest.raises(HostError, match="belongs to another user"):
        find_record("/run/user/7/ktstr/theirs")


def test_memory_without_a_kernel_is_the_guests_fault() -> None:
    with ram.open_ram((128 << 20,)), pytest.raises(KernelNotFound), open_view(os.getpid()):
        pass


def test_code_has_prog_and_the_names_of_drgns_prompt(
    view: KernelView, capsys: pytest.CaptureFixture[str]
) -> None:
    run_code(view, "import drgn\nprint(drgn.get_default_prog() is prog, sizeof(prog.type('int')))", "-c")
    assert capsys.readouterr().out == "True 4\n"
    with pytest.raises(drgn.NoDefaultProgramError):
        drgn.get_default_prog()


def test_code_that_fails_shows_its_own_traceback_only(
    view: KernelView, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"x\.py failed: ZeroDivisionError"):
        run_code(view, "def f():\n    return 1 / 0\nf()\n", "x.py")
    told = capsys.readouterr().err
    assert 'File "x.py", line 2, in f' in told
    assert "drgn_prompt" not in told


def test_code_that_is_no_python_is_told_with_its_place(
    view: KernelView, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="-c failed: SyntaxError"):
        run_code(view, "1 +", "-c")
    assert 'File "-c", line 1' in capsys.readouterr().err


def test_code_may_end_with_an_exit_code_of_its_own(view: KernelView) -> None:
    with pytest.raises(SystemExit) as caught:
        run_code(view, "raise SystemExit(7)", "-c")
    assert caught.value.code == 7


@pytest.mark.parametrize("code", ["1", "True", "'no such task'"])
def test_code_may_not_end_with_that_of_an_ejection(view: KernelView, code: str) -> None:
    with pytest.raises(UsageError, match="-c left with"):
        run_code(view, f"raise SystemExit({code})", "-c")


def test_code_and_a_script_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        drgn_command(None, "1", tmp_path / "x.py")
    with pytest.raises(UsageError, match="cannot read the"):
        drgn_command(None, None, tmp_path / "missing.py")


def test_stacks_are_shown_one_function_a_line() -> None:
    assert repr(KernelStack(["schedule+0x27", "kthreadd+0x1 ?"], "end of stack")) == (
        "#0  schedule+0x27\n#1  kthreadd+0x1 ?\n   (end of stack)"
    )
