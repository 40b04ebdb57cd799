"""``restore``: a guest from the instant of a snapshot, as often as one likes, on the screen or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import typer

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.cli.run_arguments import AsJson, Headless, NewName
from ktstr_tui.model.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """The command line of ``restore`` as typer read it."""

    snapshot: Annotated[
        str,
        typer.Argument(
            metavar="SNAPSHOT",
            help="Name of a snapshot, RUN/NAME, a .snap file, or DIRECTORY/NAME with a run's (forwarded) sockets.",
        ),
    ]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TARGET=VALUE",
            help="Write to the kernel before the guest runs, as op write does; may be repeated.",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            "-s",
            metavar="OBJECT",
            help="BPF object to replace the scheduler with, once the guest runs: a .bpf.o, or demo:NAME.",
        ),
    ] = None
    frozen: Annotated[
        bool, typer.Option("--frozen/--running", help="Leave the guest frozen until it is thawed.")
    ] = False
    lazy: Annotated[
        bool,
        typer.Option(
            "--lazy/--eager",
            help="Load memory when the guest touches it, or all of it first (better so over a slow link).",
        ),
    ] = True
    name: NewName = None
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration", min=0.1, max=1e6, help="End the run this many seconds after the guest is up."
        ),
    ] = None
    headless: Headless = False
    as_json: AsJson = False

    def to_config(self) -> RunConfig:
        """What is asked of the backend.

        Raises:
            UsageError: There is no such snapshot, or a write or the object cannot be read.
            DamagedError: It is not what was stored.
        """
        from ktstr_tui.backend.prepare_restore import again_of, config_of
        from ktstr_tui.cli.kernel_op import parse_write
        from ktstr_tui.cli.scheduler import object_file
        from ktstr_tui.cli.travelled import say_removed
        from ktstr_tui.memory.find import find_snapshot
        from ktstr_tui.wire.kernel_ops import KernelOp

        scheduler = None if self.scheduler is None else str(object_file(self.scheduler).absolute())
        found = find_snapshot(self.snapshot)
        say_removed(found)
        if self.duration is not None and found.store.read(found.name).info.again_at_ns is not None:
            raise UsageError(
                "a snapshot of a run with a seed is restored by running it again, which ends when that run did",
                "leave out --duration",
            )
        writes = tuple(KernelOp("cold", "write", (parse_write(text),)) for text in self.set_ or ())
        again = again_of(found)
        config = config_of(found.path) if again is None else again
        return msgspec.structs.replace(
            config,
            name=self.name,
            sets=writes,
            restore_lazily=self.lazy and again is None,
            allow_writes=config.allow_writes or bool(writes),
            stay_frozen=self.frozen,
            replace_scheduler=scheduler,
            duration_s=self.duration if again is None else again.duration_s,
            # Whoever asks for a guest that stays frozen comes at any time.
            freeze_limit_s=0.0 if again is not None and self.frozen else config.freeze_limit_s,
        )


def restore_command(options: RestoreOptions) -> None:
    """Restore a guest, on the screen or without."""
    from ktstr_tui.cli.run import run_command

    run_command(options.to_config(), headless=options.headless, as_json=options.as_json, explain=False)
