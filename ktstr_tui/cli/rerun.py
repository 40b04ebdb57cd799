"""``rerun`` and ``bundle``: a run with a seed again, looked at more closely, here or on another machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.cli.run_arguments import AsJson, Headless, NewName
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.text import printable
from ktstr_tui.text.output import print_json, print_line

_TIME = "TIME"


@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """The command line of ``rerun`` as typer read it."""

    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name or directory of a run with a seed, or a bundle of one.")
    ]
    to: Annotated[
        str | None,
        typer.Option("--to", metavar=_TIME, help="Freeze at this time of the run, such as 12.5s or 500ms."),
    ] = None
    before_ejection: Annotated[
        str | None,
        typer.Option("--before-ejection", metavar=_TIME, help="Freeze so long before the first ejection."),
    ] = None
    to_capture: Annotated[
        str | None, typer.Option("--to-capture", metavar="TAG", help="Freeze at the moment of this capture.")
    ] = None
    to_watch_hit: Annotated[
        int | None,
        typer.Option("--to-watch-hit", min=1, help="Freeze at this hit of a watch, counted from 1."),
    ] = None
    to_event: Annotated[
        int | None, typer.Option("--to-event", min=1, help="Freeze at the event of this number.")
    ] = None
    watch: Annotated[
        list[str] | None,
        typer.Option("--watch", metavar="EXPRESSION", help="Watch this too; may be repeated."),
    ] = None
    capture_at: Annotated[
        list[str] | None,
        typer.Option("--capture-at", metavar=_TIME, help="Capture at this time of the run; may be repeated."),
    ] = None
    without: Annotated[
        list[int] | None,
        typer.Option("--without", metavar="N", min=1, help="Leave out intervention N; may be repeated."),
    ] = None
    list_only: Annotated[
        bool, typer.Option("--list/--no-list", help="List the interventions of the run, and run nothing.")
    ] = False
    memory_on_ejection: Annotated[
        bool | None,
        typer.Option(
            "--memory-on-ejection/--no-memory-on-ejection",
            help="Keep the guest's memory with the capture of an ejection, as a snapshot. [default: as the run did]",
        ),
    ] = None
    name: NewName = None
    headless: Headless = False
    as_json: AsJson = False

    def to_config(self) -> RunConfig:
        """What is asked of the backend.

        Raises:
            UsageError: There is no such run, or no such instant in it, or two are asked for.
        """
        from ktstr_tui.backend.again import config_again, read_kept, seconds
        from ktstr_tui.backend.interventions import check_numbers, read_interventions
        from ktstr_tui.cli.kept_runs import find_kept

        directory = find_kept(self.run)
        check_numbers(self.without or (), read_interventions(directory))
        config, freeze_at_ns = config_again(read_kept(directory)), self._freeze_at(directory)
        memory = self.memory_on_ejection
        return msgspec.structs.replace(
            config,
            # Whoever asks to be brought to an instant comes at any time.
            freeze_limit_s=config.freeze_limit_s if freeze_at_ns is None else 0.0,
            again=str(directory),
            without=tuple(self.without or ()),
            name=self.name,
            memory_on_ejection=config.memory_on_ejection if memory is None else memory,
            freeze_at_ns=freeze_at_ns,
            watches=tuple(self.watch or ()),
            captures_at_ns=tuple(_begin_ns() + it for it in seconds(self.capture_at or ())),
        )

    def _freeze_at(self, directory: Path) -> int | None:
        from ktstr_tui.backend import instants
        from ktstr_tui.backend.again import seconds
        from ktstr_tui.cli.kept_runs import events_of

        asked = [self.to, self.before_ejection, self.to_capture, self.to_watch_hit, self.to_event]
        if sum(it is not None for it in asked) > 1:
            raise UsageError(
                "a run is held at one instant", "give one of the options --to… and --before-ejection"
            )
        if self.to is not None:
            return _begin_ns() + seconds([self.to])[0]
        if self.before_ejection is not None:
            before_ns = seconds([self.before_ejection])[0]
            return instants.instant_of(events_of(directory), instants.of_ejection, "ejection") - before_ns
        if self.to_capture is not None:
            meant, what = instants.of_capture(self.to_capture), f"capture {self.to_capture}"
        elif self.to_watch_hit is not None:
            meant, what = instants.of_watch_hit(self.to_watch_hit), f"watch hit {self.to_watch_hit}"
        elif self.to_event is not None:
            meant, what = instants.of_event(self.to_event), f"event {self.to_event}"
        else:
            return None
        return instants.instant_of(events_of(directory), meant, what)


def _begin_ns() -> int:
    from ktstr_tui.guest.guest_time import START_NS

    return START_NS


def rerun_command(options: RerunOptions) -> None:
    """Run again, on the screen or without; or list what was done to the run."""
    if options.list_only:
        _list(options.run, options.as_json)
        return
    from ktstr_tui.cli.run import run_command

    run_command(options.to_config(), headless=options.headless, as_json=options.as_json, explain=False)


def _list(run: str, as_json: bool) -> None:
    from ktstr_tui.backend.instants import without_freezes
    from ktstr_tui.backend.interventions import read_interventions
    from ktstr_tui.cli.kept_runs import events_of, find_kept

    directory = find_kept(run)
    found = read_interventions(directory)
    if as_json:
        rows = [{"number": n, "words": it.words, **msgspec.to_builtins(it)} for n, it in enumerate(found, 1)]
        print_json({"interventions": rows})
        return
    # As `--to` takes them: the run's clock went on while it was frozen, and most of these are made then. Without a
    # recording, as a bundle is, nobody knows for how long.
    events = []
    with suppress(KtstrError):
        events = events_of(directory)
    for number, it in enumerate(found, 1):
        at = f"{(without_freezes(events, it.mono_ns) - _begin_ns()) / 1e9:.3f} s"
        print_line(f"{number:3}  {at:>10}  {printable(it.words)}  by {printable(it.by)}")
    if not found:
        print_line("no interventions: neither the scheduler nor memory of the kernel was changed")


def bundle_command(run: str, file: Path | None) -> None:
    """Pack a run into one file.

    Raises:
        UsageError: It was no run with a seed, or the file is there already.
    """
    from ktstr_tui.backend.bundle import SUFFIX, bundle
    from ktstr_tui.cli.kept_runs import find_kept

    directory = find_kept(run)
    path = file or Path(directory.name + SUFFIX)
    bundle(directory, path)
    print_line(f"{path} ({path.stat().st_size >> 10} KiB); run it again with: ktstr-tui rerun {path}")
