"""What the kernel kept of a scheduler's end, read at the stop in which it took the scheduler down.

The kernel writes exit code, reason and message after the write that ejects, and frees them with the scheduler. A
capture is rendered when the guest runs again, after the captures before it; by then they may be gone. At the write of
``scx_root`` they are whole, so they are kept from there, for captures that could not read them.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.report import CaptureReport

MAX_LIVES = 16
"""Schedulers whose last words are kept; more captures than that never wait to be rendered."""
_FIELDS = {"exit_code": "exit_code", "exit_cpu": "cpu", "reason": "reason", "message": "message"}
"""Of a `SchedulerReport`, and their names in an `ExitText`."""


class LastWords:
    """Keeps the exit info of the schedulers that left last."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, ExitText] = OrderedDict()

    def keep(self, life: int, words: ExitText) -> None:
        """Keep what a scheduler left behind.

        Args:
            life: Which scheduler, counted from 1.
            words: Its exit info.
        """
        self._of[life] = words
        while len(self._of) > MAX_LIVES:
            self._of.popitem(last=False)

    def complete(self, report: CaptureReport, life: int) -> CaptureReport:
        """Fill in what the capture of an ejection lacks of the exit info; it is left alone where it has all.

        Args:
            report: The capture.
            life: Of the scheduler that was loaded at its stop.
        """
        words, found = self._of.get(life), report.scheduler
        if words is None or found is None or found.reason or found.message:
            return report
        if found.exit_kind != words.kind:
            return report  # it is about a sub-scheduler, or was not taken of an ejection
        values = {name: getattr(words, source) for name, source in _FIELDS.items()}
        late = {**report.read_late, "scheduler.exit_info": "read when the kernel took the scheduler down"}
        return msgspec.structs.replace(
            report, scheduler=msgspec.structs.replace(found, **values), read_late=late
        )
