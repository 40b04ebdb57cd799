"""What the state remembers of watchpoints."""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import RunningTask, Stack, StackFrame
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import decode_event, decode_state, encode_event, encode_state

WRITER = RunningTask(cpu=1, pid=7, comm="worker", sched_class="ext")
STACK = Stack((StackFrame(0xFFFFFFFF81000000, "store+0x4"),), "user")


def hit(old: int | None, value: int | None, **more: object) -> ev.WatchpointHit:
    return ev.WatchpointHit(slot=1, expression="x", vcpu=1, old=old, value=value, **more)  # type: ignore[arg-type]


def test_a_slot_keeps_its_last_hit_and_counts_all() -> None:
    state = RunState()
    fold(
        state,
        ev.WatchpointChanged(slot=1, expression="x", address=16, length_bytes=4, once=True, budget_per_s=20),
    )
    fold(state, hit(1, 2, writer=WRITER, stack=STACK))
    fold(state, hit(2, 2, writer=WRITER))
    slot = state.watchpoints[1]
    assert (slot.hits, slot.unchanged, slot.last_old, slot.last_value, slot.last_vcpu) == (2, 1, 2, 2, 1)
    assert (slot.last_writer, slot.length_bytes, slot.once, slot.budget_per_s) == (WRITER, 4, True, 20)
    assert [it.stack for it in state.hits] == [STACK, None]


def test_an_unreadable_write_is_not_an_unchanged_one() -> None:
    state = fold(RunState(), hit(None, None))
    assert (state.watchpoints[1].hits, state.watchpoints[1].unchanged) == (1, 0)


def test_a_removed_slot_is_gone_and_its_hits_stay() -> None:
    state = RunState()
    fold(state, hit(1, 2))
    fold(state, ev.WatchpointChanged(slot=1, expression="x", state="removed", detail="as asked"))
    assert state.watchpoints == {}
    assert len(state.hits) == 1
    fold(state, ev.WatchpointChanged(slot=1, expression="y"))
    assert state.watchpoints[1].hits == 0


def test_hits_survive_the_wire_with_addresses_of_the_kernel_half() -> None:
    event = hit(0, 0xFF3C337002D35800, writer=WRITER, stack=STACK)
    assert decode_event(encode_event(event)) == event
    state = fold(RunState(), event)
    assert decode_state(encode_state(state)) == state


def test_slot_0_forgets_the_hits_of_what_it_watched_before() -> None:
    state = RunState()
    fold(state, ev.WatchpointChanged(slot=0, expression="scx_root", address=16, state="armed"))
    fold(state, ev.WatchpointHit(slot=0, expression="scx_root", vcpu=1, old=0, value=0xFF48, writer=WRITER))
    assert state.watchpoints[0].hits == 1
    fold(state, ev.WatchpointChanged(slot=0, expression="scx_root->exit_kind", address=32, state="armed"))
    slot = state.watchpoints[0]
    assert (slot.expression, slot.hits, slot.last_old, slot.last_value, slot.last_writer) == (
        "scx_root->exit_kind",
        0,
        None,
        None,
        None,
    )
    assert [it.expression for it in state.hits] == ["scx_root"]
