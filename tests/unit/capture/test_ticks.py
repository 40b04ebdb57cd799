"""Whether a CPU's tick is stopped, by the words that a kernel has for it."""

from __future__ import annotations

import pytest

from ktstr_tui.capture.report.collect import collect
from ktstr_tui.kernel.btf import Btf
from tests.unit.kernel.blob import IMAGE, BlobBuilder
from tests.unit.kernel.tiny import RQ_STRIDE, Basics, TinyKernel, tiny_blob, tiny_symbols
from tests.unit.kernel.whole import TICKS as WHOLE_TICKS
from tests.unit.kernel.whole import WholeKernel

TICKS = 0x3000
ALL_SET, STOPPED_ALONE = 0b11111111, 0b10


def flags(b: BlobBuilder, of: Basics) -> None:
    """The struct as it is now."""
    b.compound("tick_sched", 16, [("flags", of.u64, 0), ("stalled_jiffies", of.u32, 8)])


def bit_fields(b: BlobBuilder, of: Basics) -> None:
    """The struct of older kernels."""
    b.bit_fields("tick_sched", 16, [("inidle", of.u32, 0, 1), ("tick_stopped", of.u32, 1, 1)])


def kernel_with(more: object) -> TinyKernel:
    return TinyKernel(Btf(tiny_blob(more)), tiny_symbols(tick_cpu_sched=IMAGE + TICKS))  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [flags, bit_fields])
def test_every_cpu_has_a_tick_of_its_own(more: object) -> None:
    kernel = kernel_with(more)
    for word, stopped in (
        (0, False),
        (STOPPED_ALONE, True),
        (ALL_SET & ~STOPPED_ALONE, False),
        (ALL_SET, True),
    ):
        kernel.memory.put(IMAGE + TICKS + RQ_STRIDE, word)
        assert kernel.cpus.tick_stopped(kernel.space, 1) is stopped
        assert kernel.cpus.tick_stopped(kernel.space, 0) is False


def test_a_capture_takes_the_tick_of_each_cpu() -> None:
    kernel = WholeKernel()
    kernel.memory.put(WHOLE_TICKS, STOPPED_ALONE)
    view = kernel.open()
    report = collect(view, {0: {}, 1: {}}, tag="a", trigger="on-demand").render(view)
    assert [it.tick_stopped for it in report.runqueues] == [True, False]


def test_a_kernel_that_does_not_say_is_not_one_whose_tick_is_on() -> None:
    kernel = TinyKernel()
    assert kernel.cpus.tick_stopped(kernel.space, 0) is None
    kernel = kernel_with(lambda b, of: b.compound("tick_sched", 16, [("sched_timer", of.u64, 0)]))
    assert kernel.cpus.tick_stopped(kernel.space, 0) is None
