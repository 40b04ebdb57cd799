"""Names of sched_ext's flags, in kernels that keep the state of a task in different bits."""

from __future__ import annotations

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.flag_words import FlagWords
from tests.unit.kernel.blob import BlobBuilder


def words(entity: list[tuple[str, int]], states: list[tuple[str, int]]) -> FlagWords:
    b = BlobBuilder()
    b.enum("scx_ent_flags", entity)
    if states:
        b.enum("scx_task_state", states)
    b.enum("scx_ops_state", [("SCX_OPSS_NONE", 0), ("SCX_OPSS_QUEUED", 2), ("SCX_OPSS_QSEQ_SHIFT", 2)])
    b.enum("scx_rq_flags", [("SCX_RQ_ONLINE", 1), ("SCX_RQ_IN_WAKEUP", 1 << 16)])
    return FlagWords(Btf(b.build()))


OLD = words(
    [("SCX_TASK_QUEUED", 1), ("SCX_TASK_DEQD_FOR_SLEEP", 8), ("SCX_TASK_STATE_SHIFT", 8), ("SCX_TASK_STATE_BITS", 2),
     ("SCX_TASK_STATE_MASK", 0x300)],
    [("SCX_TASK_NONE", 0), ("SCX_TASK_ENABLED", 3)],
)  # fmt: skip
"""As 6.19 has them."""
NEW = words(
    [("SCX_TASK_QUEUED", 1), ("SCX_TASK_DEQD_FOR_SLEEP", 8), ("SCX_TASK_IMMED", 32), ("SCX_TASK_STATE_SHIFT", 8),
     ("SCX_TASK_STATE_MASK", 0x700), ("SCX_TASK_NONE", 0), ("SCX_TASK_ENABLED", 0x400), ("SCX_TASK_INIT", 0x200),
     ("SCX_TASK_REENQ_REASON_MASK", 0x3000), ("SCX_TASK_REENQ_NONE", 0), ("SCX_TASK_REENQ_KFUNC", 0x1000),
     ("SCX_TASK_REENQ_PREEMPTED", 0x3000)],
    [],
)  # fmt: skip
"""As 7.2 has them."""


def test_the_state_is_no_flag() -> None:
    assert (OLD.task_state(0x309), OLD.plain_flags(0x309)) == ("ENABLED", 9)
    assert OLD.task_flags(0x309) == ("QUEUED", "DEQD_FOR_SLEEP")
    assert (NEW.task_state(0x421), NEW.plain_flags(0x421)) == ("ENABLED", 0x21)
    assert NEW.task_flags(0x421) == ("QUEUED", "IMMED")


def test_a_reason_is_one_value_and_not_its_bits() -> None:
    assert NEW.task_flags(0x3401) == ("REENQ_PREEMPTED", "QUEUED")
    assert NEW.task_flags(0x1400) == ("REENQ_KFUNC",)


def test_a_bit_without_a_name_is_shown_as_a_number() -> None:
    assert OLD.task_flags(0x41) == ("QUEUED", "0x40")
    assert OLD.rq_flags(0x10003) == ("ONLINE", "IN_WAKEUP", "0x2")


def test_who_has_the_task() -> None:
    assert OLD.ops_state(2 | 77 << 2) == ("QUEUED", 77)
    assert FlagWords(Btf(BlobBuilder().build())).ops_state(2) == (None, None)
