"""Names that a guest may give to captures, which are not those of the host; and the answer to its last word."""

from __future__ import annotations

from typing import get_args

import pytest
import trio

from ktstr_tui.model.events import LifecycleChanged, OutputText
from ktstr_tui.model.kinds import TRIGGERS, GuestPhase, OutputStream
from ktstr_tui.port import actions as act
from ktstr_tui.wire.codec import decode_event, encode_event
from ktstr_tui.wire.messages import (
    Lifecycle,
    LifecyclePhase,
    MsgType,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
)
from tests.unit.port.asking import Asked


async def handle(*actions: act.Action) -> Asked:
    """What came of some actions."""
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery)
        for action in actions:
            asked.handler.handle(action)
    return asked


async def ask(tag: str) -> tuple[SnapshotReply, list[str]]:
    """The answer to a request with this tag, and the tags of the captures taken."""
    asked = await handle(act.SnapshotRequested(SnapshotRequest(3, SnapshotKind.CAPTURE, tag)))
    (answer,) = asked.answers()
    return answer, asked.taken


@pytest.mark.parametrize(
    "tag", ["early-2", "periodic_000", *(f"{it}-001" for it in TRIGGERS if it != "guest")]
)
async def test_the_hosts_own_names_are_refused(tag: str) -> None:
    answer, taken = await ask(tag)
    assert answer.status is SnapshotStatus.ERR
    assert tag in answer.reason
    assert taken == []


@pytest.mark.parametrize("tag", ["mine", "error", "error-x", "after error-001", "periodic_7", "../../x"])
async def test_other_names_are_the_guests_to_give(tag: str) -> None:
    answer, taken = await ask(tag)
    assert answer.status is SnapshotStatus.OK
    assert taken == [tag]


async def test_no_name_is_one_too() -> None:
    asked = await handle(
        act.SnapshotRequested(SnapshotRequest(3, SnapshotKind.CAPTURE, "")),
        act.SnapshotRequested(SnapshotRequest(4, SnapshotKind.CAPTURE, "")),
    )
    assert [it.status for it in asked.answers()] == [SnapshotStatus.OK, SnapshotStatus.OK]
    assert sorted(asked.taken) == ["guest-001", "guest-002"]


async def test_the_last_word_is_answered_once() -> None:
    asked = await handle(act.Exited(0), act.Exited(1))
    assert asked.replies == [(MsgType.Shutdown, b"")]


async def test_every_phase_and_every_text_of_the_guest_has_its_word() -> None:
    # A word that is missing in a table of the handler raises here, one that the model lacks fails its decoding.
    texts = (MsgType.Stdout, MsgType.Stderr, MsgType.SchedLog, MsgType.Dmesg, MsgType.Crash)
    asked = await handle(
        *(act.LifecycleSeen(Lifecycle(phase, "why")) for phase in LifecyclePhase),
        *(act.Text(kind, "line") for kind in texts),
    )
    for event in asked.events:
        assert decode_event(encode_event(event)) == event
    assert [it.phase for it in asked.events if isinstance(it, LifecycleChanged)] == list(get_args(GuestPhase))
    of_the_port = [it for it in get_args(OutputStream) if it not in ("console", "boot")]  # which have no port
    assert [it.stream for it in asked.events if isinstance(it, OutputText)] == of_the_port
