"""How long something may go wrong before it is an alarm: values only."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

Limit: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class AlarmLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds of the guest's time; 0 raises no such alarm.

    None goes by the watchdog: a third of the timeout after which the kernel ejects the scheduler. For ``wait_ms`` it
    raises none, since half of the timeout is an alert in any case.
    """

    idle_ms: Limit | None = None
    """A task waits beside an idle CPU that it may use."""
    dsq_ms: Limit | None = None
    """A DSQ has tasks, and no CPU takes one."""
    wait_ms: Limit | None = None
    """A task waits, whatever the CPUs do."""
    kthread_ms: Limit | None = None
    """A kernel thread waits while rt or dl tasks have every CPU that it may use."""

    def over(self, other: AlarmLimits) -> AlarmLimits:
        """These limits, and those of another where these say nothing."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(other, **own)
