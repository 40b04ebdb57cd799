"""Every sub-scheduler that stalls has an early capture of its own: both who decide see the same samples."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from ktstr_tui.capture.report.dual import EarlySamples
from ktstr_tui.control.fold import fold
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.reconcile import decide
from ktstr_tui.control.state import LoopState
from ktstr_tui.model.control import ControlPlan, TakeCapture
from ktstr_tui.model.events import DualSaved, Sampled
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample, SubSample
from tests.unit.capture.early_rig import watched
from tests.unit.capture.sub_rig import STALL, SubRig

ERROR_BPF = 1025


def sample(age_ms: float, sub: str | None, *subs: tuple[str, int], unreadable: str | None = None) -> Sample:
    """A task of a sub-scheduler has waited; the sub-schedulers that there are, with their exit kinds."""
    oldest = RunnableTask(pid=42, comm="spin", age_ms=age_ms, cpu=0, sub=sub, timeout_ms=1000.0)
    found = tuple(
        SubSample(name="sub", cgroup=cgroup, level=1, state="enabled", exit_kind=kind)
        for cgroup, kind in subs
    )
    return Sample(
        cpus=(),
        scheduler=SchedulerSample(
            name="root",
            enable_seq=1,
            watchdog_timeout_ms=20_000.0,
            oldest_runnable=oldest,
            subs=found,
            subs_unreadable=unreadable,
        ),
    )


class Both:
    """The control loop, and what remembers the samples for the captures of ejections."""

    def __init__(self) -> None:
        self.loop = LoopState(plan=ControlPlan(name="run", early=True))
        self.samples = EarlySamples()
        self.seq = 0

    def see(self, it: Sample) -> bool:
        """Whether an early capture is asked for now."""
        self.seq += 1
        fold(self.loop, Sampled(sample=it, seq=self.seq))
        asked = [one for one in decide(self.loop) if isinstance(one.action, TakeCapture)]
        for one in asked:
            note_emitted(self.loop, one)
            self.loop.in_flight.clear()
        task = self.samples.see(it)
        if task is not None:
            self.samples.ask(task)
        assert (task is not None) == bool(asked)
        return bool(asked)


@pytest.mark.parametrize("gone", [(), (("/a", 1026),)], ids=["gone", "being ejected"])
def test_the_second_one_has_its_own_when_the_first_is_gone(gone: tuple[tuple[str, int], ...]) -> None:
    both = Both()
    living = (("/a", 0), ("/b", 0))
    assert not both.see(sample(400, "/a", *living))
    assert both.see(sample(600, "/a", *living))
    assert not both.see(sample(700, "/b", *living)), "the capture of a moment ago shows it too"
    assert not both.see(sample(900, "/a", *gone, ("/b", 0))), "nobody waits for it any more"
    assert both.see(sample(600, "/b", *gone, ("/b", 0)))
    assert not both.see(sample(800, "/b", *gone, ("/b", 0)))


def test_one_that_could_not_be_seen_is_not_gone() -> None:
    both = Both()
    assert both.see(sample(600, "/a", ("/a", 0)))
    assert not both.see(sample(700, "/a", unreadable="torn"))


def test_a_task_of_the_loaded_scheduler_has_one_in_all() -> None:
    both = Both()
    assert both.see(sample(600, None, ("/a", 0)))
    assert not both.see(sample(900, None))


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("kind", [ERROR_BPF, STALL])
async def test_one_that_left_otherwise_makes_way_for_the_next_ones_early_capture(
    kind: int, autojump_clock: MockClock
) -> None:
    """The first is captured early, and leaves with an error of its own or a stall; then the second stalls."""
    async with watched() as run:
        subs = SubRig(run.rig)
        a, b = subs.enter(1, "/a"), subs.enter(2, "/b")
        await subs.poll()
        run.look(sample(600, "/a", ("/a", 0), ("/b", 0)))
        await run.rig.settle()
        subs.exit(a, kind)
        await run.rig.settle()
        run.look(sample(600, "/b", ("/a", kind), ("/b", 0)))
        await run.rig.settle()
        subs.exit(b, STALL)
        await run.rig.settle()
        early, errors = run.reports(), run.reports("error")
        assert len(early) == len(errors) == 2
        paired = [(it.outcome, it.early_tag, it.late_tag) for it in run.rig.of(DualSaved)]
    first = (
        ("both", early[0].tag, errors[0].tag)
        if kind == STALL
        else ("early-only-late-never-fired", early[0].tag, None)
    )
    assert paired == [first, ("both", early[1].tag, errors[1].tag)]


@pytest.mark.usefixtures("no_threads")
async def test_an_early_capture_of_another_ones_task_goes_with_no_stall_but_its_own(
    autojump_clock: MockClock,
) -> None:
    async with watched() as run:
        subs = SubRig(run.rig)
        subs.enter(1, "/a")
        b = subs.enter(2, "/b")
        await subs.poll()
        run.look(sample(600, "/a", ("/a", 0), ("/b", 0)))
        await run.rig.settle()
        subs.exit(b, STALL)
        await run.rig.settle()
        (early,), (late,) = run.reports(), run.reports("error")
        assert run.rig.of(DualSaved) == []
    assert (late.early_tag, late.early_skipped_reason) == (
        None,
        f"{early.tag} was taken early for a task of /a",
    )
