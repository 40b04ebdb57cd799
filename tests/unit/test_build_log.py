"""What matters of what a build or the verifier printed."""

from __future__ import annotations

import pytest

from ktstr_tui.text.build_log import line_that_matters, verdict_line

VERIFIER = """\
libbpf: prog 'mine_enqueue': BPF program load failed: -EACCES
libbpf: prog 'mine_enqueue': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; *slot = 1; @ mine.bpf.c:9
7: (b7) r1 = 1                        ; R1_w=1
8: (7b) *(u64 *)(r0 +0) = r1
R0 invalid mem access 'map_value_or_null'
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'mine_enqueue': failed to load: -EACCES
libbpf: failed to load object '/ktstr/sched/new.bpf.o'
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["cc", "a.c:1:2: warning: x", "a.c:3:1: error: first", "a.c:9:1: error: second"], "a.c:3:1: error: first"),
        (["a.c:1:10: fatal error: 'x.h' file not found"], "a.c:1:10: fatal error: 'x.h' file not found"),
        (["error[E0425]: cannot find value `x`"], "error[E0425]: cannot find value `x`"),
        (["x", "make: *** [Makefile:3: x] Error 1", "y"], "make: *** [Makefile:3: x] Error 1"),
        (["make: *** No rule to make target 'x'.  Stop."], "make: *** No rule to make target 'x'.  Stop."),
        (["sh: 1: mak: not found"], "sh: 1: mak: not found"),
        (["one", "two", ""], "two"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_line_that_matters_of_a_build(lines: list[str], expected: str) -> None:
    assert line_that_matters(lines) == expected


def test_the_verdict_of_the_verifier_is_found_between_instruction_and_statistics() -> None:
    assert verdict_line(VERIFIER.splitlines()) == "R0 invalid mem access 'map_value_or_null'"


def test_a_loader_that_says_nothing_else_has_its_last_line() -> None:
    assert verdict_line(["libbpf: failed to find BTF"]) == "libbpf: failed to find BTF"
    assert verdict_line([]) == ""
