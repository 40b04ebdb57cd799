"""A scheduler that takes long to attach is an alert that says what it waits for."""

from __future__ import annotations

import trio
import trio.testing

from ktstr_tui.backend.attach_watch import ALERT_S, watch_attach, what_for
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.sample import Sample, SchedulerSample
from ktstr_tui.model.state import RunState


def now_ns() -> int:
    return int(trio.current_time() * 1e9)


class Run:
    """A run whose guest says what its schedulers do."""

    def __init__(self) -> None:
        self.state = RunState()
        self.events: list[ev.Event] = []
        self.frozen_ns = 0

    def emit(self, event: ev.Event) -> None:
        self.events.append(event)
        fold(self.state, event)

    def log(self, text: str) -> None:
        fold(self.state, ev.OutputText(stream="sched_log", text=text, mono_ns=now_ns()))

    async def watch(self) -> None:
        await watch_attach(lambda: self.state, lambda _begin, _end: self.frozen_ns, now_ns, self.emit)


async def test_a_long_wait_is_an_alert_until_the_scheduler_attaches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    run = Run()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.watch)
        await trio.sleep(20.5)
        assert run.events == [], "nothing is being loaded"
        run.log("--- begin /sched/scx_big ---\nscx_big: 12 topologies\n")
        await trio.sleep(ALERT_S - 0.6)
        assert run.events == []
        await trio.sleep(3)
        alert = run.events[-1]
        assert isinstance(alert, ev.AlertRaised)
        assert (alert.severity, alert.kind) == ("warning", "attach")
        assert alert.text.startswith("/sched/scx_big was started 12 s ago and has not attached: ")
        assert alert.text.endswith("last line of its log: scx_big: 12 topologies")
        assert len(run.state.log) == 1, "the log names it once, however often it is renewed"
        fold(run.state, ev.SchedulerChanged(change="attached", name="big"))
        await trio.sleep(1)
        assert run.events[-1] == ev.AlertCleared(key="attach", kind="attach")
        assert run.state.alerts == {}
        nursery.cancel_scope.cancel()


async def test_frozen_time_is_no_wait(autojump_clock: trio.testing.MockClock) -> None:
    run = Run()
    run.frozen_ns = 60 * 1_000_000_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.watch)
        run.log("--- begin demo:fifo ---\n")
        await trio.sleep(30)
        assert run.events == []
        run.frozen_ns = 0
        await trio.sleep(1.5)
        assert run.events
        nursery.cancel_scope.cancel()


async def test_time_without_a_host_cpu_is_no_wait(autojump_clock: trio.testing.MockClock) -> None:
    run = Run()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.watch)
        await trio.sleep(100)
        run.log("--- begin demo:fifo ---\n")
        await trio.sleep(ALERT_S - 1)
        fold(run.state, ev.HostStood(start_ns=90 * 10**9, end_ns=now_ns(), reason="QEMU was stopped"))
        await trio.sleep(ALERT_S - 2)
        assert run.events == []
        await trio.sleep(4)
        assert run.events
        nursery.cancel_scope.cancel()


def test_it_ends_with_whatever_the_scheduler_comes_to() -> None:
    for event in (
        ev.SchedulerChanged(change="attached", name="fifo"),
        ev.StepStarted(index=1, name="fifo", scheduler="demo:fifo"),
        ev.LifecycleChanged(phase="SchedulerNotAttached", reason="refused"),
        ev.OutputText(stream="sched_log", text="--- end demo:fifo: exit code 1 ---\n"),
        ev.RunEnded(exit_code=0, reason="done"),
    ):
        state = fold(RunState(), ev.OutputText(stream="sched_log", text="--- begin demo:fifo ---\n"))
        assert state.loading == "demo:fifo"
        assert fold(state, event).loading == ""


def test_what_a_scheduler_waits_for() -> None:
    state = fold(RunState(), ev.OutputText(stream="sched_log", text="--- begin my.bpf.o ---\n"))
    assert "verifies" in what_for(state)
    sample = Sample(cpus=(), scheduler=SchedulerSample(state="enabling"))
    assert what_for(fold(state, ev.Sampled(sample=sample))) == "the kernel is enabling it"
    other = fold(RunState(), ev.OutputText(stream="stdout", text="--- begin demo:fifo ---\n"))
    assert other.loading == "", "only the scheduler's log says it"
