"""How the end of a scheduler is told that left without a message of its own."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.events import SchedulerChanged
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from tests.unit.capture.fakes import SCHED_A
from tests.unit.capture.rig import running
from tests.unit.link.strategies import numbered

pytestmark = pytest.mark.usefixtures("no_threads")


@pytest.mark.parametrize("message", ["", None])
async def test_an_end_without_a_message_is_told_by_its_reason(
    autojump_clock: MockClock, message: str | None
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 67, vcpu=1)
        await rig.settle()
        rig.view.exit_infos[SCHED_A] = ExitText(67, 0, "disabled by sysrq-S", message)
        rig.engine.write_root(None)
        await rig.settle()
        state = RunState()
        for event in numbered(list(rig.of(SchedulerChanged))):
            fold(state, event)
        assert state.last_ejection == 'scheduler "alpha" was ejected: SYSRQ: disabled by sysrq-S'
