"""``gdb``: a debugger on the guest of a run, beside everything that watches it.

The run opens a socket for one connection and serves the debugger itself; QEMU's own stub stays the run's alone. gdb
finds symbols by asking for them over that connection. lldb does not ask, so for it they are written to a file first,
which needs a run on this host.

``gdb`` takes the place of this program, so that ctrl+c and the terminal are the debugger's own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ktstr_tui.cli.attach import find_run
from ktstr_tui.cli.control import ask_run
from ktstr_tui.link.framing import socket_pair
from ktstr_tui.model.answers import DebuggerOpened
from ktstr_tui.model.commands import AttachDebugger, Changed, DetachDebugger
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.text.output import print_json, print_line, say

if TYPE_CHECKING:
    from ktstr_tui.memory.find import Found

SOCKET_NAME = "gdb.sock"
PATIENCE_S = 30
"""How long the debugger waits for an answer; by itself 2 s, which is short on a busy host."""


class GdbOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    run_name: str | None
    arguments: tuple[str, ...]
    """For the debugger."""
    lldb: bool
    start: bool
    port: int | None
    detach: bool
    as_json: bool

    @classmethod
    def parse(
        cls, words: list[str], *, lldb: bool, start: bool, port: int | None, detach: bool, as_json: bool
    ) -> GdbOptions:
        """Tell the run's name from arguments for the debugger, which begin with ``-``."""
        named = bool(words) and not words[0].startswith("-")
        arguments = tuple(words[1:] if named else words)
        if arguments and (detach or not start):
            raise UsageError("arguments for a debugger need one to be started")
        return cls(
            run_name=words[0] if named else None,
            arguments=arguments,
            lldb=lldb,
            start=start and not detach,
            port=port,
            detach=detach,
            as_json=as_json,
        )


def gdb_command(options: GdbOptions) -> None:
    """Start a debugger on a run or a snapshot, print where one can connect, or remove the one that is attached.

    Raises:
        KtstrError: There is no such run or no debugger, or the run refuses.
    """
    found = _snapshot(options)
    if found is not None:
        from ktstr_tui.cli.gdb_snapshot import serve_snapshot

        program = _program(options) if options.start else ""
        command = partial(_words, program, options) if options.start else None
        serve_snapshot(found, command, as_json=options.as_json)
        return
    if options.detach:
        changed = ask_run(options.run_name, DetachDebugger(), Changed).changed
        if options.as_json:
            print_json({"detached": changed})
        else:
            print_line("debugger detached" if changed else "no debugger is attached")
        return
    program = _program(options) if options.start else ""
    symbols = _symbols(options) if options.start and options.lldb else None
    opened = ask_run(options.run_name, AttachDebugger(port=options.port), DebuggerOpened)
    where = _reachable(options, opened.where)
    if not opened.symbols:
        say(
            "no symbols: the kernel's memory cannot be read by type yet; leave and attach again in some seconds"
        )
    if options.start:
        _become(program, options, where, symbols)
    elif options.as_json:
        print_json({"where": where, "symbols": opened.symbols})
    else:
        print_line(where)
        say(f"within a minute: gdb -ex 'target remote {where}'")


def _snapshot(options: GdbOptions) -> Found | None:
    """The snapshot that is meant; None when it is a run.

    Raises:
        UsageError: It may be several, or is asked for what only a run has.
    """
    if options.run_name is None:
        return None
    from ktstr_tui.cli.stored import find_stored

    found = find_stored(options.run_name)
    if found is not None and (options.detach or options.port is not None):
        raise UsageError(
            f"{options.run_name} is a snapshot: a debugger on it is served by this command alone",
            "leave out --detach and --tcp",
        )
    return found


def _program(options: GdbOptions) -> str:
    name = "lldb" if options.lldb else "gdb"
    found = shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed", f"apt install {name}")
    return found


def _reachable(options: GdbOptions, where: str) -> str:
    """Where the socket is on this host: that of a forwarded run is beside its other sockets."""
    if options.port is not None:
        return where
    path = (socket_pair(find_run(options.run_name))[0].parent / SOCKET_NAME).absolute()
    if not path.exists():
        raise UsageError(
            f"the run waits at {where}, which is not reachable here as {path}",
            f"forward it like the others: ssh -N -L {path}:{where} HOST",
        )
    return str(path)


def _symbols(options: GdbOptions) -> Path | None:
    """Write the file of symbols, for a debugger that cannot ask for it."""
    from ktstr_tui.cli.drgn_prompt import find_record, open_view
    from ktstr_tui.kernel.symbol_file import make_symbol_file

    try:
        record = find_record(options.run_name)
        with open_view(record.pid) as view:
            content = make_symbol_file(view)
    except KtstrError as error:
        say(f"no symbols: {error.message}")
        return None
    path = Path(tempfile.gettempdir()) / f"ktstr-{os.getuid()}-{record.name}.vmlinux"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def _become(program: str, options: GdbOptions, where: str, symbols: Path | None) -> None:
    words = _words(program, options, where, symbols)
    os.execv(words[0], words)


def _words(program: str, options: GdbOptions, where: str, symbols: Path | None) -> list[str]:
    if options.lldb:
        url = f"unix-connect://{where}" if options.port is None else f"connect://{where}"
        create = [] if symbols is None else ["-o", f"target create --no-dependents {symbols}"]
        patience = ["-o", f"settings set plugin.process.gdb-remote.packet-timeout {PATIENCE_S}"]
        words = [*patience, *create, "-o", f"process connect --plugin gdb-remote {url}"]
    else:
        words = ["-q", "-iex", f"set remotetimeout {PATIENCE_S}", "-ex", f"target remote {where}"]
    return [program, *words, *options.arguments]
