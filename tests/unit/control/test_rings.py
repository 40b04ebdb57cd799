"""The newest failures and log lines, and the files that keep all of them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.control.rings import FAILURES, LOG_LINES, Rings
from ktstr_tui.model import events as ev
from tests.unit.control.rig import Keeper, Rig


async def test_log_chain_appender_receives_every_published_log_line(autojump_clock: MockClock) -> None:
    keeper = Keeper()
    rig = Rig(rings=Rings(log=keeper))
    async with rig.running():
        for severity in ("info", "warning", "error"):
            rig.stream.emit(ev.Logged(severity=severity, source="test", text=severity))
        await trio.sleep(0.15)
        lines = rig.reader.read().log
    assert [(it.seq, it.level, it.message) for it in lines] == [
        (1, "info", "test: info"), (2, "warning", "test: warning"), (3, "error", "test: error")
    ]  # fmt: skip
    assert tuple(keeper.kept) == lines


@pytest.mark.parametrize("ring", ["failures", "log"])
def test_a_file_that_takes_nothing_marks_the_entry_and_the_loop_goes_on(ring: str) -> None:
    full = Keeper(OSError("No space left on device"))
    rings = Rings(failures=full, log=full)
    rings.fail("capture", "gone", 1)
    rings.say("info", "a line", 1)
    (entry,) = getattr(rings, ring).newest()
    assert entry.chain_pending
    full.error = None
    rings.fail("capture", "gone", 2)
    rings.say("info", "another", 2)
    assert [it.chain_pending for it in getattr(rings, ring).newest()] == [True, False]
    assert getattr(rings, ring).append_failures == 1


def test_the_rings_keep_the_newest_256_failures_and_2048_lines() -> None:
    rings = Rings()
    for at in range(3000):
        rings.fail("capture", "gone", at)
        rings.say("info", "a line", at)
    assert (FAILURES, LOG_LINES) == (256, 2048)
    assert [it.seq for it in rings.failures.newest()] == list(range(2745, 3001))
    assert len(rings.log.newest()) == LOG_LINES
