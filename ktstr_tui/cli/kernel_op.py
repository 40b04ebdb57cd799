"""``ktstr-tui op``: read and write memory of the guest's kernel, while it runs or while it is frozen.

TARGET := place [':' size], with size u32, u64 or a number of bytes; it is needed only where BTF does not tell it.

    panic_timeout                a variable, by its name in kallsyms
    runqueues@1.nr_running       a member of a CPU's copy of a per-CPU variable
    task:1234.scx.weight         a member of a task; task:1234@START.scx.weight to write it, where START is the
                                 start time that a read of the task tells
    0xffff888000100000           any address of the kernel; direct:0x… refuses one outside of the direct map

A write is TARGET=VALUE, or TARGET|=BITS to set bits in four bytes. VALUE is a number, or hex:… for bytes.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson, OfRun
from ktstr_tui.model.commands import FAULTS, RunKernelOp
from ktstr_tui.model.errors import InternalError, KtstrError, UsageError
from ktstr_tui.model.outputs import KernelOpEntry, KernelOpError, KernelOpResult
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import describe, print_json, print_line, say
from ktstr_tui.wire import kernel_ops as wire

app = Commands(
    no_args_is_help=True,
    help="Read and write memory of the guest's kernel. Targets: panic_timeout, runqueues@1.nr_running, "
    "task:1234.scx.weight, 0xffff…; with :u32, :u64 or :BYTES where the size is not known.",
)

Cold = Annotated[bool, typer.Option("--cold", help="Freeze the guest for the access.")]

_SIZE = re.compile(r"(?P<place>.*):(?P<size>u32|u64|[0-9]{1,9})")
_TASK = re.compile(r"task:(?P<pid>[0-9]{1,10})(@(?P<start>[0-9]{1,20}))?\.(?P<field>.+)")
_PER_CPU = re.compile(r"(?P<symbol>[^@.]+)@(?P<cpu>[0-9]{1,9})(\.(?P<field>.+))?")
_ADDRESS = re.compile(r"(?P<direct>direct:)?(?P<address>0[xX][0-9a-fA-F]{1,16})")
_WRITE = re.compile(r"(?P<target>.*?)(?P<how>\|?=)(?P<value>.*)", re.DOTALL)
MAX_DIGITS = 80
"""Of a number in any notation; 64 bits in binary have fewer."""
_GRAMMAR = "ktstr-tui op --help shows what targets look like"


@app.command()
def read(
    targets: Annotated[list[str], typer.Argument(help="What to read.")],
    run_name: OfRun = None,
    cold: Cold = False,
    as_json: AsJson = False,
) -> None:
    """Print the value of one or more targets, read at the same moment.

    A target that is wrong costs only itself: the others are printed, and the exit code is not 0.
    """
    wanted = [_parsed(target) for target in targets]
    good = [it for it in wanted if isinstance(it, wire.Entry)]
    if not good:
        parse_read(targets[0])
    result = _ask("read", good, run_name, cold)
    answers = iter(result["entries"])
    result["entries"] = [next(answers) if isinstance(it, wire.Entry) else it for it in wanted]
    if as_json:
        print_json(result)
    _print_read(result["entries"], as_json)


def _parsed(text: str) -> wire.Entry | KernelOpEntry:
    """A target to read, or the answer to one that is none."""
    try:
        return parse_read(text)
    except UsageError as error:
        return {
            "target": text,
            "address": None,
            "size_bytes": None,
            "before": None,
            "after": None,
            "before_text": None,
            "after_text": None,
            "start_time_ns": None,
            "comm": None,
            "error": {"fault": error.fault, "message": error.message, "hint": error.hint},
        }


def _print_read(entries: list[KernelOpEntry], as_json: bool) -> None:
    """Print what was read, and say what was not.

    Raises:
        SystemExit: With the exit code of the first target that was not read.
    """
    errors = []
    for entry in entries:
        if entry["error"] is not None:
            errors.append(_error_of(entry["error"]))
            say(describe(errors[-1]))
        elif not as_json:
            print_line(line_of(entry))
    if errors:
        raise SystemExit(errors[0].exit_code)


@app.command()
def write(
    assignments: Annotated[list[str], typer.Argument(help="TARGET=VALUE, or TARGET|=BITS to set bits.")],
    run_name: OfRun = None,
    cold: Cold = False,
    as_json: AsJson = False,
) -> None:
    """Write all targets, or none if one of them is refused. Needs a run with --allow-writes."""
    result = _ask("write", [parse_write(text) for text in assignments], run_name, cold)
    if as_json:
        print_json(result)
        return
    for entry in result["entries"]:
        print_line(line_of(entry))


def parse_read(text: str) -> wire.Entry:
    """A target to read.

    Raises:
        UsageError: It is none.
    """
    target, size = _split_size(text)
    if size is None:
        return _entry(text, target, None)
    fixed: dict[str, wire.Value] = {"u32": wire.U32(), "u64": wire.U64()}
    return _entry(text, target, fixed.get(size) or wire.Span(int(size)))


def parse_write(text: str) -> wire.Entry:
    """``TARGET=VALUE`` or ``TARGET|=BITS``.

    Raises:
        UsageError: It is neither.
    """
    match = _WRITE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} assigns no value", "write for example panic_timeout=5")
    target, size = _split_size(match["target"])
    value = match["value"].strip()
    if match["how"] == "|=":
        if size not in (None, "u32"):
            raise UsageError(f"{text!r}: bits can be set in four bytes only")
        return _entry(text, target, wire.OrU32(_number(value)))
    if value.startswith("hex:"):
        return _entry(text, target, wire.Bytes(_hex(text, value[4:], size)))
    number = _number(value)
    if size is None:
        return _entry(text, target, wire.Int(number))
    length = {"u32": 4, "u64": 8}.get(size) or int(size)
    try:
        data = number.to_bytes(length, "little", signed=number < 0)
    except OverflowError:
        raise UsageError(f"{text!r}: {number} does not fit into {counted(length, 'byte')}") from None
    fixed: dict[str, wire.Value] = {
        "u32": wire.U32(int.from_bytes(data, "little")),
        "u64": wire.U64(int.from_bytes(data, "little")),
    }
    return _entry(text, target, fixed.get(size) or wire.Bytes(data))


def parse_target(text: str) -> wire.Target:
    """What to read or write, without its size.

    Raises:
        UsageError: It looks like nothing that can be read.
    """
    if match := _TASK.fullmatch(text):
        start = int(match["start"]) if match["start"] else None
        return wire.TaskField(int(match["pid"]), match["field"], start)
    if match := _ADDRESS.fullmatch(text):
        address = int(match["address"], 16)
        return wire.Direct(address) if match["direct"] else wire.Kva(address)
    if match := _PER_CPU.fullmatch(text):
        return wire.PerCpuField(match["symbol"], match["field"] or "", int(match["cpu"]))
    if not text or ":" in text or "@" in text or text[0].isdigit():
        raise UsageError(f"{text!r} is not a target", _GRAMMAR)
    return wire.Symbol(text)


def _split_size(text: str) -> tuple[str, str | None]:
    match = _SIZE.fullmatch(text.strip())
    if match is None or match["place"] in ("task", "direct"):
        return text.strip(), None
    return match["place"], match["size"]


def _entry(text: str, target: str, value: wire.Value | None) -> wire.Entry:
    entry = wire.Entry(parse_target(target), value)
    try:
        # The bounds of the fields, which constructors do not check.
        return msgspec.convert(msgspec.to_builtins(entry), wire.Entry)
    except msgspec.ValidationError as error:
        raise UsageError(f"{text!r}: {error}", _GRAMMAR) from error


def _number(text: str) -> int:
    try:
        if len(text) > MAX_DIGITS:
            raise ValueError
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", "write 10, 0xa, or hex:0a for bytes") from None


def _hex(text: str, digits: str, size: str | None) -> bytes:
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        raise UsageError(f"{text!r}: {digits!r} are not hexadecimal digits") from None
    length = None if size is None else {"u32": 4, "u64": 8}.get(size) or int(size)
    if length not in (None, len(data)):
        raise UsageError(f"{text!r}: {counted(len(data), 'byte')} for {length}")
    return data


def _ask(
    direction: Literal["read", "write"],
    entries: list[wire.Entry],
    run_name: str | None,
    cold: bool,
) -> KernelOpResult:
    from ktstr_tui.cli.control import ask_run

    if len(entries) > wire.KERNEL_OP_ENTRIES_MAX:
        raise UsageError(f"{len(entries)} targets, at most {wire.KERNEL_OP_ENTRIES_MAX} in one command")
    op = wire.KernelOp("cold" if cold else "hot", direction, tuple(entries))
    request = RunKernelOp(op=msgspec.to_builtins(op, builtin_types=(bytes,)))
    return ask_run(run_name, request, KernelOpResult)


def line_of(entry: KernelOpEntry) -> str:
    """One target in one line: name, address, value or before → after, and whose it is."""
    words = f"{entry['target']}  {entry['address']:#x}  {_value(entry['before_text'])}"
    if entry["after"] is not None:
        words += f" → {_value(entry['after_text'])}"
    if entry["start_time_ns"] is not None:
        words += f"  of {entry['comm']}, started at {entry['start_time_ns']} ns"
    return words


def _value(text: str | None) -> str:
    return "unreadable" if text is None else text or '""'


def _error_of(error: KernelOpError) -> KtstrError:
    return FAULTS.get(error["fault"], InternalError)(error["message"], error["hint"])
