"""The program that is process 1, in a tiny kernel."""

from __future__ import annotations

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.init_program import InitProgram
from tests.unit.kernel.blob import IMAGE, BlobBuilder
from tests.unit.kernel.tiny import Basics, TinyKernel, tiny_blob, tiny_symbols

NAMESPACE = IMAGE + 0x1800


def _namespace(b: BlobBuilder, of: Basics) -> None:
    b.compound("pid_namespace", 64, [("child_reaper", of.u64, 40)])


def test_its_name_is_read_through_the_namespace() -> None:
    kernel = TinyKernel(Btf(tiny_blob(_namespace)), tiny_symbols(init_pid_ns=NAMESPACE))
    program = InitProgram(kernel.btf, kernel.symbols)
    kernel.memory.put(NAMESPACE + 40, 0)
    assert program.comm(kernel.space) is None
    kernel.memory.put(NAMESPACE + 40, kernel.task(3, pid=1, comm="ktstr-stopping"))
    assert program.comm(kernel.space) == "ktstr-stopping"


def test_a_kernel_that_does_not_say_is_not_guessed_at() -> None:
    kernel = TinyKernel()
    assert InitProgram(kernel.btf, kernel.symbols).comm(kernel.space) is None
