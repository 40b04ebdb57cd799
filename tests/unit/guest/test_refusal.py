"""The guest program's reader of what a scheduler prints: who refused it, and why."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

VERIFIER = """\
libbpf: prog 'enq': BPF program load failed: Permission denied
libbpf: prog 'enq': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; *slot = 1; // not checked for NULL @ mine.bpf.c:9
7: (7b) *(u64 *)(r0 +0) = r1
R0 invalid mem access 'map_value_or_null'
processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1
-- END PROG LOAD LOG --
libbpf: prog 'enq': failed to load: -13
libbpf: failed to load object 'mine.bpf.o'
load: Permission denied
"""


@pytest.fixture(scope="module")
def reason_of(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Callable[..., str | None]:
    """Gives the reason that is found in some text, fed in pieces of a given size."""
    library = tmp_path_factory.mktemp("refusal") / "refusal.so"
    compiler = shutil.which("cc") or "gcc"
    source = checkout / "native/agent/refusal.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    lib = ctypes.CDLL(str(library))
    lib.refusal_reason.restype = ctypes.c_bool

    def reason_of(text: str, piece: int = 4096) -> str | None:
        seen = ctypes.create_string_buffer(8192)  # more than a struct refusal
        lib.refusal_reset(seen)
        data = text.encode()
        for at in range(0, len(data), piece):
            part = data[at : at + piece]
            lib.refusal_read(seen, part, ctypes.c_size_t(len(part)))
        room = ctypes.create_string_buffer(1024)
        found = lib.refusal_reason(seen, room, ctypes.c_size_t(len(room)))
        return room.value.decode("utf-8", "replace") if found else None

    return reason_of


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "libbpf: failed to open system Kconfig",
            "refused by libbpf: it asks for CONFIG_… of the kernel, and the guest has no configuration",
        ),
        (
            "libbpf: extern 'CONFIG_HZ' (strong): not resolved",
            "refused by libbpf: this kernel's configuration does not set CONFIG_HZ",
        ),
        (
            "libbpf: extern (func ksym) 'scx_bpf_new': not found in kernel or module BTFs",
            "refused by libbpf: this kernel has no kfunc scx_bpf_new",
        ),
        (
            "libbpf: extern (func ksym) 'scx_bpf_x': func_proto [12] incompatible with vmlinux [9]",
            "refused by libbpf: it declares other arguments than the kernel's BTF, which is wrong itself when "
            "pahole before 1.26 made it (see ktstr-tui doctor), for the kfunc scx_bpf_x",
        ),
        (
            "libbpf: struct_ops init_kern sched_ext_ops: Cannot find member cgroup_set_bandwidth in kernel BTF",
            "refused by libbpf: struct_ops init_kern sched_ext_ops: Cannot find member cgroup_set_bandwidth in "
            "kernel BTF",
        ),
        (
            "libbpf: map 'big': failed to create: Cannot allocate memory(-12)",
            "refused by libbpf: the kernel did not create the map big",
        ),
    ],
)
def test_what_libbpf_refuses_is_not_blamed_on_the_kernel(
    reason_of: Callable[..., str | None], line: str, reason: str
) -> None:
    assert reason_of(f"hello\n{line}\nlibbpf: failed to load object 'x'\nload: No such process\n") == reason


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_the_verifiers_last_line_and_its_line_of_source_are_the_reason(
    reason_of: Callable[..., str | None], piece: int
) -> None:
    assert reason_of(VERIFIER, piece) == (
        "refused by the verifier: R0 invalid mem access 'map_value_or_null', "
        "at: *slot = 1; // not checked for NULL @ mine.bpf.c:9"
    )


def test_a_verifiers_log_that_is_cut_still_has_its_last_line(reason_of: Callable[..., str | None]) -> None:
    assert reason_of(VERIFIER[: VERIFIER.index("processed")]) == reason_of(VERIFIER)


def test_a_line_of_source_without_its_text_is_still_a_place(reason_of: Callable[..., str | None]) -> None:
    text = VERIFIER.replace("; *slot = 1; // not checked for NULL @ mine.bpf.c:9", ";  @ <stdin>:9")
    assert (reason_of(text) or "").endswith("'map_value_or_null', at: <stdin>:9")


def test_the_first_to_refuse_is_named(reason_of: Callable[..., str | None]) -> None:
    text = "libbpf: extern 'CONFIG_HZ' (strong): not resolved\n" + VERIFIER
    assert "CONFIG_HZ" in (reason_of(text) or "")


def test_what_explains_nothing_gives_no_reason(reason_of: Callable[..., str | None]) -> None:
    assert reason_of("libbpf: loading object 'x' from buffer\nattached\n" + "x" * 5000 + "\n") is None
