"""What drgn finds by name in made-up memory."""

from __future__ import annotations

import pytest
from drgn import ObjectNotFoundError, TypeKind

from tests.unit.kernel.blob import IMAGE
from tests.unit.kernel.whole import WholeKernel


def test_globals_have_the_types_that_btf_leaves_out() -> None:
    kernel = WholeKernel()
    kernel.memory.put(IMAGE + 0x1330, 12345)
    kernel.scheduler("mine")
    prog = kernel.open().prog
    assert prog["nr_cpu_ids"].value_() == 2
    assert prog["jiffies"].value_() == 12345
    assert prog["scx_root"].ops.name.string_() == b"mine"


def test_enumerators_are_constants() -> None:
    prog = WholeKernel().open().prog
    assert prog["BPF_MAP_TYPE_ARRAY"].value_() == 2
    assert prog["BPF_MAP_TYPE_ARRAY"].type_.tag == "bpf_map_type"


def test_types_are_found_by_kind_and_name() -> None:
    prog = WholeKernel().open().prog
    task = prog.type("struct task_struct")
    assert (task.kind, task.size) == (TypeKind.STRUCT, 0x200)
    assert [member.name for member in task.members[:3]] == ["pid", "on_rq", "comm"]
    assert prog.type("union thread_union").size == 0x4000
    with pytest.raises(LookupError):
        prog.type("union task_struct")
    with pytest.raises(LookupError):
        prog.type("struct task_struct", filename="sched.h")


def test_a_name_without_a_type_or_without_a_symbol_is_not_found() -> None:
    prog = WholeKernel().open().prog
    for name in ("schedule", "no_such_thing", "vmemmap_base"):
        with pytest.raises((ObjectNotFoundError, LookupError)):
            prog[name]
