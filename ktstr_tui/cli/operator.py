"""``ktstr-tui operator``: keys of operators, and what several of them have to agree on.

A proposal is a file that goes from one operator to the next. It holds the request, what it would affect in the words of
a dry run, and the signatures; every signature covers all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from ktstr_tui.cli.attach import KEY_VARIABLE, find_run, own_key
from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, OfRun
from ktstr_tui.model.commands import AttachDebugger, DangerousRequest, DryRun, End, RestartGuest, RunKernelOp
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.signing import MAX_AGE_MS, Affected, Signed
from ktstr_tui.model.text import printable
from ktstr_tui.text.output import print_json, print_line, say
from ktstr_tui.wire.user_file import config_dir, read_user_file
from ktstr_tui.wire.whole_file import write_whole

if TYPE_CHECKING:
    from ktstr_tui.wire.operator_keys import OperatorKey

app = Commands(
    no_args_is_help=True,
    help="Keys of operators, and commands that several operators sign. "
    f"The environment variable {KEY_VARIABLE} names the file of your key.",
)
ProposalFile = Annotated[Path, typer.Argument(metavar="FILE", help="The proposal.")]
KeyFile = Annotated[Path | None, typer.Option("--key", help=f"File of your key. [default: ${KEY_VARIABLE}]")]
MAX_PROPOSAL_BYTES = 1 << 20


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dangerous command on its way to whoever signs it."""

    affected: Affected
    """What it would affect."""
    request: bytes
    """The request as MessagePack, which text would not carry unchanged."""
    signed: Signed

    def asked(self) -> DangerousRequest:
        """The request."""
        asked: DangerousRequest = msgspec.msgpack.decode(self.request, type=DangerousRequest)
        return asked


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(help="Name of the operator. [default: your login name]")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="File to make. [default: in the configuration directory]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and print the lines for the list of operators of a run."""
    from ktstr_tui.link.operator import login_at_host
    from ktstr_tui.wire.operator_keys import write_operator_key

    name = name or login_at_host().partition("@")[0]
    path = key or config_dir() / "operators" / f"{name}.toml"
    made = write_operator_key(path, name)
    if as_json:
        print_json({"name": name, "path": str(path), "listed": made.listed()})
        return
    _print_listed(made)
    say(f"the secret key is in {path}; sign with it: export {KEY_VARIABLE}={path}")


@app.command()
def show(key: KeyFile = None, as_json: AsJson = False) -> None:
    """Print the lines for the list of operators of a run; nothing of it is secret."""
    found = _key(key)
    if as_json:
        print_json({"name": found.operator, "listed": found.listed()})
    else:
        _print_listed(found)


@app.command()
def propose(
    file: ProposalFile,
    write: Annotated[
        list[str] | None,
        typer.Option("--write", help="TARGET=VALUE to write to the kernel; may be repeated."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Freeze the guest for the write.")] = False,
    end: Annotated[bool, typer.Option("--end", help="End the run.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Boot the guest again.")] = False,
    debugger: Annotated[
        bool, typer.Option("--debugger", help="Let a debugger in at the run's socket.")
    ] = False,
    run_name: OfRun = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask what a dangerous command would affect, and write a proposal that you have signed."""
    import asyncio

    from ktstr_tui.link.operator import sign

    request = _asked(write or [], cold, end=end, restart=restart, debugger=debugger)
    affected, run_id = asyncio.run(_dry_run(request, run_name))
    proposal = Proposal(
        affected=affected,
        request=msgspec.msgpack.encode(request),
        signed=sign(request, run_id, _key(key), affected.digest()),
    )
    _save(file, proposal)
    _print(proposal, as_json)


@app.command("sign")
def sign_command(file: ProposalFile, key: KeyFile = None, as_json: AsJson = False) -> None:
    """Show what a proposal would affect, and add your signature to it."""
    from ktstr_tui.link.operator import sign_too

    proposal = _load(file)
    signed = sign_too(proposal.asked(), proposal.signed, _key(key))
    proposal = msgspec.structs.replace(proposal, signed=signed)
    _save(file, proposal)
    _print(proposal, as_json)


@app.command()
def submit(file: ProposalFile, run_name: OfRun = None, as_json: AsJson = False) -> None:
    """Send a proposal with its signatures to the run."""
    import asyncio

    proposal = _load(file)
    result = asyncio.run(_submit(proposal, run_name))
    if as_json:
        print_json(result)
    else:
        print_line(f"{proposal.affected.request} was carried out")


def _print_listed(key: OperatorKey) -> None:
    for line in key.listed().splitlines():
        print_line(line)


def _asked(write: list[str], cold: bool, *, end: bool, restart: bool, debugger: bool) -> DangerousRequest:
    if bool(write) + end + restart + debugger != 1:
        raise UsageError(
            "name one of --write, --end, --restart and --debugger", "ktstr-tui operator propose --help"
        )
    if debugger:
        return AttachDebugger()
    if end:
        return End()
    if restart:
        return RestartGuest()
    from ktstr_tui.cli.kernel_op import parse_write
    from ktstr_tui.wire.kernel_ops import KernelOp

    op = KernelOp("cold" if cold else "hot", "write", tuple(parse_write(text) for text in write))
    return RunKernelOp(op=msgspec.to_builtins(op, builtin_types=(bytes,)))


async def _dry_run(request: DangerousRequest, run_name: str | None) -> tuple[Affected, str]:
    from ktstr_tui.link.viewer import Viewer

    async with Viewer(find_run(run_name)) as viewer:
        reply = await viewer.command(DryRun(request=request))
        return reply.answer(Affected), reply.run_id


async def _submit(proposal: Proposal, run_name: str | None) -> dict[str, Any]:
    from ktstr_tui.link.viewer import Viewer

    async with Viewer(find_run(run_name)) as viewer:
        reply = await viewer.command(proposal.asked(), proposal.signed)
        return reply.raise_for_error().result


def _key(path: Path | None) -> OperatorKey:
    from ktstr_tui.wire.operator_keys import read_operator_key

    found = own_key() if path is None else read_operator_key(path)
    if found is None:
        raise UsageError(
            "no key is named", f"--key FILE, or {KEY_VARIABLE}=FILE; ktstr-tui operator new makes one"
        )
    return found


def _save(file: Path, proposal: Proposal) -> None:
    try:
        write_whole(file, msgspec.json.format(msgspec.json.encode(proposal)) + b"\n")
    except OSError as error:
        raise HostError(f"cannot write {file}: {error.strerror}", "name another file") from error


def _load(file: Path) -> Proposal:
    data = read_user_file(file, "proposal", max_bytes=MAX_PROPOSAL_BYTES)
    try:
        proposal = msgspec.json.decode(data, type=Proposal)
        name = proposal.asked().name
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse(file, str(error))
    if proposal.signed.affected != proposal.affected.digest() or proposal.affected.request != name:
        _refuse(file, "what it says it affects is not what was signed")
    return proposal


def _refuse(file: Path, why: str) -> NoReturn:
    raise UsageError(f"{file} cannot be used as a proposal: {why}", "ktstr-tui operator propose makes one")


def _print(proposal: Proposal, as_json: bool) -> None:
    affected, names = proposal.affected, [it.operator for it in proposal.signed.signatures]
    if as_json:
        print_json({"affected": msgspec.to_builtins(affected), "operators": names})
        return
    print_line(printable(f"{affected.request}: {_words(proposal.asked())}"))
    for line in affected.what:
        print_line(printable(f"  affects {line}"))
    for line in affected.warnings:
        print_line(printable(f"  note: {line}"))
    print_line(printable(f"signed by {', '.join(names)}; good for {MAX_AGE_MS // 1000} s after the proposal"))


def _words(request: DangerousRequest) -> str:
    if isinstance(request, RunKernelOp):
        return f"{request.op.get('mode')} {request.op.get('direction')}"
    return "the whole run"
