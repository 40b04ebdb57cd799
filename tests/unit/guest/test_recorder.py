"""What of the kernel's command line switches its trace on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest.recorder import RecorderConfig, buffer_kib, check_recorder, recorder_arguments
from ktstr_tui.model.errors import UsageError


def test_the_scheduler_s_events_are_recorded_by_default() -> None:
    words = recorder_arguments(RecorderConfig(), 2, 512).split(" ")
    assert words == [
        "trace_event=sched:sched_switch,sched:sched_wakeup,sched:sched_wakeup_new,sched:sched_waking,"
        "sched:sched_migrate_task,sched:sched_process_exit",
        "trace_buf_size=512K",
        "trace_options=norecord-cmd",
    ]


def test_nothing_is_recorded_when_it_is_off() -> None:
    assert recorder_arguments(RecorderConfig(mode="off"), 2, 512) == ""


def test_probes_and_further_events_are_added() -> None:
    config = check_recorder(RecorderConfig(mode="scx", events=("irq:*", "power:cpu_idle")))
    words = dict(word.split("=", 1) for word in recorder_arguments(config, 2, 512).split(" "))
    assert words["trace_event"].endswith(",sched_ext:sched_ext_dump,irq:*,power:cpu_idle")
    probes = words["kprobe_event"].split(";")
    assert "p:ktstr_insert,dispatch_enqueue,pid=p->pid:s32,dsq=dsq->id:u64" in probes


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RecorderConfig(events=("switch",)), "not name a trace event"),
        (RecorderConfig(events=("a:b c:d",)), "not name a trace event"),
        (RecorderConfig(events=("a:b",) * 33), "33 events"),
        (RecorderConfig(buffer_kib=8), "too small"),
        (RecorderConfig(mode="off", buffer_kib=512), "records no events"),
        (RecorderConfig(mode="off", events=("a:b",)), "records no events"),
    ],
)
def test_what_no_kernel_understands_is_refused(config: RecorderConfig, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_recorder(config)


@given(cpus=st.integers(1, 256), memory_mib=st.integers(128, 65536))
def test_the_default_leaves_the_guest_its_memory(cpus: int, memory_mib: int) -> None:
    each = buffer_kib(RecorderConfig(), cpus, memory_mib)
    assert 64 <= each <= 512
    assert each == 64 or each * cpus <= memory_mib * 1024 // 16


def test_a_buffer_that_is_asked_for_may_take_a_quarter_of_the_memory() -> None:
    assert buffer_kib(RecorderConfig(buffer_kib=65536), 2, 512) == 65536
    with pytest.raises(UsageError, match="more than a quarter"):
        buffer_kib(RecorderConfig(buffer_kib=65540), 2, 512)
