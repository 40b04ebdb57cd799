"""The program's group of commands: what it says of a misspelt option, and what it does not load.

Of a misspelt option it says the same words as of a misspelt key of the configuration file.

Typer has pydantic convert the value of each parameter, also to what it is already, and to load pydantic takes 50 ms and
more of every command. So strings and flags that are what they shall be are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import typer
from typer._click import Command, Context, Parameter
from typer._click.exceptions import BadParameter, NoSuchOption
from typer._coercion import RuntimeParam, build_runtime_param
from typer.core import TyperArgument, TyperOption, _TyperParameter

from ktstr_tui.cli.helping import HelpfulGroup
from ktstr_tui.cli.sections import COMMANDS
from ktstr_tui.model.text import did_you_mean

_PYDANTIC = "Value error, "
"""What it writes before the words of whoever refused a value."""


class SuggestingGroup(HelpfulGroup):
    """It puts our words in the place of click's "Possible options"."""

    sections = COMMANDS

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Find a command."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            _spare(found.get_params(ctx))
        return found

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the options before the command."""
        _spare(self.get_params(ctx))
        with _our_words():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Parse the options of the command, of any depth, and call it."""
        with _our_words():
            return super().invoke(ctx)


class _AsItIs(RuntimeParam):
    """Takes what is of the right type already; has anything else converted."""

    def _coerce_value(self, value: object, param: _TyperParameter, ctx: Context) -> object:
        if isinstance(value, self.annotation):
            return value
        return build_runtime_param(param.type_descriptor).coerce(value, param, ctx)


def _spare(params: Iterable[Parameter]) -> None:
    for param in params:
        if isinstance(param, TyperArgument | TyperOption) and param._runtime_param is None:
            it = param.type_descriptor
            if it.annotation in (str, bool) and it.parameter_info.parser is None:
                param._runtime_param = _AsItIs(it.parameter_info, it.annotation)


@contextmanager
def _our_words() -> Iterator[None]:
    try:
        yield
    except NoSuchOption as error:
        known = (
            [name for it in error.ctx.command.params for name in (*it.opts, *it.secondary_opts)]
            if error.ctx
            else []
        )
        options = [name for name in known if name.startswith("-")]
        error.message = f"there is no option {error.option_name!r}{did_you_mean(error.option_name, options)}"
        error.possibilities = None
        raise
    except BadParameter as error:
        error.message = error.message.replace(_PYDANTIC, "")
        raise
