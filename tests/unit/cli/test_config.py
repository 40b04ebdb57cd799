"""The configuration file: what it says is used, what is wrong in it is named, and the command line wins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.cli import main as program
from ktstr_tui.cli import run as run_module
from ktstr_tui.cli import screen
from ktstr_tui.cli.config_file import Part, read_config
from ktstr_tui.cli.look import check_look, look_for
from ktstr_tui.cli.run_keys import NOT_IN_FILE, run_keys
from ktstr_tui.link.replay import Replay
from ktstr_tui.model.errors import EXIT_OK, EXIT_USAGE, UsageError
from ktstr_tui.model.events import RunEnded
from ktstr_tui.model.state import RunState
from ktstr_tui.tui.app import KtstrApp
from tests.docs.reference_tables import command_tree, leaves

Write = Callable[[str | bytes], Path]
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the configuration file of a user who has nothing else."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "config" / "ktstr" / "config.toml"
    path.parent.mkdir(parents=True)

    def written(text: str | bytes) -> Path:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Calls the program; gives exit code, standard output and standard error."""

    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ktstr-tui", *words])
        code: object = EXIT_OK
        try:
            program.main()
        except SystemExit as left:
            code = left.code or EXIT_OK
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return called


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The runs that were started, none of which boots anything."""
    configs: list[RunConfig] = []

    def run_here(config: RunConfig) -> None:
        configs.append(config)
        raise SystemExit(EXIT_OK)

    monkeypatch.setattr(run_module, "_run_here", run_here)
    return configs


def test_without_a_file_everything_is_as_by_default(
    write: Write, call: Say, started: list[RunConfig]
) -> None:
    assert call("run", "--headless")[0] == EXIT_OK
    assert started == [RunConfig()]
    path = write("")
    path.unlink()
    assert call("config", "path") == (EXIT_OK, f"{path}\n", "")
    assert call("config", "check") == (EXIT_OK, f"{path}: no such file; defaults are used\n", "")


def test_run_takes_its_defaults_from_the_file(write: Write, call: Say, started: list[RunConfig]) -> None:
    write(
        '[run]\nmemory = "1G"\nhz = 5\nearly-capture = false\naccel = "tcg"\nduration = 2.5\nheadless = true\n'
    )
    assert call("run")[0] == EXIT_OK
    config = started[0]
    assert (config.memory_mib, config.sample_hz, config.early_capture) == (1024, 5.0, False)
    assert (config.accelerator, config.duration_s) == ("tcg", 2.5)


def test_the_command_line_wins(write: Write, call: Say, started: list[RunConfig]) -> None:
    write('[run]\nmemory = "1G"\nhz = 5\nearly-capture = false\nallow-writes = true\naccel = "kvm"\n')
    words = ("--memory", "256M", "--hz", "2", "--early-capture", "--no-allow-writes", "--accel", "tcg")
    assert call("run", "--headless", *words)[0] == EXIT_OK
    config = started[0]
    assert (config.memory_mib, config.sample_hz, config.early_capture) == (256, 2.0, True)
    assert (config.allow_writes, config.accelerator) == (False, "tcg")


def test_a_default_of_the_file_is_shown_by_help(write: Write, call: Say) -> None:
    write('[run]\nmemory = "768M"\n')
    assert "768M" in call("run", "--help")[1]
    write("[run]\nmemory = 7\n")
    assert call("run", "--help")[0] == EXIT_OK


def test_every_flag_of_the_file_can_be_undone_on_the_command_line() -> None:
    run = next(command for name, command in leaves(command_tree()) if name == "run")
    flags = {key.field for key in run_keys().values() if key.kind is bool}
    assert "allow_writes" in flags
    assert flags <= {it.name for it in run.params if it.secondary_opts}


MISTAKES = [
    ("thme = 3", "1: thme: there is no such key. Did you mean \"theme\"?", "file"),
    ('memory = "1G"', "1: memory: there is no such key. Did you mean \"memory\"?", "file"),
    ("\ntheme = 3", "2: theme: 3 is of another type", "theme"),
    ('theme = "nrod"', "1: theme: there is no theme 'nrod'. Did you mean \"nord\"?", "theme"),
    ("keys = 3", "1: keys: 3 is of another type", "keys"),
    ("[keys]\nrun.capture = 3", "2: keys.run.capture: 3 is of another type", "keys"),
    ('[keys]\n"run.captur" = "x"', "2: keys.run.captur: there is no such action. Did you mean \"run.capture\"", "keys"),
    ('[keys]\nrun.capture = "slahs"', "2: keys.run.capture: there is no key 'slahs'. Did you mean \"slash\"?", "keys"),
    ('[keys]\nrun.capture = "crtl+k"', "2: keys.run.capture: there is no key 'crtl+k'. Did you mean \"ctrl\"?", "keys"),
    ('[keys]\nrun.capture = ""', "2: keys.run.capture: has no key", "keys"),
    ('[keys]\nrun.capture = "f"', "2: keys.run.capture: f is the key of run.freeze (Freeze) too", "keys"),
    ('[keys]\nrun.capture = "ctrl+p"', "2: keys.run.capture: ctrl+p opens the command palette", "keys"),
    ("run = []", "1: run: [] is of another type", "run"),
    ('[run]\nmemroy = "1G"', "2: run.memroy: there is no such key. Did you mean \"memory\"?", "run"),
    ('[run]\nboot_deadline = 3', "2: run.boot_deadline: there is no such key. Did you mean \"boot-deadline\"?", "run"),
    ("[run]\nmemory = 1", "2: run.memory: 1 is of another type", "run"),
    ('[run]\nmemory = "1X"', "2: run.memory: memory '1X' is not a size", "run"),
    ('[run]\ntopology = "2x2"', "2: run.topology: topology '2x2' is not of the form NnNlNcNt", "run"),
    ('[run]\ncpus = 3\ntopology = "1n1l2c1t"', "2: run.cpus: topology and cpus exclude each other", "run"),
    ("[run]\ncpus = 256", "2: run.cpus: 256 is out of range", "run"),
    ("[run]\nhz = 1001", "2: run.hz: 1001.0 is out of range", "run"),
    ("[run]\nhz = nan", "2: run.hz: nan is out of range", "run"),
    ("[run]\nhz = true", "2: run.hz: True is of another type", "run"),
    ("[run]\ncaptures = 1.5", "2: run.captures: 1.5 is of another type", "run"),
    ('[run]\naccel = "kmv"', "2: run.accel: there is no 'kmv'. Did you mean \"kvm\"?", "run"),
    ('[run]\nheadless = "yes"', "2: run.headless: 'yes' is of another type", "run"),
    ('[run]\nname = "x"', "2: run.name: there is no such key", "run"),
    ('[run]\nbeats-udp = "nowhere"', "2: run.beats-udp: ", "run"),
    ("[run\n", "1: Expected ']' at the end of a table declaration", "file"),
    ("x = " + "[" * 20_000, " tables or arrays are nested too deeply", "file"),
]  # fmt: skip
"""A file, what is said of it after its path, and what it is about."""


@pytest.mark.parametrize(("text", "expected", "part"), MISTAKES)
def test_a_mistake_is_named_with_file_line_and_key(
    text: str, expected: str, part: Part, write: Write, call: Say
) -> None:
    path = write(text)
    code, out, err = call("config", "check")
    assert code == EXIT_USAGE
    assert err == ""
    assert out.startswith(f"{path}:{expected}")
    if part != "file" or "nested" not in expected:
        assert "\n  next: " in out
    found = json.loads(call("config", "check", "--json")[1])["mistakes"]
    assert [it["part"] for it in found] == [part]


def test_every_part_has_a_mistake_in_the_table() -> None:
    assert {part for _text, _expected, part in MISTAKES} == set(get_args(Part))


@pytest.mark.parametrize("content", [b"theme = '\xff'", b"x" * (1 << 21)])
def test_a_file_that_is_no_text_is_named(content: bytes, write: Write, call: Say) -> None:
    path = write(content)
    code, out, _err = call("config", "check")
    assert code == EXIT_USAGE
    assert out.startswith(f"{path}: cannot read the configuration file")


def test_a_directory_in_its_place_is_named(write: Write, call: Say) -> None:
    path = write("")
    path.unlink()
    path.mkdir()
    assert call("config", "check")[:2] == (
        EXIT_USAGE,
        f"{path}: cannot read the configuration file {path}: it is a directory\n"
        "  next: name a regular file as configuration file\n",
    )


@pytest.mark.parametrize(("text", "expected", "part"), MISTAKES)
def test_run_refuses_what_is_about_it_and_the_screen_opens_all_the_same(
    text: str, expected: str, part: Part, write: Write, call: Say, started: list[RunConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write(text)
    code, _out, err = call("run", "--headless")
    if part in ("file", "run"):
        assert (code, started) == (EXIT_USAGE, [])
        assert err.startswith(f"error (usage): {path}:{expected}")
    else:
        assert (code, len(started)) == (EXIT_OK, 1)
    look = look_for(None)
    assert (look.theme, look.keys) == ("", {})
    assert len(look.notices) == 1
    assert look.notices[0].startswith(f"{path}:{expected}")
    assert look.notices[0] in capsys.readouterr().err.replace("\n", " ")


def test_a_replay_opens_with_a_broken_file_and_says_what_is_wrong(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[KtstrApp] = []

    async def until_left(app: KtstrApp) -> None:
        shown.append(app)

    path = write('theme = "nord"\nbroken = 1\n')
    monkeypatch.setattr(screen, "require_terminal", lambda _: None)
    monkeypatch.setattr(screen, "until_left", until_left)
    monkeypatch.setattr("ktstr_tui.link.replay.Replay", _NoRecording)
    screen.replay_command(tmp_path / "recording.ktstr", 1.0)
    assert shown[0].theme == "nord"
    assert f"{path}:2: broken: there is no such key" in capsys.readouterr().err


class _NoRecording(Replay):
    """A replay of nothing."""

    def __init__(self, path: Path, speed: float, *, stays: bool) -> None:
        """Nothing is read."""
        self.run_end: RunEnded | None = None

    @property
    def state(self) -> RunState:
        """That of no run."""
        return RunState()

    @property
    def connection_reason(self) -> str:
        """Nothing is wrong."""
        return ""


def test_what_is_right_beside_a_mistake_is_used(write: Write) -> None:
    write(
        'theme = "ktstr-light"\n[keys]\nrun.capture = "f5"\nrun.freeze = "nokey"\n[run]\nhz = 3\nmemory = 1\n'
    )
    config = read_config()
    look, mistakes = check_look(config)
    assert (look.theme, dict(look.keys), dict(config.run)) == (
        "ktstr-light",
        {"run.capture": "f5"},
        {"hz": 3},
    )
    assert [it.key for it in mistakes] == ["run.memory", "keys.run.freeze"]


def test_a_second_mistake_is_counted(write: Write, call: Say) -> None:
    write("[run]\nhz = -1\nmemory = 1\n")
    err = call("run", "--headless")[2]
    assert "(1 more)" in err
    assert "ktstr-tui config check" in err


def test_a_theme_of_the_command_line_wins_and_must_exist(write: Write, call: Say) -> None:
    path = write('theme = "ktstr-light"\n')
    assert look_for(None).theme == "ktstr-light"
    look = look_for("ktstr-high-contrast")
    assert (look.theme, look.decided_by) == ("ktstr-high-contrast", str(path))
    with pytest.raises(UsageError, match=r"no theme 'nrod'\. Did you mean .nord") as error:
        look_for("nrod")
    assert "ktstr-colour-blind" in error.value.hint
    code, _out, err = call("run", "--headless", "--theme", "nord")
    assert code == EXIT_USAGE
    assert "--theme needs the screen" in err


def test_show_says_what_is_in_force_and_why(write: Write, call: Say, tmp_path: Path) -> None:
    path = write('[keys]\nrun.capture = "f5,C"\n[run]\nmemory = "1G"\n')
    kept = tmp_path / "state" / "ktstr-tui"
    kept.mkdir(parents=True)
    (kept / "theme").write_text("nord\n")
    code, out, err = call("config", "show")
    assert (code, err) == (EXIT_OK, "")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert lines["#"] == str(path)
    assert lines["theme"] == '"nord" (last choice)'
    assert lines["keys.run.capture"] == '"f5,C" (file)'
    assert lines["keys.run.freeze"] == '"f"'
    assert lines["run.memory"] == '"1G" (file)'
    assert lines["run.topology"] == '"1n1l2c1t"'
    assert lines["run.kernel"] == "–"
    settings = json.loads(call("config", "show", "--json")[1])["settings"]
    assert {"key": "run.accel", "value": "auto", "origin": "default"} in settings
    assert len(settings) == len(out.splitlines()) - 1


def test_options_that_belong_to_one_start_are_no_keys() -> None:
    assert not run_keys().keys() & NOT_IN_FILE
    assert "scheduler-args" not in run_keys()


toml_values = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(run_keys())), toml_values)
def test_any_value_of_a_key_is_taken_or_refused(name: str, value: object) -> None:
    refused = ""
    try:
        run_keys()[name].convert(value)
    except UsageError as error:
        refused = error.message
    assert "Traceback" not in refused
    assert refused == refused.strip()
