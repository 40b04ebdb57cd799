"""How ``--help`` looks: what belongs together in one section, and every name whole in 80 columns.

Typer's own tables give a name, a type, a range and a sentence a column each, cut a name that is longer than its column,
and take what is in square brackets for markup. Here names stand at the left and the sentence beside or below them, as
click has it, with the default and the limits at its end.

typer brings a click of its own, which has no public types; nor are the methods public that put a default into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import typer
from typer._click import Context, HelpFormatter, Parameter
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

Sections = Mapping[str, Sequence[str]]
"""By heading the names of what stands below it, in order."""
MAX_COLUMNS = 100
"""Longer lines are hard to read."""
NO_LIMIT = 1e6
"""Limits from here on only refuse what nobody means, and are not worth a reader's time."""
OTHERS = "Options"
_PLACEHOLDERS = {"str": "TEXT", "int": "N", "float": "N", "path": "FILE"}
_Function = TypeVar("_Function", bound=Callable[..., Any])


class HelpfulCommand(TyperCommand):
    """A command whose options stand in sections."""

    sections: ClassVar[Sections] = {}
    """Names of its parameters as Python has them; those that are in none come last."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """What stands after the name: arguments as the list below has them, in brackets when they may be left out."""
        arguments = [it for it in self.get_params(ctx) if isinstance(it, TyperArgument)]
        names = [(_placeholder(it, ctx), it.required) for it in arguments]
        return ["[OPTIONS]", *(it if needed or it.startswith("[") else f"[{it}]" for it, needed in names)]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the arguments and the options."""
        _write_parameters(self.get_params(ctx), self.sections, ctx, formatter)


class HelpfulGroup(TyperGroup):
    """A group whose commands stand in sections, above its own few options."""

    sections: ClassVar[Sections] = {}
    """Names of its commands; those that are in none come last."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands and the options."""
        about = {name: _first_sentence(it.help or "") for name, it in self.commands.items() if not it.hidden}
        indent = max(map(len, about), default=0)
        for heading, names in _sectioned(list(about), self.sections, "Commands"):
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{indent}}", about[name]) for name in names])
        _write_parameters(self.get_params(ctx), {}, ctx, formatter)


class Commands(typer.Typer):
    """Commands, or commands below one, with a help that can be read."""

    def __init__(self, *, cls: type[TyperGroup] = HelpfulGroup, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(cls=cls, rich_markup_mode=None, **settings)

    def command(  # type: ignore[override]
        self,
        name: str | None = None,
        *,
        cls: type[TyperCommand] = HelpfulCommand,
        **settings: Any,  # noqa: ANN401
    ) -> Callable[[_Function], _Function]:
        """Declare a command."""
        return super().command(name, cls=cls, **settings)


def _first_sentence(text: str) -> str:
    """What a list says of a command; its own help says the rest."""
    sentence, dot, _rest = " ".join(text.split()).partition(". ")
    return f"{sentence}{dot.strip()}"


def _write_parameters(
    parameters: Sequence[Parameter], sections: Sections, ctx: Context, formatter: HelpFormatter
) -> None:
    rows = {it.name: _row(it, ctx) for it in parameters if not getattr(it, "hidden", False)}
    arguments = [it.name for it in parameters if isinstance(it, TyperArgument) and it.name in rows]
    options = [it.name for it in parameters if it.name in rows and it.name not in arguments]
    for heading, names in (("Arguments", arguments), *_sectioned(options, sections, OTHERS)):
        if names:
            with formatter.section(heading):
                formatter.write_dl([rows[name] for name in names])


def _sectioned(names: Sequence[str], sections: Sections, others: str) -> Iterator[tuple[str, list[str]]]:
    """Give each section with those of its names that there are, then what is in none."""
    placed = {name for under in sections.values() for name in under}
    for heading, under in sections.items():
        there = [name for name in under if name in names]
        if there:
            yield heading, there
    left = [name for name in names if name not in placed]
    if left:
        yield others, left


def _row(parameter: Parameter, ctx: Context) -> tuple[str, str]:
    about = getattr(parameter, "help", None) or ""
    notes = "; ".join(_notes(parameter, ctx))
    words = f"{about} [{notes}]" if notes else about
    if not isinstance(parameter, TyperOption):
        return _placeholder(parameter, ctx), words
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        names += " / " + ", ".join(parameter.secondary_opts)
    return names if parameter.is_flag else f"{names} {_placeholder(parameter, ctx)}", words


def _placeholder(parameter: Parameter, ctx: Context) -> str:
    """What stands for the value."""
    if isinstance(parameter, TyperArgument):
        name = parameter.metavar or parameter.name.upper().replace("_", "-")
        return name if parameter.metavar or parameter.nargs == 1 else f"{name}..."
    if parameter.metavar:
        return parameter.metavar
    kind = str(getattr(parameter, "display_type_rich", lambda ctx: "")(ctx=ctx) or "").strip("<>")
    kind = kind.removesuffix(" range").removeprefix("list[").removesuffix("]")
    return _PLACEHOLDERS.get(kind, kind)


def _notes(parameter: Parameter, ctx: Context) -> Iterator[str]:
    """What is added to the sentence: the default, if there is one that says something, and the limits."""
    default = _default(parameter, ctx)
    if default:
        yield f"default: {default}"
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    high = None if high is None or high >= NO_LIMIT else high
    if low is not None and high is not None:
        yield f"{low:g} to {high:g}"
    elif low:
        yield f"{low:g} or more"
    elif high is not None:
        yield f"up to {high:g}"


def _default(parameter: Parameter, ctx: Context) -> str:
    """The default in words; empty for one that is not worth naming: none, and a flag that is not set."""
    if not isinstance(parameter, TyperOption | TyperArgument) or not parameter.show_default:
        return ""
    value = parameter._extract_default_help_str(ctx=ctx)
    if value is None or value == "":
        return ""
    if isinstance(parameter, TyperOption) and parameter.is_bool_flag:
        off = parameter.secondary_opts[0] if parameter.secondary_opts else ""
        if value:
            return "on" if off else ""
        return "" if off.startswith("--no-") else off
    if isinstance(value, float):
        return f"{value:g}"
    return parameter._get_default_string(ctx=ctx, show_default_is_str=False, default_value=value)
