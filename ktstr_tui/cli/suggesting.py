"""What is said of a misspelt option: the same words as of a misspelt key of the configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from typer._click.exceptions import NoSuchOption
from typer.core import TyperGroup

from ktstr_tui.model.text import did_you_mean


class SuggestingGroup(TyperGroup):
    """The program's group of commands; it puts our words in the place of click's "Possible options"."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the options before the command."""
        with _our_words():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Parse the options of the command, of any depth, and call it."""
        with _our_words():
            return super().invoke(ctx)


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
