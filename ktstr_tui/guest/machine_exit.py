"""How QEMU ended, put together from what is known: QMP's SHUTDOWN event, the console and the exit status.

A panic reboots at once and would look like a plain reset, so the console has the first word.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Literal

import msgspec

from ktstr_tui.guest.qemu_program import PROGRAM

ExitReason = Literal["poweroff", "reset", "panic", "killed", "quit", "qemu-error"]


class MachineExit(msgspec.Struct, frozen=True):
    """How QEMU ended."""

    returncode: int | None
    """Exit status; None when a signal ended it."""
    signal: int | None
    """The signal that ended it; None when it ended by itself."""
    reason: ExitReason
    detail: str
    """One sentence for people."""
    console_tail: tuple[str, ...]
    """The last lines of the guest's console, oldest first."""


class QemuEnd(msgspec.Struct, frozen=True):
    """What is known when QEMU is gone."""

    status: int
    """As `subprocess.Popen.wait` returns it: negative for a signal."""
    panic: str | None
    """What the console said of a panic."""
    gave_up: bool
    """Whether QEMU had stopped the guest with an internal error."""
    asked_to_quit: bool
    cause: str | None
    """Of QMP's SHUTDOWN event."""
    said: str
    """QEMU's own last messages."""


def account(end: QemuEnd, console_tail: tuple[str, ...]) -> MachineExit:
    """Say how a QEMU ended."""
    number = -end.status if end.status < 0 else None
    reason, detail = _explain(end)
    returncode = None if number is not None else end.status
    return MachineExit(returncode, number, reason, detail, console_tail)


def said(lines: Iterable[str]) -> str:
    """Return what QEMU said, on one line; warnings, which come with every start, only where there is no error."""
    told = [line.removeprefix(f"{PROGRAM}: ") for line in lines if line]
    errors = [line for line in told if "warning: " not in line]
    return " / ".join(errors or told) or "no message"


def _explain(end: QemuEnd) -> tuple[ExitReason, str]:
    if end.panic is not None:
        return "panic", f"the guest's kernel panicked: {end.panic}"
    if end.gave_up:
        return "qemu-error", f"QEMU stopped the guest (internal error): {end.said}"
    if end.status < 0:
        return _explain_signal(end)
    if end.cause == "guest-shutdown":
        return "poweroff", "the guest powered off"
    if end.cause == "guest-reset":
        return "reset", "the guest rebooted"
    if end.cause == "guest-panic":
        return "panic", "the guest's kernel panicked"
    if end.asked_to_quit or end.cause == "host-qmp-quit":
        return "quit", "QEMU was asked to quit"
    if end.cause == "host-signal":
        return "killed", "QEMU was ended by a signal"
    return "qemu-error", f"QEMU ended with status {end.status}: {end.said}"


def _explain_signal(end: QemuEnd) -> tuple[ExitReason, str]:
    name = signal.Signals(-end.status).name
    if end.asked_to_quit:
        return "quit", f"QEMU was ended with {name}"
    if -end.status in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS):
        return "qemu-error", f"QEMU ended with {name}: {end.said}"
    return "killed", f"QEMU was killed by {name}"
