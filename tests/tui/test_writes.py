"""Whether kernel memory may be written to is a fact of the run, and shown as one."""

from __future__ import annotations

import msgspec
import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.tui.bars import HeaderBar
from ktstr_tui.tui.dialogs import info_rows
from ktstr_tui.tui.view import View
from tests.tui.fakes import FakeSource
from tests.tui.story import START_NS, Story


@pytest.mark.parametrize("allowed", [False, True])
def test_the_header_and_the_run_page_say_whether_writes_are_allowed(allowed: bool) -> None:
    info = msgspec.structs.replace(Story().info(), allow_writes=allowed)
    view = View(FakeSource([ev.RunStarted(seq=1, mono_ns=START_NS, info=info)]))
    header = "".join(text for text, _ in HeaderBar("header").lines(view, 120)[0])
    assert ("WRITES" in header) is allowed
    rows = dict(row for _, section in info_rows(view) for row in section)
    assert rows["kernel writes"] == ("allowed" if allowed else "refused")
