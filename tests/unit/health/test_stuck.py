"""A machine that executes nothing is noticed on the host's clock, and one that is slow never is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.health.stuck import ALERT_S, LOOK_S, How, Stuck, Thread, Threads
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event

LIMIT_S = 30.0
S = 1_000_000_000
MAIN, VCPU = 10, 11


class Rig:
    """QEMU as the host shows it: two threads, one of all vCPUs."""

    def __init__(self) -> None:
        self.threads = {MAIN: Thread("S", 0, 0), VCPU: Thread("R", 0, 0)}
        self.holds = 0
        self.held = False
        self.events: list[Event] = []
        self.stuck = Stuck(
            lambda: dict(self.threads), lambda: self.holds, lambda: self.held, self.events.append, LIMIT_S
        )
        self.how: How | None = None
        self.ended_s = 0.0

    async def run(self) -> None:
        began_s = trio.current_time()
        self.how = await self.stuck.run()
        self.ended_s = trio.current_time() - began_s

    async def lasts(
        self, seconds: float, state: str, *, ran: float = 0.0, waited: float = 0.0, thread: int = VCPU
    ) -> None:
        """Let a thread be like that for a while: for what shares of it it ran, and waited for a CPU."""
        # What changes does so between two looks.
        await trio.sleep((0.5 - trio.current_time() / LOOK_S) % 1 * LOOK_S)
        for _ in range(round(seconds / LOOK_S)):
            _, ran_ns, waited_ns = self.threads[thread]
            ran_ns += round(ran * LOOK_S * S)
            waited_ns += round(waited * LOOK_S * S)
            self.threads[thread] = Thread(state, ran_ns, waited_ns)
            await trio.sleep(LOOK_S)


@asynccontextmanager
async def watched() -> AsyncIterator[Rig]:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        yield rig
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("state", "ran", "how"), [("T", 0.0, "stopped"), ("S", 0.0, "sleeps"), ("R", 1.0, "runs")]
)
async def test_one_that_executes_nothing_is_told_and_then_ended(
    autojump_clock: MockClock, state: str, ran: float, how: How
) -> None:
    async with watched() as rig:
        await rig.lasts(ALERT_S - 2 * LOOK_S, state, ran=ran)
        assert rig.events == []
        await rig.lasts(LIMIT_S, state, ran=ran)
    assert rig.how == how
    assert LIMIT_S <= rig.ended_s <= LIMIT_S + 2 * LOOK_S
    (alert,) = rig.events
    assert isinstance(alert, AlertRaised)
    assert alert.kind == "host"
    assert alert.text.startswith("the guest has executed nothing for 5 s: QEMU ")


async def test_one_that_goes_on_in_time_is_left_alone(autojump_clock: MockClock) -> None:
    async with watched() as rig:
        for _ in range(4):
            await rig.lasts(LIMIT_S - 3 * LOOK_S, "T")
            rig.holds += 1
            await rig.lasts(2 * LOOK_S, "R", ran=1.0)
        assert rig.how is None
    kinds = [type(it) for it in rig.events]
    assert kinds[:4] == [AlertRaised, AlertCleared] * 2


async def test_a_host_as_slow_as_may_be_ends_no_run(autojump_clock: MockClock) -> None:
    """An hour on a host that gives QEMU a hundredth of a CPU, with a hold each ten minutes of it."""
    async with watched() as rig:
        for _ in range(6):
            await rig.lasts(600, "R", ran=0.01)
            rig.holds += 1
        assert rig.how is None
        await rig.lasts(600, "R", thread=MAIN)
        # The main thread wants a CPU and gets none, and the vCPUs wait for it.
        await rig.lasts(600, "S", waited=1.0)
        assert rig.how is None
        rig.threads[MAIN] = Thread("D", 0, 0)
        await rig.lasts(600, "S")
        assert rig.how is None


@pytest.mark.parametrize("state", ["S", "t"])
async def test_what_a_person_or_a_debugger_holds_may_stand_for_ever(
    autojump_clock: MockClock, state: str
) -> None:
    async with watched() as rig:
        rig.held = state == "S"
        await rig.lasts(3_600, state)
        assert rig.how is None
        assert rig.events == []


async def test_what_lies_between_two_looks_that_are_far_apart_is_not_the_machines(
    mock_clock: MockClock,
) -> None:
    async with watched() as rig:
        rig.threads[VCPU] = Thread("S", 0, 0)
        for _ in range(10):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(600.0)  # the host slept, and all that is on it
        await trio.testing.wait_all_tasks_blocked()
        assert rig.how is None
        assert rig.stuck.counted_s <= 10 * 2 * LOOK_S


def test_the_threads_of_a_process_are_read(tmp_path: Path) -> None:
    for thread, state, counted in ((10, "S", "5 6 7"), (11, "R", "8 9 1"), (12, "S", "nonsense")):
        task = tmp_path / "10/task" / str(thread)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{thread} (qemu) x) {state} 1 10")
        (task / "schedstat").write_text(counted)
    assert Threads(10, tmp_path).read() == {10: Thread("S", 5, 6), 11: Thread("R", 8, 9)}
    assert Threads(99, tmp_path).read() == {}
