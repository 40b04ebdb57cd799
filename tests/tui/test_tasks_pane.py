"""The list of tasks, and the way from a CPU over its tasks and queues to other CPUs, and back."""

from __future__ import annotations

from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.rates import TaskRate, TaskRates, Waits
from ktstr_tui.model.tasks import ListedTask
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.drill_window import DrillPane, DrillWindow
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.main_screen import MainScreen
from tests.tui.fakes import FakeSource, drive, press, rows, screen, settle
from tests.tui.story import Story

DSQ = "0x7"


def task(pid: int, comm: str, **more: object) -> ListedTask:
    base = {"tgid": pid, "state": "S", "sched_class": "ext", "policy": "NORMAL", "allowed": "0-1"}
    return ListedTask(pid=pid, comm=comm, **{**base, **more})  # type: ignore[arg-type]


TASKS = (
    task(200, "spin-0", state="R", is_waiting=True, dsq=DSQ, age_ms=1500.0, allowed="0"),
    task(201, "spin-1", state="R", on_cpu=True, cpu=1),
    task(300, "kworker/u4:2", sched_class="fair", policy="BATCH", nice=-5),
)
RATES = TaskRates(
    span_ms=1000.0,
    tasks=(
        TaskRate(pid=201, comm="spin-1", cpu=1, doing="runs", run_share=0.9, switches=12),
        TaskRate(pid=300, comm="kworker/u4:2", cpu=0, doing="sleeps", run_share=0.01, waits=Waits(count=1, p99_ms=3.0)),
    ),
)  # fmt: skip


def source() -> FakeSource:
    found = FakeSource(Story().until(25))
    seq = found.state.seq
    found.feed(
        [ev.TasksListed(seq=seq + 1, tasks=TASKS, fresh=True), ev.TasksMeasured(seq=seq + 2, rates=RATES)]
    )
    return found


def test_the_list_joins_the_kernels_list_and_the_rates() -> None:
    text = screen(source(), "9", size=(160, 40))
    lines = [line for line in text.splitlines() if "spin-" in line or "kworker/u4:2" in line]
    own = [line for line in lines if "NORMAL" in line or "BATCH" in line]
    assert ["spin-1[201]" in own[0], "kworker/u4:2[300]" in own[1], "spin-0[200]" in own[2]] == [True] * 3
    assert "90.0%" in own[0]
    assert "3.0 ms" in own[1]
    assert "1.5 s" in own[2]
    assert DSQ in own[2]
    assert "3 tasks" in text


def test_it_is_legible_at_80_columns() -> None:
    text = screen(source(), "9", size=(80, 24))
    assert "spin-0[200]" in text
    assert "run▼" in text
    assert "age" in text


def test_the_window_of_a_task_says_what_each_number_is_of() -> None:
    text = screen(source(), "9", "slash", *"kworker", "enter", "enter", size=(80, 24))
    lines = [line.partition("│")[2].partition("│")[0].split() for line in text.split("\n")]
    told = {words[0]: " ".join(words[1:]) for words in lines if words}
    assert told["run"] == "1.0% of one CPU, in the last second"
    assert told["p99"] == "3.0 ms 99 of 100 of its waits were as short"
    names = [words[0] for words in lines if words]
    assert names.index("pid") < names.index("run") < names.index("p99") < names.index("switches")


def test_it_is_filtered_by_regular_expression_and_its_inverse() -> None:
    assert "filter: ^spin (2 of 3)" in screen(source(), "9", "slash", *"^spin", "enter", size=(160, 40))
    assert "filter: !^spin (1 of 3)" in screen(source(), "9", "slash", *"!^spin", "enter", size=(160, 40))


def test_the_cursor_follows_its_task_through_every_order() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[int]:
        await press(app, pilot, "9", "j")
        assert isinstance(app.screen, MainScreen)
        pane = app.screen.task_list
        found = []
        for key in ("s", "s", "S", "s"):
            await press(app, pilot, key)
            chosen = pane.chosen()
            assert chosen is not None
            found.append(chosen.pid)
        return found

    assert drive(source(), steps, (160, 40))[1] == [300] * 4


async def places(app: KtstrApp, pilot: Pilot[Leaving], *keys: str) -> list[str]:
    """The titles of the window after each key."""
    found = []
    for key in keys:
        await press(app, pilot, key)
        found.append(
            str(app.screen.query_one(DrillPane).border_title) if isinstance(app.screen, DrillWindow) else ""
        )
    return found


def goto(app: KtstrApp, text: str) -> None:
    """Put the cursor on the row that contains a text."""
    pane = app.screen.query_one(DrillPane)
    at = next(n for n in range(pane.rows) if text in "".join(part for part, _ in pane.row(n, 100)))
    pane.move_to(at)


def test_enter_leads_from_a_cpu_to_its_task_its_queue_another_cpu_and_escape_back() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        trail = await places(app, pilot, "1", "enter")
        for text in ("spin-0[200]", f"DSQ {DSQ}", "cpu 0"):
            goto(app, text)
            trail += await places(app, pilot, "enter")
        return trail + await places(app, pilot, "escape", "escape", "escape", "escape")

    trail = drive(source(), steps, (120, 40))[1]
    way = ["vCPU 0", "vCPU 0 → task 200", f"vCPU 0 → task 200 → DSQ {DSQ}"]
    assert trail == ["", *way, f"{way[2]} → vCPU 0", *reversed(way), ""]


def test_a_task_that_goes_is_said_to_be_gone() -> None:
    run = source()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "9", "enter")
        before = "\n".join(rows(app))
        run.feed(
            [
                ev.TasksListed(seq=run.state.seq + 1, gone=(201,)),
                ev.TasksMeasured(seq=run.state.seq + 2, rates=TaskRates()),
            ]
        )
        await settle(app, pilot)
        return before, "\n".join(rows(app))

    before, after = drive(run, steps, (120, 40))[1]
    assert "spin-1[201]" in before
    assert "This task is gone." in after


def test_a_task_of_a_capture_leads_to_its_queue_and_cpus() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "enter", "2")
        trail = await places(app, pilot, "enter")
        goto(app, "DSQ 0x7")
        trail += await places(app, pilot, "enter")
        goto(app, "cpu 0")
        return trail + await places(app, pilot, "enter", "escape", "q")

    trail = drive(FakeSource(Story().until(33)), steps, (120, 40))[1]
    assert trail[0].startswith("task ")
    assert trail[1] == f"{trail[0]} → DSQ 0x7"
    assert trail[2:] == [f"{trail[1]} → vCPU 0", trail[1], ""]
