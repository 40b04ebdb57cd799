"""Fixtures that compile small schedulers and programs for the guest."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest.libbpf import find as find_libbpf

REJECTED = """
#include "demo.bpf.h"
SEC("struct_ops/rejected_enqueue")
void BPF_PROG(rejected_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 key = enq_flags;
	u64 *slot = bpf_map_lookup_elem(&counters, &key);

	*slot = 1; // not checked for NULL
	scx_insert(p, SHARED_DSQ, 0, 0);
}
SEC(".struct_ops.link")
struct sched_ext_ops rejected_ops = { .enqueue = (void *)rejected_enqueue, .name = "rejected" };
"""


@pytest.fixture
def compile_bpf(checkout: Path, tmp_path: Path) -> Callable[[str, str], str]:
    """Compiles a BPF object and gives its path."""
    clang = next(
        filter(None, map(shutil.which, ("clang", "clang-19", "clang-17", "clang-16", "clang-14"))), None
    )
    assert clang is not None, "no clang: apt install clang"
    include = find_libbpf(lambda message: None) / "include"

    def compile_one(name: str, text: str) -> str:
        path = tmp_path / f"{name}.bpf.o"
        flags = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"]
        include_flags = [
            f"-I{checkout / 'native/schedulers'}",
            f"-I{checkout / 'tests/guest/failures'}",
            f"-I{include}",
        ]
        # From a file: the verifier's log quotes source lines only when clang could read them again.
        source = tmp_path / f"{name}.bpf.c"
        source.write_text(text)
        command = [clang, *flags, *include_flags, "-c", str(source), "-o", str(path)]
        subprocess.run(command, check=True)
        return str(path)

    return compile_one


@pytest.fixture
def compile_c(tmp_path: Path) -> Callable[..., str]:
    """Compiles a program and gives its path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"

    def compile_one(name: str, text: str, *flags: str) -> str:
        path = tmp_path / name
        command = [compiler, "-O1", "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
        subprocess.run(command, input=text, text=True, check=True)
        return str(path)

    return compile_one
