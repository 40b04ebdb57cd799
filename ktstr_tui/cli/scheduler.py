"""``ktstr-tui scheduler``: show, attach, detach and replace the scheduler of a run while its guest runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, RunName
from ktstr_tui.model.commands import (
    AttachScheduler,
    DetachScheduler,
    ReplaceScheduler,
    SchedulerAnswer,
    SchedulerRequest,
)
from ktstr_tui.model.errors import GuestError, SchedulerRejectedError, UsageError
from ktstr_tui.model.scheduler_swap import (
    MAX_OBJECT_BYTES,
    ReplaceOutcome,
    SwapFailed,
    SwapOp,
    SwapRejected,
    SwapTimedOut,
    outcome_words,
)
from ktstr_tui.text.output import print_json, print_line, say

app = Commands(
    no_args_is_help=True, help="Show, attach, detach or replace the scheduler of a run in progress."
)

Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Scheduler of the scenario it is about. [default: the loaded one, else that of the step]",
    ),
]
LOG_LINES = 20
"""Of a refused scheduler's log are printed, the last."""


@app.command()
def show(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Print the loaded scheduler's variables, and how often and how long its BPF programs run at the moment."""
    import asyncio

    from ktstr_tui.cli.attach import find_run
    from ktstr_tui.link.viewer import Viewer
    from ktstr_tui.model.state import RunState
    from ktstr_tui.text.value_lines import printed_values, values_json

    async def ask(place: Path) -> RunState:
        async with Viewer(place) as viewer:
            await viewer.connect()
            return viewer.state

    state = asyncio.run(ask(find_run(run_name)))
    if as_json:
        print_json(values_json(state))
        return
    for line in printed_values(state):
        print_line(line)


@app.command()
def replace(
    file: Annotated[str, typer.Argument(help="The BPF object (.bpf.o) to load, or demo:NAME.")],
    run_name: RunName = None,
    target: Target = "",
    as_json: AsJson = False,
) -> None:
    """Load a new BPF object in place of the scheduler; the old one stays if the new one is refused."""
    name = Path(file).name
    request = ReplaceScheduler(file=name, content=read_object(file), target=target)
    _change("replace", run_name, request, name, as_json)


@app.command()
def detach(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Detach the scheduler; the kernel's own runs until the next step."""
    _change("detach", run_name, DetachScheduler(), "", as_json)


@app.command()
def attach(run_name: RunName = None, target: Target = "", as_json: AsJson = False) -> None:
    """Attach a scheduler of the scenario, such as one that was detached or ejected."""
    _change("attach", run_name, AttachScheduler(target=target), target, as_json)


def read_object(word: str) -> bytes:
    """Read a BPF object that a running guest can take.

    Args:
        word: Its path, or ``demo:NAME``.

    Raises:
        UsageError: It is no BPF object with a scheduler in it, or too large.
    """
    from ktstr_tui.wire.user_file import read_user_file

    return read_user_file(object_file(word), "scheduler", max_bytes=MAX_OBJECT_BYTES)


def object_file(word: str) -> Path:
    """Find the file of a BPF object that a running guest can take.

    Args:
        word: Its path, or ``demo:NAME``.

    Raises:
        UsageError: It is no BPF object with a scheduler in it.
    """
    from ktstr_tui.guest.payload import resolve_scheduler

    found = resolve_scheduler(word if word.startswith("demo:") else shlex.quote(word))
    if found.kind == "none":
        raise UsageError("none stands for no scheduler", "ktstr-tui scheduler detach removes the loaded one")
    if found.kind != "object":
        raise UsageError(
            f"{word} is a program, and a running guest takes BPF objects only: a program attaches as soon as"
            " it is loaded, so the old scheduler could not run until the new one is verified",
            "name the .bpf.o, or start another run with --scheduler",
        )
    (file,) = found.files.values()
    return file.source if isinstance(file.source, Path) else Path(word)


def _change(
    op: SwapOp,
    run_name: str | None,
    request: SchedulerRequest,
    name: str,
    as_json: bool,
) -> None:
    from ktstr_tui.cli.control import ask_run

    outcome = ask_run(run_name, request, SchedulerAnswer).outcome
    if as_json:
        print_json(msgspec.to_builtins(outcome))
    _require_done(op, name, outcome)
    if not as_json:
        print_line(outcome_words(op, name, outcome))


def _require_done(op: SwapOp, name: str, outcome: ReplaceOutcome) -> None:
    words = outcome_words(op, name, outcome)
    match outcome:
        case SwapRejected(log=log):
            for line in log[-LOG_LINES:]:
                say(line)
            raise SchedulerRejectedError(words, "the whole log is in scheduler.log of the run's directory")
        case SwapFailed():
            raise UsageError(words, "ktstr-tui status shows the step and what is loaded")
        case SwapTimedOut():
            raise GuestError(words, "ktstr-tui status shows whether the guest runs, and what is loaded")
        case _:
            return
