"""When the screen was closed, one line says how the run ended and how to see it again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.backend.config import OnExit, RunConfig
from ktstr_tui.cli import screen
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.tui.leaving import Leaving
from tests.unit.backend.test_boots import INFO


class Backend:
    """The process of a backend that ends as soon as it is waited for."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.signals: list[int] = []

    def poll(self) -> int | None:
        return None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def wait(self) -> int:
        return self.code


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "require_terminal", lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, reports: str, config: RunConfig, wish: Leaving = Leaving.END) -> int:
    backend: Any = Backend(1)
    ready = {"name": "tour", "socket_dir": "/run/x", "data_dir": "/state/tour 1"}
    started = screen.StartedRun(backend, io.StringIO(reports), ready)
    monkeypatch.setattr(screen, "start_backend", lambda _config: started)
    monkeypatch.setattr(screen, "_show", lambda *_args, **_more: screen.Shown(wish, RunState(), "", None))
    return screen.run_with_screen(config)


def test_a_run_says_its_outcome_and_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = '{"ended": {"exit_code": 1, "reason": "scheduler \\"stall\\" was ejected: ERROR_STALL"}}\n'
    assert run(monkeypatch, ended, RunConfig()) == 1
    assert capsys.readouterr().err == (
        'run tour: scheduler "stall" was ejected: ERROR_STALL (exit code 1); '
        "replay it with: ktstr-tui replay '/state/tour 1/recording.ktstr'\n"
    )


def test_a_recording_of_ones_own_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "", RunConfig(record="/tmp/mine.ktstr")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("replay it with: ktstr-tui replay /tmp/mine.ktstr")


def test_a_run_that_is_left_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "", RunConfig(), Leaving.LEAVE) == 0
    assert "still in progress; attach with: ktstr-tui attach tour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("on_exit", "said"),
    [("keep", "continues unseen; attach with: ktstr-tui attach tour"), ("end", "its screen is gone")],
)
def test_a_closed_terminal_is_nobodys_choice(
    on_exit: OnExit, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Backend, "send_signal", lambda _self, number: asked.append(number))
    assert run(monkeypatch, "", RunConfig(on_exit=on_exit), Leaving.GONE) == 0
    assert said in capsys.readouterr().err
    assert asked == [], "the backend sees for itself that the screen is gone"


@pytest.mark.parametrize(
    ("is_over", "lost"), [(True, ""), (False, ""), (False, "the backend closed the connection")]
)
def test_whoever_attached_is_told_too(
    is_over: bool, lost: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = fold(RunState(), ev.RunStarted(info=INFO))
    if is_over:
        fold(state, ev.RunEnded(exit_code=0, reason="scenario finished"))
    monkeypatch.setattr("ktstr_tui.cli.attach.pick_run", lambda _name: Path("/run/x"))
    monkeypatch.setattr(
        screen, "_show", lambda *_args, **_more: screen.Shown(Leaving.DETACH, state, lost, None)
    )
    screen.attach_command("tour")
    said = capsys.readouterr().err
    if is_over:
        assert said.startswith("run tour: scenario finished (exit code 0); replay it with: ktstr-tui replay ")
    elif lost:
        assert said.startswith(f"run tour is gone: {lost}; what was recorded: ktstr-tui replay ")
    else:
        assert said == "run tour is still in progress; attach with: ktstr-tui attach tour\n"
