"""What a live guest is made with."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.control import RunControl
from ktstr_tui.backend.counting import Audience
from ktstr_tui.backend.edit.reboots import Reboots
from ktstr_tui.backend.prepare import Prepared
from ktstr_tui.backend.run_dirs import RunDirs
from ktstr_tui.backend.seeded import Seeded
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.guest_time import HostTime, RunTime
from ktstr_tui.health.standstill import Standstill
from ktstr_tui.heartbeat.intake import Intake
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.ops.audit import AuditTrail
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.port.scheduler_log import SchedulerLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a live guest is made with.

    Args:
        config: What was asked for.
        prepared: What was looked up.
        place: Where captures are saved.
        audience: Who takes the stream.
        control: Decides what is done to the guest.
        started_ns: Host monotonic time at which the machine was started.
        time: The run's.
        reboots: What this boot is made of.
        beats_socket: Where programs of this host send heartbeats to, if they may.
    """

    config: RunConfig
    prepared: Prepared
    reboots: Reboots
    place: RunDirs
    audience: Audience
    control: RunControl
    started_ns: int
    time: RunTime = field(default_factory=HostTime)
    beats_socket: socket.socket | None = None

    @property
    def alarm_limits(self) -> AlarmLimits:
        """When something is an early alarm: as the command line says, and where it says nothing, the scenario."""
        return self.config.alarms.over(self.prepared.scenario.alarms or AlarmLimits())


@dataclass(frozen=True, slots=True)
class Held:
    """What is open as long as a live guest is.

    Args:
        audit: Keeps what was read and written of the kernel's memory.
        writable: The guest's memory for writing; None when the run does not allow that.
        intake: Where heartbeats come from.
        frozen: Keeps when the guest was frozen.
        scheduler_log: Keeps what schedulers print.
        host: Keeps when the host gave the guest no CPU.
        seeded: Keeps what a run with a seed was given, and what it was like.
    """

    audit: AuditTrail
    writable: WritableRam | None
    intake: Intake
    frozen: FrozenLog
    scheduler_log: SchedulerLog
    host: Standstill
    seeded: Seeded
