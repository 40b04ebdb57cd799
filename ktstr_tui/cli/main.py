"""The ``ktstr-tui`` program: declares the commands; each loads its own module only when called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.capture_commands import declare_capture_commands
from ktstr_tui.cli.debug_commands import declare_debug_commands
from ktstr_tui.cli.groups import GROUPS, add_group
from ktstr_tui.cli.helping import MAX_COLUMNS, Commands
from ktstr_tui.cli.options import from_options
from ktstr_tui.cli.run_arguments import AsJson, RunName, Theme
from ktstr_tui.cli.run_options import RunOptions
from ktstr_tui.cli.sections import RunCommand
from ktstr_tui.cli.seed_commands import declare_seed_commands
from ktstr_tui.cli.stored_recording import Recording, recording_of
from ktstr_tui.cli.suggesting import SuggestingGroup
from ktstr_tui.cli.task_commands import tasks
from ktstr_tui.text.output import guarded, print_line

app = Commands(
    name="ktstr-tui",
    cls=SuggestingGroup,
    help="Observe a Linux scheduler, and capture the machine when it fails.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_COLUMNS},
)

Version = Annotated[
    bool,
    typer.Option(
        "--version",
        "-V",
        callback=lambda wanted: _print_version() if wanted else None,
        is_eager=True,
        help="Print the version, and where the compiled parts are.",
    ),
]


@app.callback()
def program(context: typer.Context, version: Version = False) -> None:
    """Observe a Linux scheduler, and capture the machine when it fails."""
    if context.invoked_subcommand == "run":
        from ktstr_tui.cli.config_file import read_config
        from ktstr_tui.cli.run_keys import run_keys

        # Where click looks for the default of an option before the option's own.
        defaults = {run_keys()[name].field: value for name, value in read_config().run.items()}
        context.default_map = {"run": defaults}


@app.command(cls=RunCommand)
@from_options(RunOptions)
def run(options: RunOptions) -> None:
    """Boot a kernel with a scheduler and watch it. Without options it is the tour: three steps, each explained."""
    from ktstr_tui.cli.run import run_command

    run_command(
        options.to_config(),
        headless=options.headless,
        as_json=options.as_json,
        explain=options.pause,
        theme=options.theme,
    )


declare_seed_commands(app)
declare_capture_commands(app)


@app.command()
def new(
    directory: Annotated[
        Path, typer.Argument(metavar="NAME", help="Directory to make; its name is the scheduler's.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write a scheduler to begin with: source, headers, scenario and Makefile."""
    from ktstr_tui.cli.new import new_command

    new_command(directory, as_json)


@app.command()
def attach(
    run_name: RunName = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only look: refuse everything that touches the run.")
    ] = False,
    theme: Theme = None,
) -> None:
    """Open the screen on a run that is in progress, on this host or forwarded from another one."""
    from ktstr_tui.cli.screen import attach_command

    attach_command(run_name, read_only, theme)


@app.command()
def replay(
    recording: Recording,
    speed: Annotated[
        float, typer.Option("--speed", min=0.25, max=16, help="Playback speed, as a multiple of real time.")
    ] = 1.0,
    theme: Theme = None,
) -> None:
    """Play a recording in the same screen: a file, or that of a run on disk by its name."""
    from ktstr_tui.cli.screen import replay_command

    replay_command(recording_of(recording), speed, theme)


@app.command()
def status(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Print the state of a run."""
    from ktstr_tui.cli.status import status_command

    status_command(run_name, as_json)


@app.command()
def events(
    run_name: RunName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the events of a run or of a recording, one a line."""
    from ktstr_tui.cli.events import events_command

    events_command(run_name, follow, as_json)


@app.command()
def freeze(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Freeze the guest: stop all its CPUs until it is thawed."""
    from ktstr_tui.cli.control import freeze_command

    freeze_command(run_name, as_json)


@app.command()
def thaw(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Thaw a frozen guest."""
    from ktstr_tui.cli.control import thaw_command

    thaw_command(run_name, as_json)


@app.command()
def rebuild(
    run_name: RunName = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up the build in progress instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the scheduler of a run with --build, and load it into the running guest."""
    from ktstr_tui.cli.control import rebuild_command

    rebuild_command(run_name, cancel, as_json)


@app.command()
def restart(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Boot the guest again with the newest scheduler; the run, its watches and captures stay."""
    from ktstr_tui.cli.control import restart_command

    restart_command(run_name, as_json)


app.command()(tasks)


@app.command()
def beats(run_name: RunName = None, as_json: AsJson = False) -> None:
    """List heartbeat senders, and say why one is silent."""
    from ktstr_tui.cli.beats import beats_command

    beats_command(run_name, as_json)


@app.command()
def beat(
    run_name: RunName = None,
    socket: Annotated[Path | None, typer.Option("--socket", help="Unix socket of the observer.")] = None,
    udp: Annotated[str | None, typer.Option("--udp", help="HOST:PORT of the observer.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key", help="Key file to encrypt UDP heartbeats.")
    ] = None,
    status: Annotated[str, typer.Option("--status", help="ok, degraded or critical.")] = "ok",
    payload: Annotated[int, typer.Option("--payload", help="32-bit payload.")] = 0,
    count: Annotated[int, typer.Option("--count", min=0, help="Number of heartbeats; 0 for no limit.")] = 1,
    interval: Annotated[
        float, typer.Option("--interval", min=0, max=86400, help="Interval in seconds.")
    ] = 1.0,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Announce that the sender is exiting.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send heartbeats from a shell script."""
    from ktstr_tui.cli.beat import beat_command

    beat_command(
        run_name,
        socket=socket,
        udp=udp,
        key_file=key_file,
        status=status,
        payload=payload,
        count=count,
        interval_s=interval,
        terminal=terminal,
        as_json=as_json,
    )


@app.command()
def end(run_name: RunName = None, as_json: AsJson = False) -> None:
    """Shut a run down cleanly."""
    from ktstr_tui.cli.control import end_command

    end_command(run_name, as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this host and suggest fixes."""
    from ktstr_tui.cli.doctor import doctor_command

    doctor_command(as_json)


declare_debug_commands(app)


@app.command()
def locate(as_json: AsJson = False) -> None:
    """Print every directory the program uses."""
    from ktstr_tui.cli.locate import locate_command

    locate_command(as_json)


@app.command()
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="boot, sample, freeze, frames, beats, link, loop, pager, rerun, trace, store, restore, tui."
        ),
    ],
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Number of repetitions.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1, max=3600, help="How long keys are pressed, of tui. [default: 10]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure performance; print each figure as a ratio to a baseline of the same run."""
    from ktstr_tui.cli.bench import bench_command

    bench_command(what, rounds, seconds, as_json)


def _print_version() -> None:
    from ktstr_tui.cli.version import version_lines

    for line in version_lines():
        print_line(line)
    raise typer.Exit


def main() -> None:
    """Entry point of the program."""
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    commands = {it.name or getattr(it.callback, "__name__", "") for it in app.registered_commands}
    for name in GROUPS:
        # All of them for help, and for a misspelt command, which may be most like one of these.
        if wanted == name or wanted not in {*commands, *GROUPS}:
            add_group(app, name)
    # Under `python -m ktstr_tui` too: help and completion name the program that is installed.
    guarded(lambda: app(prog_name="ktstr-tui"))


if __name__ == "__main__":
    main()
