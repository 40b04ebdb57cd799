"""What the end of a machine means for the run."""

from __future__ import annotations

import pytest

from ktstr_tui.backend.guestwatch import CONSOLE_HINT, STALE_INT3_HINT, exit_error, stuck_error
from ktstr_tui.guest.machine_exit import ExitReason, MachineExit
from ktstr_tui.health.stuck import How
from ktstr_tui.model.errors import EXIT_GUEST, GuestError, HostError

OOPS = (
    "[    2.31] Oops: int3: 0000 [#1] SMP NOPTI",
    "[    2.31] RIP: 0010:sched_clock_idle_wakeup_event+0x5/0x30",
    "[    2.32] Kernel panic - not syncing: Attempted to kill the idle task!",
)


def ended(reason: ExitReason, tail: tuple[str, ...] = ()) -> MachineExit:
    return MachineExit(reason=reason, detail="it ended", returncode=0, signal=None, console_tail=tail)


def test_an_orderly_end_is_no_error() -> None:
    assert exit_error(ended("quit"), finished=False) is None
    assert exit_error(ended("poweroff"), finished=True) is None


def test_a_guest_that_leaves_early_is_at_fault() -> None:
    error = exit_error(ended("poweroff"), finished=False)
    assert isinstance(error, GuestError)
    assert "before the end of its scenario" in error.message


@pytest.mark.parametrize(
    ("tail", "hint"),
    [(OOPS, STALE_INT3_HINT), (OOPS[2:], CONSOLE_HINT), (("Oops: 0002 [#1]",), CONSOLE_HINT)],
)
def test_a_panic_over_a_stale_int3_is_told_as_the_emulations(tail: tuple[str, ...], hint: str) -> None:
    error = exit_error(ended("panic", tail), finished=False)
    assert isinstance(error, GuestError)
    assert (error.hint, error.exit_code, error.console_tail) == (hint, EXIT_GUEST, tail)


def test_a_qemu_that_does_not_start_is_the_hosts_fault() -> None:
    assert isinstance(exit_error(ended("qemu-error"), finished=False), HostError)


@pytest.mark.parametrize(
    ("how", "answers", "fault", "words"),
    [
        ("stopped", False, "host", "QEMU is stopped by a signal"),
        ("sleeps", False, "host", "QEMU sleeps, and its monitor does not answer"),
        ("runs", True, "host", "QEMU uses its CPU all the same, and its monitor answers"),
        ("sleeps", True, "guest", "all its CPUs are halted for good"),
    ],
)
def test_a_machine_that_executes_nothing_is_blamed_on_whom_it_is_due_to(
    how: How, answers: bool, fault: str, words: str
) -> None:
    error = stuck_error(how, 31.2, ("last words",), answers=answers)
    assert error.fault == fault
    assert "executed nothing for 31 s" in error.message
    assert error.message.endswith(words)
    assert error.hint
