"""A command whose options are the fields of a dataclass.

typer makes options of a function's parameters. `from_options` shows it the fields of a dataclass as if they were the
parameters, and hands the function the record; so an option is declared once, beside its help, in the order in which
``--help`` lists it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer

from ktstr_tui.model.errors import UsageError

RIVALS = (("topology", "cpus"), ("seed", "deterministic"))
"""Options that exclude each other, by field. The one on the command line overrules the other one of the configuration
file."""
_NAMES = {"deterministic": "--deterministic (or --no-seed)"}
_Options = TypeVar("_Options")


def from_options(
    options: Callable[..., _Options],
) -> Callable[[Callable[[_Options], None]], Callable[..., None]]:
    """Make a command of a function that takes a record of options.

    Args:
        options: A dataclass whose fields are annotated for typer; those without a default must be given.
    """

    def decorate(function: Callable[[_Options], None]) -> Callable[..., None]:
        hints = get_type_hints(options, include_extras=True)
        defaults = {
            field.name: inspect.Parameter.empty if field.default is MISSING else field.default
            for field in fields(options)  # type: ignore[arg-type]
        }

        def command(context: typer.Context, **given: Any) -> None:  # noqa: ANN401
            chosen = {name for name in given if _source(context, name) == "COMMANDLINE"}
            for one, other in RIVALS:
                if chosen >= {one, other}:
                    names = f"--{one} and {_NAMES.get(other, f'--{other}')}"
                    raise UsageError(f"{names} exclude each other", "leave one of them out")
                if one in chosen:
                    given[other] = defaults[other]
                elif other in chosen:
                    given[one] = defaults[one]
            function(options(**given))

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {"context": typer.Context, **hints}
        parameter, keyword = inspect.Parameter, inspect.Parameter.KEYWORD_ONLY
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                parameter("context", parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
                *(parameter(it, keyword, default=defaults[it], annotation=hints[it]) for it in defaults),
            ]
        )
        return command

    return decorate


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source is not None else ""
