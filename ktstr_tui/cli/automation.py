"""``ktstr-tui automation``: hold what a run does by itself, and let it go on."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, RunName
from ktstr_tui.model.commands import Changed, HoldAutomation, ResumeAutomation
from ktstr_tui.text.output import print_json, print_line

app = Commands(no_args_is_help=True, help="Hold what a run does by itself, and end the hold.")


@app.command()
def hold(
    run_name: RunName = None,
    for_s: Annotated[
        float,
        typer.Option("--for", min=0.001, max=86400, help="Seconds after which the hold ends by itself."),
    ] = 600.0,
    why: Annotated[str, typer.Option("--why", help="What for; others see it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Stop automatic actions and ordinary commands. The guest runs on; looking, thaw and end work."""
    from ktstr_tui.cli.control import ask_run

    answer = ask_run(run_name, HoldAutomation(for_s=for_s, why=why[:256]), Changed)
    if as_json:
        print_json(msgspec.to_builtins(answer))
    else:
        print_line(f"automation is held for {for_s:g} s")


@app.command()
def resume(run_name: RunName = None, as_json: AsJson = False) -> None:
    """End a hold; what was accepted while it lasted is done now."""
    from ktstr_tui.cli.control import ask_run

    answer = ask_run(run_name, ResumeAutomation(), Changed)
    if as_json:
        print_json(msgspec.to_builtins(answer))
    else:
        print_line("automation continues" if answer.changed else "automation was not held")
