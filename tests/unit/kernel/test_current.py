"""``current`` where the kernel keeps it: in a variable, in a struct, or as the scheduler says."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.current import CurrentTask
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, BlobBuilder, symbols
from tests.unit.kernel.tiny import RQ, RQ_STRIDE, TinyKernel

VARIABLE, HOT = IMAGE + 0x3000, IMAGE + 0x3100
TASK = PAGE_OFFSET + 0x60000


def hot_btf() -> Btf:
    b = BlobBuilder()
    b.compound(
        "pcpu_hot",
        16,
        [("preempt_count", b.integer("int", 4, 1), 0), ("current_task", b.integer("u64", 8), 8)],
    )
    return Btf(b.build())


@pytest.mark.parametrize(
    ("names", "address"),
    [({"current_task": VARIABLE, "pcpu_hot": HOT}, VARIABLE), ({"pcpu_hot": HOT}, HOT + 8)],
)
def test_current_is_read_from_its_per_cpu_variable(names: dict[str, int], address: int) -> None:
    kernel = TinyKernel()
    table = symbols(runqueues=IMAGE + RQ, __per_cpu_offset=IMAGE + 0x1000, nr_cpu_ids=IMAGE + 0x1100, **names)
    kernel.memory.put(address + RQ_STRIDE, TASK)
    found = CurrentTask(hot_btf(), table, Cpus(kernel.btf, table, kernel.space))
    assert found.address(kernel.space, 1) == TASK


def test_without_one_the_runqueue_says() -> None:
    kernel = TinyKernel()
    kernel.memory.put(kernel.rq(1) + 16, TASK)
    found = CurrentTask(kernel.btf, kernel.symbols, kernel.cpus)
    assert found.address(kernel.space, 1) == TASK
