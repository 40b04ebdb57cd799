"""``drgn``: drgn's own prompt, or a script, over the live memory of a run on this host, or over a snapshot.

The run is not asked for anything but its process id: the memory is opened past it (`guest.run_ram`), so this works
while the guest is frozen, hangs, or has a scheduler that lets nothing else run. It is opened for reading only.

How exact is this? As exact as drgn on a live system: the guest runs on between two reads, so a list may change while
it is followed. In a frozen guest (``ktstr-tui freeze``) everything belongs to one moment.

One thing of drgn's does not work here. Its ``stack_trace()`` needs debug information or unwind tables from a file;
without them it returns frames that look right and are wrong. So that name leads to `kernel.orc` instead, which uses the
tables in the guest's own memory.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import drgn
from drgn import cli as drgn_cli
from drgn.helpers.linux.sched import task_cpu

from ktstr_tui.cli.attach import find_run
from ktstr_tui.cli.stored import find_stored
from ktstr_tui.cli.travelled import say_travelled
from ktstr_tui.guest.run_ram import open_ram_of
from ktstr_tui.kernel import scx_helpers
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.orc import OrcRefused
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.framing import EVENTS_SOCKET, socket_pair
from ktstr_tui.link.runs import RUN_FILE, RunRecord, look_at_run
from ktstr_tui.memory.explore import open_view as open_snapshot
from ktstr_tui.model.errors import EXIT_EJECTED, HostError, UsageError
from ktstr_tui.wire.user_file import read_user_text

MAX_SCRIPT_BYTES = 16 << 20
_OF_RUN = (
    "Run {name}: prog is kernel {release}, in live memory, for reading only.\n"
    "The guest runs on between two reads; ktstr-tui freeze {name} stops it."
)
_OF_SNAPSHOT = "Snapshot {run}/{name}: prog is kernel {release}, all of it at one moment."


def drgn_command(run_name: str | None, code: str | None, script: Path | None) -> None:
    """Open drgn's prompt on a run or a snapshot, or run code in its place.

    Args:
        run_name: The run, or a snapshot where no run has that name; None for the only run.
        code: Python statements to run instead of opening the prompt.
        script: A file of them.

    Raises:
        KtstrError: There is no such run on this host, its memory cannot be read, or the code failed.
    """
    if code is not None and script is not None:
        raise UsageError("-c and --script exclude each other", "put both into one file")
    source = _source(code, script)
    snapshot = None if run_name is None else find_stored(run_name)
    with ExitStack() as stack:
        if snapshot is not None:
            view, _ = stack.enter_context(open_snapshot(snapshot))
            banner = _OF_SNAPSHOT.format(run=snapshot.run, name=snapshot.name, release=view.release)
        else:
            record = find_record(run_name)
            view = stack.enter_context(open_view(record.pid))
            banner = _OF_RUN.format(name=record.name, release=view.release)
        if source is None:
            _prompt(view, banner)
        else:
            run_code(view, *source)
    if snapshot is not None:
        say_travelled(snapshot)


def find_record(run_name: str | None) -> RunRecord:
    """Return what a run of this host says of itself.

    Raises:
        UsageError: There is no such run, it is over, or it is on another machine.
        HostError: Its directory belongs to another user.
    """
    try:
        place = find_run(run_name)
        socket_dir = socket_pair(place)[0].parent
        found = look_at_run(socket_dir)
    except PermissionError as error:
        raise HostError(
            f"{error.filename} belongs to another user", "run this as the user who started the run"
        ) from error
    if found.record is None:
        raise UsageError(
            f"{socket_dir} has no {RUN_FILE}, so this is a run of another machine: its memory cannot be read here",
            "run ktstr-tui drgn on the machine of the run; here, ktstr-tui op read reads single values",
        )
    if found.stale:
        raise UsageError(
            f"run {found.name} has ended: {found.stale}", "its captures and its recording are still there"
        )
    if not found.record.pid:
        raise UsageError(f"{socket_dir / RUN_FILE} names no process", f"expected beside {EVENTS_SOCKET}")
    return found.record


@contextmanager
def open_view(pid: int) -> Iterator[KernelView]:
    """Open the kernel in the memory that a process holds.

    Raises:
        KtstrError: The memory cannot be read, or there is no kernel in it yet.
    """
    with open_ram_of(pid) as parts:
        ram = GuestRam.from_fds(parts)
    try:
        yield KernelView.open(ram)
    finally:
        ram.close()


def names(view: KernelView) -> dict[str, Any]:
    """Return the names that code begins with: those of drgn's prompt, helpers for sched_ext, and exact stacks."""

    def stack_trace(task: drgn.Object) -> KernelStack:
        """Return the kernel stack of a task that is on no CPU, from the unwind tables in the guest's memory.

        Args:
            task: ``struct task_struct *``

        Raises:
            ValueError: The task is on a CPU, so its registers are in no memory.
        """
        return _stack(view, task)

    own = {name: getattr(scx_helpers, name) for name in scx_helpers.__all__}
    return {**drgn_cli.default_globals(view.prog), **own, "stack_trace": stack_trace, "view": view}


class KernelStack(list[str]):
    """The functions of a stack, innermost first. Shown one a line; frames that are guesses end in ``?``."""

    def __init__(self, frames: list[str], end: str) -> None:
        super().__init__(frames)
        self.end = end
        """Why the walk ended: ``user`` and ``end of stack`` are good ends."""

    def __repr__(self) -> str:
        return "\n".join([*(f"#{depth:<2} {name}" for depth, name in enumerate(self)), f"   ({self.end})"])


def _stack(view: KernelView, task: drgn.Object) -> KernelStack:
    unwinder = view.unwinder
    if isinstance(unwinder, OrcRefused):
        raise ValueError(unwinder.message)
    if task.on_cpu:
        raise ValueError(
            f"the task runs on CPU {task_cpu(task)}, whose registers are not in memory: "
            "ktstr-tui capture has the stacks of all CPUs"
        )
    frames, end = unwinder.unwind_task(task.thread.sp.value_())
    return KernelStack(
        [
            (view.symbols.describe(f.address, exact=f.exact) or f"{f.address:#x}") + (" ?" if f.guess else "")
            for f in frames
        ],
        end,
    )


def run_code(view: KernelView, code: str, file_name: str) -> None:
    """Run Python statements with the names of the prompt.

    Args:
        view: The kernel; ``prog`` in the code.
        code: The statements.
        file_name: Where they came from, for tracebacks.

    Raises:
        UsageError: They raised; the traceback is on standard error.
    """
    drgn.set_default_prog(view.prog)
    try:
        exec(compile(code, file_name, "exec"), {"__name__": "__main__", **names(view)})
    except Exception as error:
        # The frames of this program are of no use to whoever wrote the code.
        inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
        traceback.print_exception(type(error), error, inner, file=sys.stderr)
        raise UsageError(f"{file_name} failed: {type(error).__name__}") from error
    except SystemExit as left:
        # An exit code of its own is welcome, but 1 means an ejection, and a text is 1 to Python.
        if left.code is not None and left.code in (EXIT_EJECTED, str(left.code)):
            raise UsageError(f"{file_name} left with {left.code}", "use an exit code from 10 on") from left
        raise
    finally:
        drgn.set_default_prog(None)


def _source(code: str | None, script: Path | None) -> tuple[str, str] | None:
    if code is not None:
        return code, "-c"
    if script is None:
        return None
    return read_user_text(script, "script", max_bytes=MAX_SCRIPT_BYTES), str(script)


def _prompt(view: KernelView, about: str) -> None:
    def banner(usual: str) -> str:
        return (
            f"{drgn_cli.version_header()}\n{usual}\n{about}\n"
            "stack_trace(task) uses the kernel's own unwind tables; prog.stack_trace() has none and is wrong here."
        )

    drgn_cli.run_interactive(view.prog, banner_func=banner, globals_func=lambda _: names(view))
