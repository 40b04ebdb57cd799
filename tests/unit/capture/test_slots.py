from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.capture.watch.slots import Change, SlotZero, WatchTarget
from ktstr_tui.model.budget import HitBudget

SECOND = 1_000_000_000


def target(slot: SlotZero) -> WatchTarget:
    return slot.target(8, lambda sched: sched + 4)


def test_one_life_of_a_scheduler() -> None:
    slot = SlotZero()
    assert target(slot) == WatchTarget("scx_root", 8, 8)
    assert slot.look(0x100, 0) == [Change("attached", 0x100)]
    assert target(slot) == WatchTarget("scx_root->exit_kind", 0x104, 4)
    assert slot.look(0x100, 0) == []
    assert slot.look(0x100, 1026) == [Change("ejected", 0x100, 1026)]
    assert target(slot) == WatchTarget("scx_root", 8, 8)
    # The kernel moves on to DONE, which is no second exit.
    assert slot.look(0x100, 1) == []
    assert slot.look(0, None) == [Change("detached", 0x100)]
    assert slot.look(None, None) == []


@pytest.mark.parametrize("exit_kind", [1, 64, 65, 1024, 1026])
@pytest.mark.parametrize(("asked", "kind"), [(True, "exiting"), (False, "ejected")])
def test_every_end_that_was_not_asked_for_is_an_ejection(exit_kind: int, asked: bool, kind: str) -> None:
    slot = SlotZero()
    assert [change.kind for change in slot.look(0x100, exit_kind, asked=asked)] == ["attached", kind]


def test_a_replacement_seen_in_one_look() -> None:
    slot = SlotZero()
    slot.look(0x100, 0)
    assert slot.look(0x200, 0) == [Change("detached", 0x100), Change("attached", 0x200)]


def test_the_same_address_with_no_exit_again_is_another_scheduler() -> None:
    slot = SlotZero()
    slot.look(0x100, 1026)
    assert slot.differs(0x100, 0)
    assert slot.look(0x100, 0) == [Change("detached", 0x100), Change("attached", 0x100)]


_MEMORY = st.tuples(
    st.sampled_from([None, 0, 0x100, 0x200]), st.sampled_from([None, 0, 1, 64, 1023, 1024, 1026])
)


@given(st.lists(_MEMORY, max_size=40))
def test_whatever_is_seen_the_story_makes_sense(looks: list[tuple[int | None, int | None]]) -> None:
    slot = SlotZero()
    attached, exited = 0, False
    for root, exit_kind in looks:
        seen = exit_kind if root else None
        differs = slot.differs(root, seen)
        changes = slot.look(root, seen)
        assert differs == bool(changes)
        for change in changes:
            if change.kind == "attached":
                assert attached == 0
                attached, exited = change.scheduler, False
            else:
                assert change.scheduler == attached
                if change.kind == "detached":
                    attached = 0
                else:
                    assert not exited
                    exited = True
        assert attached == (root or 0)
        watches_root = target(slot).expression == "scx_root"
        assert watches_root == (attached == 0 or exited)


def test_the_budget_allows_its_limit_in_any_window() -> None:
    budget = HitBudget(3)
    assert [budget.spend(at) for at in (0, 1, 2, 3, SECOND - 1)] == [True, True, True, False, False]
    assert budget.spend(SECOND)
    assert not budget.spend(SECOND)
    budget.refill()
    assert budget.spend(SECOND)


@given(st.lists(st.integers(0, SECOND // 2), max_size=60), st.integers(1, 8))
def test_no_window_holds_more_than_the_limit(gaps: list[int], limit: int) -> None:
    budget, now_ns, spent = HitBudget(limit), 0, []
    for gap in gaps:
        now_ns += gap
        if budget.spend(now_ns):
            spent.append(now_ns)
    for index, start_ns in enumerate(spent):
        within = [at for at in spent[index:] if at - start_ns < SECOND]
        assert len(within) <= limit
