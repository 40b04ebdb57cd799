"""``--help`` of every command: no name cut, nothing taken for markup, and what belongs together in one section."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer.main
from typer._click import Command, Context
from typer.core import TyperArgument, TyperOption

from ktstr_tui.cli.groups import GROUPS, add_group
from ktstr_tui.cli.helping import MAX_COLUMNS, HelpfulCommand, HelpfulGroup
from ktstr_tui.cli.main import app
from ktstr_tui.cli.screen import INSTEAD
from ktstr_tui.cli.sections import COMMANDS, RUN


def every_context(parent: Context) -> Iterator[Context]:
    """Give a context for each command, as the program makes it."""
    yield parent
    for name, below in getattr(parent.command, "commands", {}).items():
        yield from every_context(Context(below, info_name=name, parent=parent, **below.context_settings))


def whole_program() -> Command:
    for name in GROUPS:
        if name not in {it.name for it in app.registered_groups}:
            add_group(app, name)
    return typer.main.get_command(app)


PROGRAM = whole_program()
EVERY = {
    it.command_path: it
    for it in every_context(Context(PROGRAM, info_name="ktstr-tui", **PROGRAM.context_settings))
}


def help_of(path: str, columns: int) -> str:
    context = EVERY[path]
    context.terminal_width = columns
    return context.command.get_help(context)


def parameters(path: str) -> list[TyperOption | TyperArgument]:
    context = EVERY[path]
    found = [it for it in context.command.params if isinstance(it, TyperOption | TyperArgument)]
    return [it for it in found if not it.hidden]


@pytest.mark.parametrize("path", EVERY)
def test_help_has_every_name_whole_in_80_columns(path: str) -> None:
    assert isinstance(EVERY[path].command, HelpfulCommand | HelpfulGroup)
    text = help_of(path, 80)
    assert max(map(len, text.splitlines())) <= 80
    listed = [line for line in text.splitlines() if line.startswith("  -")]
    for option in (name for it in parameters(path) for name in (*it.opts, *it.secondary_opts)):
        if option.startswith("-"):
            found = [line for line in listed if re.search(rf" {re.escape(option)}(,| |$)", line)]
            assert found, f"{option} is whole, and begins a line or stands beside its other name"
    for below in getattr(EVERY[path].command, "commands", {}):
        assert re.search(rf"^  {re.escape(below)} ", text, re.MULTILINE)


@pytest.mark.parametrize("path", EVERY)
def test_help_has_every_sentence_whole(path: str) -> None:
    text = "".join(help_of(path, MAX_COLUMNS).split())
    for it in parameters(path):
        assert "".join((it.help or "").split()) in text, "with what stands in square brackets"


def test_a_default_and_the_limits_are_told_in_words() -> None:
    text = " ".join(help_of("ktstr-tui run", 80).split())
    assert "Samples per second; 0 turns the sampler off. [default: 10; 0 to 1000]" in text
    assert "Seconds within which the guest must be up. [default: 90; 1 or more]" in text
    assert "[default: tour, or steady with --scheduler]" in text
    assert "of the watchdog timeout. [default: on]" in text
    assert "exists. [default: --saved-boot]" in text
    assert "after a wait that doubles. The machine:" in text, "of a flag that is off nothing is said"
    assert "<=" not in text


def test_every_option_of_run_is_in_one_section() -> None:
    context = EVERY["ktstr-tui run"]
    there = [it.name for it in context.command.get_params(context) if isinstance(it, TyperOption)]
    assert sorted(name for under in RUN.values() for name in under) == sorted(there)


def test_every_command_is_in_one_section() -> None:
    there = [path.split()[1] for path in EVERY if len(path.split()) == 2]
    assert sorted(name for under in COMMANDS.values() for name in under) == sorted(there)


def test_usage_names_what_may_be_left_out() -> None:
    assert help_of("ktstr-tui watch add", 80).startswith(
        "Usage: ktstr-tui watch add [OPTIONS] EXPRESSION [RUN]\n"
    )
    assert help_of("ktstr-tui run", 80).startswith("Usage: ktstr-tui run [OPTIONS] [-- ARGUMENT...]\n")


@pytest.mark.parametrize(("command", "hint"), INSTEAD.items())
def test_what_is_advised_where_there_is_no_terminal_is_there(command: str, hint: str) -> None:
    options = [name for it in parameters(f"ktstr-tui {command}") for name in it.opts]
    assert [it for it in re.findall(r"--[a-z-]+", hint) if it not in options] == []
    if named := re.search(r"the commands (\w+) and (\w+)", hint):
        assert [it for it in named.groups() if f"ktstr-tui {it}" not in EVERY] == []
