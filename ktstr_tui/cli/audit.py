"""``ktstr-tui audit``: who wanted what of a run, and the proof that nobody changed that since."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.control.audit_chain import AUDIT_FILE, ChainedEntry, ChainReport, verify
from ktstr_tui.guest import paths
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.text import counted, printable
from ktstr_tui.text.output import print_json, print_line

app = Commands(no_args_is_help=True, help="Show who wanted what of a run, and prove that it was not changed.")
Where = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|FILE]",
        help="Name of a run, its data directory or its audit.jsonl. [default: the only run]",
    ),
]


@app.command()
def show(where: Where = None, as_json: AsJson = False) -> None:
    """List every attempt to do something to a run."""
    report, entries = _read(where)[1]
    if as_json:
        print_json({"entries": msgspec.to_builtins(entries), "report": msgspec.to_builtins(report)})
        return
    for it in entries:
        line = f"{it.seq:5} {it.at} {it.operator} ({it.proof}) {it.request}: {it.outcome}"
        print_line(printable(f"{line}: {it.reason}" if it.reason else line))
    if not report.proven:
        print_line(f"not all of it is proven: {what_is_wrong(report)}")


@app.command("verify")
def verify_command(where: Where = None, as_json: AsJson = False) -> None:
    """Prove that no entry was changed, removed or inserted since it was written; exit status 3 when one was."""
    path, (report, _) = _read(where)
    if as_json:
        print_json({**msgspec.to_builtins(report), "proven": report.proven, "path": str(path)})
    elif report.proven:
        print_line(f"{counted(report.entries, 'entry', 'entries')}, all fit; last hash {report.last_hash}")
    if not report.proven:
        raise HostError(
            f"{path} is not proven: {what_is_wrong(report)}",
            "compare it with a copy, or with the run's recording",
        )


def what_is_wrong(report: ChainReport) -> str:
    """Say in words why a file is not proven."""
    wrong = []
    if report.broken_line is not None:
        wrong.append(f"line {report.broken_line} does not fit: {report.why}")
    if report.missing:
        wrong.append(f"{counted(report.missing, 'entry', 'entries')} missing")
    if report.torn_bytes:
        wrong.append(f"the last line is torn ({counted(report.torn_bytes, 'byte')})")
    return "; ".join(wrong)


def _read(where: str | None) -> tuple[Path, tuple[ChainReport, list[ChainedEntry]]]:
    path = _find(where)
    try:
        return path, verify(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"there is no {path}",
            "no command was given to that run yet, or it keeps its data elsewhere",
        ) from None
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}", "check who may read it") from error


def _find(where: str | None) -> Path:
    if where is not None:
        given = Path(where)
        if given.is_file():
            return given
        if (given / AUDIT_FILE).is_file():
            return given / AUDIT_FILE
    # Loaded only here: the help of the program names this command too, and loads no room.
    from ktstr_tui.link.runs import choose_run, look_at_run

    run = look_at_run(choose_run(where, paths.runtime_dir()))
    if run.record is None or not run.record.data_dir:
        raise UsageError(f"{run.name} does not say where its data is", "give the path of its audit.jsonl")
    return Path(run.record.data_dir) / AUDIT_FILE
