"""The ext task that a task of a higher class displaced, from the CPU's local DSQ to the headline."""

from __future__ import annotations

from ktstr_tui.model.report import SLICE_INF, NextTask
from ktstr_tui.text.cause import headline
from tests.unit.capture.test_report import Stopped, stopped  # noqa: F401 (a fixture)
from tests.unit.kernel.tiny import CPUS_PTR, DSQ_NODE, LOCAL, RT_CLASS
from tests.unit.kernel.whole import MASKS


def test_the_task_that_a_higher_class_displaced_is_in_the_headline(
    stopped: Stopped,  # noqa: F811
) -> None:
    kernel = stopped.kernel
    agent = kernel.task(11, pid=1, comm="agent", sched_class=RT_CLASS)
    kernel.memory.put(kernel.rq(1) + 16, agent)
    kernel.memory.put(agent + CPUS_PTR, MASKS)
    kernel.memory.put(stopped.running + 0xF0, SLICE_INF)
    # The kernel puts it at the head, before what waits there already.
    later = kernel.sleeper(12, pid=45, comm="later", cpu=1)
    kernel.link(kernel.rq(1) + LOCAL, [stopped.running + DSQ_NODE, later + DSQ_NODE])
    report = stopped.report()
    assert report.tasks[0].running_there[1].ahead_of == NextTask(pid=44, comm="hog", slice_ns=SLICE_INF)
    said = "running there: cpu 0 idle, cpu 1 agent[1] (rt) ahead of hog[44] (ext, infinite slice)"
    assert headline(report).endswith(said)
    # Between two tasks of ext nobody was displaced: what waits in the local DSQ waits for its turn.
    kernel.memory.put(kernel.rq(1) + 16, later)
    assert all(it.ahead_of is None for it in stopped.report().tasks[0].running_there)
