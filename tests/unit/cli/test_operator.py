"""Keys and proposals from the command line: made, signed by two, sent; what is odd about them is refused."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.cli import main as program
from ktstr_tui.control.authority import Authority
from ktstr_tui.control.signatures import Verifier
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import commands as cmd
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.signing import Affected
from ktstr_tui.wire.operator_keys import read_operator_key, read_operators, write_operator_key
from tests.unit.link.backend import Backend

HOSTILE = "\x1b[2J\u202eheld"


class Run:
    """A run that wants two operators, and says something hostile in its dry run."""

    def __init__(self, operators: Path) -> None:
        self.stream = Stream()
        self.now_ms = 0
        listed = read_operators(operators)
        self.verifier = Verifier(listed, self.stream.run_id, lambda: self.now_ms, required=2)
        self.authority = Authority(verifier=self.verifier)
        self.affected = Affected(request="end", what=(f"run {HOSTILE}",), warnings=(HOSTILE,))
        self.asked: list[str] = []

    async def handle(self, command: Command) -> Reply:
        try:
            if command.signed is not None:
                self.now_ms = command.signed.issued_ms
            who = self.authority.check(command)
            if isinstance(command.request, cmd.DryRun):
                return command.done(self.affected)
            self.authority.check_effect(command, self.affected)
            self.asked.append(f"{command.name} by {who.operator}")
            return command.done(cmd.Changed(changed=True))
        except KtstrError as error:
            return command.failed(error)


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
        with pytest.raises(SystemExit) as left:
            program.main()
        captured = capsys.readouterr()
        code = left.value.code
        return code if isinstance(code, int) else 0, captured.out + captured.err

    return run


def test_a_command_that_two_signed_is_carried_out(
    tmp_path: Path, call: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {name: tmp_path / f"{name}.toml" for name in ("ada", "ben")}
    for name, path in keys.items():
        assert call("operator", "new", name, "--key", str(path))[0] == 0
    listed = [call("operator", "show", "--key", str(path))[1] for path in keys.values()]
    (tmp_path / "operators.toml").write_text("".join(listed))
    run, proposal, place = Run(tmp_path / "operators.toml"), str(tmp_path / "p.json"), str(tmp_path / "run")
    with Backend(tmp_path / "run", run.handle, run.stream, controllers=run.authority.controllers):
        monkeypatch.setenv("KTSTR_OPERATOR", str(keys["ada"]))
        code, text = call("operator", "propose", proposal, "--end", "--run", place)
        assert (code, "\x1b" in text or "\u202e" in text) == (0, False)
        assert "affects run" in text
        code, text = call("operator", "submit", proposal, "--run", place)
        assert code == UsageError.exit_code
        assert "1 operator signed it" in text
        code, text = call("operator", "sign", proposal, "--key", str(keys["ben"]))
        assert "signed by ada, ben" in text
        assert call("operator", "submit", proposal, "--run", place) == (0, "end was carried out\n")
        assert call("operator", "submit", proposal, "--run", place)[0] == UsageError.exit_code
        # What nobody signed is refused, and the hint says how it is done.
        code, text = call("end", place)
        assert code == UsageError.exit_code
        assert "operator propose" in text
    assert run.asked == ["end by ada, ben"]


def test_a_proposal_that_says_something_else_than_was_signed_is_refused(
    tmp_path: Path, call: Callable[..., tuple[int, str]]
) -> None:
    key, proposal = tmp_path / "ada.toml", tmp_path / "p.json"
    (tmp_path / "list.toml").write_text(write_operator_key(key, "ada").listed())
    run = Run(tmp_path / "list.toml")
    with Backend(tmp_path / "run", run.handle, run.stream):
        call("operator", "propose", str(proposal), "--end", "--key", str(key), "--run", str(tmp_path / "run"))
    document = json.loads(proposal.read_text())
    document["affected"]["what"] = ["nothing much"]
    proposal.write_text(json.dumps(document))
    code, text = call("operator", "sign", str(proposal), "--key", str(key))
    assert code == UsageError.exit_code
    assert "not what was signed" in text
    proposal.write_bytes(b"{}")
    assert call("operator", "submit", str(proposal))[0] == UsageError.exit_code


def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ada.toml"
    made = write_operator_key(path, "ada")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_operator_key(path).public == made.public
    path.chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        read_operator_key(path)
    with pytest.raises(UsageError, match="there already"):
        write_operator_key(path, "ada")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "operators"),
        ("[operators]\n", "no operator who may control"),
        ('[operators.ada]\nkey = "AA=="\n', "a key of 1 bytes"),
        ('[operators.ada]\nkey = "?"\n', "not base64"),
        ('[operators."a b"]\nkey = "AA=="\n', "matching regex"),
        ('[operators.ada]\nkey = "{key}"\nrole = "king"\n', "king"),
        ('[operators.ada]\nkey = "{key}"\nrole = "observe"\n', "no operator who may control"),
        ('[operators.ada]\nkey = "{key}"\n[operators.ben]\nkey = "{key}"\n', "one key for two"),
    ],
)
def test_a_list_of_operators_that_is_wrong_is_refused(tmp_path: Path, text: str, why: str) -> None:
    key = "A" * 43 + "="
    path = tmp_path / "operators.toml"
    path.write_text(text.format(key=key) if "{key}" in text else text)
    with pytest.raises(UsageError, match=why):
        read_operators(path)


def test_the_kernel_says_who_is_at_the_other_end_of_the_socket(tmp_path: Path) -> None:
    seen: list[Command] = []

    async def handle(command: Command) -> Reply:
        seen.append(command)
        return command.done(cmd.Changed(changed=True))

    from ktstr_tui.cli.control import ask_run
    from ktstr_tui.control.authority import identify

    with Backend(tmp_path / "run", handle):
        ask_run(str(tmp_path / "run"), cmd.Thaw(), cmd.Changed)
    (command,) = seen
    assert command.peer is not None
    assert (command.peer.uid, command.peer.pid) == (os.getuid(), os.getpid())
    who = identify(command)
    assert (who.proof, who.operator) == ("peer", command.viewer)
    assert who.operator.startswith(command.peer.login + "@")
    liar = msgspec.structs.replace(command, viewer="linus@kernel")
    assert identify(liar).operator == f"{command.peer.login} (linus@kernel)"
