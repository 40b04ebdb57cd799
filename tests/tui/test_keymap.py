"""A user's key map: checked before Textual gets it, and then obeyed."""

from __future__ import annotations

import itertools

import pytest
from textual.pilot import Pilot

from ktstr_tui.tui.actions import ACTIONS
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.keymap import TAKEN, _meet, _names, check_keys, key_names
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.look import Look
from tests.tui.fakes import FakeSource, drive, press
from tests.tui.story import END_S, Story


def test_the_keys_of_the_registry_have_names_and_do_not_clash() -> None:
    for action in ACTIONS:
        assert check_keys({action.id: action.keys}) == ({action.id: ",".join(_names(action.keys))}, [])
        assert not TAKEN.keys() & set(_names(action.keys))
    for one, other in itertools.combinations(ACTIONS, 2):
        if _meet(one, other):
            assert not set(_names(one.keys)) & set(_names(other.keys)), (one.id, other.id)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("f5", "f5"),
        ("/", "slash"),
        ("C , f5", "C,f5"),
        ("ctrl+k", "ctrl+k"),
        ("ctrl+shift+f2", "ctrl+shift+f2"),
        ("ü", "ü"),
        ("comma", "comma"),
    ],
)
def test_names_of_keys_are_textuals(keys: str, expected: str) -> None:
    assert check_keys({"view.filter": keys}) == ({"view.filter": expected}, [])


def test_two_actions_may_change_keys() -> None:
    good, mistakes = check_keys({"run.capture": "f", "run.freeze": "c"})
    assert good == {"run.capture": "f", "run.freeze": "c"}
    assert mistakes == []


def test_of_two_actions_on_one_new_key_the_first_gets_it() -> None:
    good, mistakes = check_keys({"run.freeze": "f5", "run.capture": "f5"})
    assert good == {"run.capture": "f5"}
    assert [(it.id, it.what) for it in mistakes] == [
        ("run.freeze", "f5 is the key of run.capture (Capture) too")
    ]


def test_a_key_may_mean_two_things_at_two_places() -> None:
    assert check_keys({"report.tasks": "7"})[1] != []
    assert check_keys({"report.tasks": "u"}) == ({"report.tasks": "u"}, [])


def test_keys_have_names() -> None:
    assert {"slash", "f1", "comma", "left_curly_bracket", "space", "pagedown", "enter"} <= key_names()
    assert not any("+" in name for name in key_names())


def test_the_screen_obeys_a_key_map() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[object]:
        await press(app, pilot, "c")
        before = list(source.commands)
        await press(app, pilot, "f5", "slash")
        filtering = type(app.screen).__name__
        await press(app, pilot, "escape", "question_mark")
        return [before, source.commands, filtering, app.screen._keys["run.capture"]]  # type: ignore[attr-defined]

    source = FakeSource(Story().until(END_S)[:-1])
    keys, mistakes = check_keys({"run.capture": "f5", "run.freeze": "c"})
    assert mistakes == []
    before, after, filtering, shown = drive(source, steps, look=Look(keys=keys))[1]
    assert before == [("freeze", {})]
    assert after == [("freeze", {}), ("capture", {})]
    assert filtering == "FilterDialog"
    assert shown == "f5"
