"""The registry of actions, and what is made from it."""

from __future__ import annotations

from textual.binding import Binding
from textual.command import CommandList
from textual.pilot import Pilot

from ktstr_tui.tui.actions import ACTIONS, GROUP_TITLES, action, bindings
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.dialogs import active_keys
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, screen, until
from tests.tui.story import Story


def test_ids_are_unique_and_grouped() -> None:
    ids = [it.id for it in ACTIONS]
    assert len(ids) == len(set(ids))
    assert {it.group for it in ACTIONS} == set(GROUP_TITLES)
    assert action("run.capture").keys == "c"


def test_no_key_means_two_things_in_one_place() -> None:
    for places in (("app", "main", "pane"), ("app", "report", "pane")):
        keys = [key for it in ACTIONS if it.place in places for key in it.keys.split(",")]
        assert sorted(keys) == sorted(set(keys))


def test_every_binding_has_an_id_and_a_tooltip() -> None:
    for place in ("app", "main", "report", "pane"):
        for binding in bindings(place):
            assert isinstance(binding, Binding)
            assert binding.id
            assert binding.tooltip


def test_every_action_exists_where_it_is_bound() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> set[str]:
        found = set(active_keys(app.screen))
        await press(app, pilot, "0")
        found |= set(active_keys(app.screen))
        await press(app, pilot, "escape", "3", "enter", "6")
        return found | set(active_keys(app.screen))

    _app, found = drive(FakeSource(Story().until(33)), steps)
    # Textual's own ctrl+c, copying a selection, comes first; without one the program's is heard.
    assert found >= {it.id for it in ACTIONS} - {"app.interrupt"}


def test_help_lists_the_keys_of_the_screen_it_was_asked_on() -> None:
    text = screen(FakeSource(Story().until(33)), "question_mark", size=(120, 90))
    for id_ in ("run.capture", "view.pause", "panel.cpus", "move.down"):
        assert action(id_).about in text
    assert action("report.sort").about not in text
    text = screen(FakeSource(Story().until(33)), "3", "enter", "f1", size=(120, 90))
    assert action("report.sort").about in text
    assert action("panel.cpus").about not in text


def test_help_follows_a_key_map() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        app.set_keymap({"run.capture": "x"})
        await press(app, pilot, "x")
        return active_keys(app.screen)["run.capture"]

    source = FakeSource(Story().until(20))
    assert drive(source, steps)[1] == "x"
    assert source.commands == [("capture", {})]


def test_the_palette_offers_every_action_of_the_screen() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "ctrl+p")
        await press(app, pilot, *"pause")
        palette = app.screen
        searching = [it for it in app.workers if it.node is palette]
        await until(app, pilot, lambda: all(it.is_finished for it in searching))
        await until(app, pilot, lambda: palette.query_one(CommandList).option_count > 0)
        await press(app, pilot, "enter")
        return "paused" if app.view.paused else "running"

    assert drive(FakeSource(Story().until(20)), steps)[1] == "paused"
