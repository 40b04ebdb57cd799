"""Options of ``run`` about early alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ktstr_tui.cli.run_choices import MAX_S
from ktstr_tui.model.alarms import AlarmLimits

_BY_WATCHDOG = "0 for no such alarm. [default: the scenario's, or a third of the watchdog timeout]"


def _limit(flag: str, about: str) -> Any:  # noqa: ANN401 -- typer's options are of no declared type
    return typer.Option(flag, metavar="MS", min=0, max=MAX_S * 1e3, help=about)


@dataclass(frozen=True, kw_only=True)
class AlarmOptions:
    """The part of the command line of ``run`` that is about early alarms."""

    alarm_idle: Annotated[
        float | None,
        _limit(
            "--alarm-idle",
            f"Alarm when a task waits that long beside an idle CPU that it may use; {_BY_WATCHDOG}",
        ),
    ] = None
    alarm_dsq: Annotated[
        float | None,
        _limit(
            "--alarm-dsq",
            f"Alarm when no CPU takes a task from a DSQ that has some for that long; {_BY_WATCHDOG}",
        ),
    ] = None
    alarm_wait: Annotated[
        float | None,
        _limit(
            "--alarm-wait",
            "Alarm when a task waits that long, whatever the CPUs do; 0 for no such alarm. "
            "[default: the scenario's, or none]",
        ),
    ] = None
    alarm_kthread: Annotated[
        float | None,
        _limit(
            "--alarm-kthread",
            "Alarm when a kernel thread waits that long while rt or dl tasks have its CPUs; " + _BY_WATCHDOG,
        ),
    ] = None
    capture_on_alarm: Annotated[
        bool,
        typer.Option(
            "--capture-on-alarm/--no-capture-on-alarm",
            help="Capture when an early alarm is raised, at most every 10 s.",
        ),
    ] = False

    def alarms(self) -> AlarmLimits:
        """The limits that are given."""
        return AlarmLimits(
            idle_ms=self.alarm_idle,
            dsq_ms=self.alarm_dsq,
            wait_ms=self.alarm_wait,
            kthread_ms=self.alarm_kthread,
        )
