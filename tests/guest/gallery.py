"""The gallery: kinds of ejection and of sickness without ejection, and the sentence that has to be on top of each.

A kind is a small scheduler with one mistake (``failures/NAME.bpf.c``), a demo scheduler, or a scheduler program that
does something to itself or to the machine. `tests.guest.test_gallery` runs them on real kernels; `tests.docs` makes the
table of docs/reference.md out of this list.

A sentence is what a user reads, with words in angle brackets (`WORDS`) for what differs from run to run.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Room = Literal["errors", "waits"]
"""The run that shows it: all kinds of a room share one boot."""

WORDS = {
    "task": (r"\S+\[\d+\]", "TASK"),
    "pid": (r"\d+", "PID"),
    "cpu": (r"\d+", "N"),
    "cpus": (r"[\d,\-]+", "CPUS"),
    "s": (r"\d+\.\d+", "S"),
    "ratio": (r"\d+\.\d", "RATIO"),
    "n": (r"\d+", "N"),
    "any": (r".*", "…"),
    "enqueued": (
        r"(?:; \S+\[\d+\] is being enqueued, allowed CPUs [\d,\-]+)?",
        "[; TASK is being enqueued, allowed CPUs CPUS]",
    ),
    "ahead": (r"(?:\S+\[\d+\] \((?:rt|dl|stop|fair)\) ahead of )?", "[TASK (CLASS) ahead of ]"),
    "other": (r"(?:; longest waiting is .*)?", "[; longest waiting is …]"),
    "more": (r"(?:, \d+)*", "[, N]"),
}
"""What stands for what differs: a regular expression, and how people read it, with what may be missing in brackets."""


class Kind(NamedTuple):
    """One kind of ejection or sickness."""

    name: str
    """Of the source, of the demo, or of the program."""
    what: str
    """What the scheduler does, for the table."""
    exit_kind: str
    """As the kernel names it; empty for a sickness."""
    says: str
    """The headline of the ejection's report, or the first reason of the verdict on a sick guest."""
    room: Room = "errors"
    act: str = ""
    """Of `failures/program.c`, around the scheduler ``on``."""
    on: str = ""
    """The scheduler that the program loads, when it is not the demo ``fifo``."""
    older: bool = False
    """Also shown on older kernels by default; with KTSTR_GALLERY=all every kind is."""
    duration_ms: int = 60_000
    """How long its step may take, or takes when nothing is ejected."""
    workers: str = ""
    """Load of its own, as TOML."""


_STALLED = "<task> runnable for <s> s"
_CROWD = """
[[steps.workers]]
kind = "spin"
count = 16
[[steps.workers]]
kind = "sleep"
"""

ERRORS = (
    Kind(
        "broke",
        "gives up with `scx_bpf_error()`",
        "ERROR_BPF",
        "ERROR_BPF: no budget for pid <pid><enqueued>; "
        "cpu <cpu> in broke_enqueue, broke.bpf.c:<n>  scx_bpf_error_bstr(reason, data, sizeof(data));",
        older=True,
    ),
    Kind(
        "exits",
        "leaves with `scx_bpf_exit()` and an exit code",
        "UNREG_BPF",
        "UNREG_BPF: topology changed under 7, exit code 0x42<enqueued>; "
        "cpu <cpu> in exits_enqueue, exits.bpf.c:<n>  scx_bpf_exit_bstr(0x42, format, data, sizeof(data));",
        older=True,
    ),
    Kind(
        "forbidden",
        "puts a task into the local DSQ of a CPU that the task may not use",
        "ERROR",
        "ERROR: SCX_DSQ_LOCAL[_ON] target CPU <cpu> not allowed for <task>; <task> is <any>, allowed CPUs <cpus><any>",
        older=True,
    ),
    Kind(
        "nodsq",
        "takes tasks from a DSQ that does not exist",
        "ERROR",
        "ERROR: invalid DSQ ID 0x000000000000dead; cpu <cpu> in nodsq_dispatch, <any>",
        older=True,
    ),
    Kind(
        "mixed",
        "inserts into one DSQ in the order of arrival and by virtual time",
        "ERROR",
        "ERROR: DSQ ID 0x0000000000000051 already had <any>-enqueued tasks<enqueued>; "
        "cpu <cpu> in dispatch_enqueue, running <task><any>",
    ),
    Kind(
        "vtime",
        "inserts by virtual time into a local DSQ",
        "ERROR",
        "ERROR: cannot use vtime ordering for built-in DSQs<enqueued>; "
        "cpu <cpu> in dispatch_enqueue, running <task><any>",
    ),
    Kind(
        "twice",
        "inserts a task twice",
        "ERROR",
        "ERROR: <task> already direct-dispatched; <task> is being enqueued, allowed CPUs <cpus>; "
        "cpu <cpu> in twice_enqueue, <any>",
    ),
    Kind(
        "overflow",
        "inserts more tasks in one `ops.dispatch()` than `dispatch_max_batch`",
        "ERROR",
        "ERROR: dispatch buffer overflow<any>; cpu <cpu> in overflow_dispatch, <any>",
    ),
    Kind(
        "nocpu",
        "kicks a CPU that does not exist",
        "ERROR",
        "ERROR: invalid CPU 999<enqueued>; "
        "cpu <cpu> in nocpu_enqueue, nocpu.bpf.c:<n>  scx_bpf_kick_cpu(NO_SUCH_CPU, 0);",
    ),
    Kind(
        "badselect",
        "returns a CPU from `ops.select_cpu()` that does not exist",
        "ERROR",
        "ERROR: invalid CPU 999 from ops.select_cpu(); cpu <cpu> in <any>, running <task><any>",
        older=True,
    ),
    Kind(
        "badinit",
        "returns no errno from `ops.init_task()` of a task that is forked",
        "ERROR",
        "ERROR: ops.init_task() returned an invalid errno 7; cpu <cpu> in <any>, running <task><any>",
    ),
    Kind(
        "crash",
        "its program crashes",
        "UNREG",
        "UNREG: unregistered from user space; "
        "cpu <cpu> in bpf_scx_unreg, running crash[<pid>], which exits after a signal",
        act="crash",
        older=True,
    ),
    Kind(
        "sysrq",
        "somebody presses SysRq-S",
        "SYSRQ",
        "SYSRQ: disabled by sysrq-S; cpu <cpu> in __handle_sysrq<any>, running sysrq[<pid>]",
        act="sysrq",
    ),
    Kind(
        "hotplug",
        "a CPU goes offline, and it has no `ops.cpu_offline()`",
        "UNREG_KERN",
        "UNREG_KERN: cpu 1 going offline, exiting scheduler, exit code 0x1000100000000 (SCX_ECODE_ACT_RESTART); "
        "cpu <cpu> in <any>, running <task><any>",
        act="offline",
    ),
)

WAITS = (
    Kind(
        "demo:stall",
        "stops dispatching",
        "ERROR_STALL",
        f"{_STALLED} in DSQ 0x7, allowed CPUs <cpus>, running there: <any>",
        "waits",
    ),
    Kind(
        "lost",
        "forgets a task: it is in no DSQ",
        "ERROR_STALL",
        f"{_STALLED} held by the BPF scheduler (qseq <n>), in no DSQ, allowed CPUs <cpus>, running there: <any>",
        "waits",
        older=True,
    ),
    Kind(
        "endless",
        "gives a task an infinite slice while others wait for its CPU",
        "ERROR_STALL",
        f"{_STALLED} in DSQ <any>, allowed CPUs <cpus>, running there: <any>"
        "cpu 1 <ahead><task> (ext, infinite slice)<any>",
        "waits",
        older=True,
    ),
    Kind(
        "timer",
        "its BPF timer, on which all dispatching hangs, stops",
        "ERROR_STALL",
        f"{_STALLED} held by the BPF scheduler (qseq <n>), in no DSQ, allowed CPUs <cpus>, running there: <any>",
        "waits",
    ),
    Kind(
        "wrongcpu",
        "queues tasks that are pinned to CPU 1 where only CPU 0 takes them",
        "ERROR_STALL",
        f"{_STALLED} in DSQ 0x51, allowed CPUs 1, running there: cpu 1 <any>",
        "waits",
    ),
    Kind(
        "nowatchdog",
        "starves the kworkers that run the watchdog",
        "ERROR_STALL",
        "watchdog failed to check in for <s>s; of the unbound kworkers that run it, waiting: "
        f"{_STALLED} in DSQ 0x51, allowed CPUs <cpus>, running there: <any>",
        "waits",
        older=True,
    ),
    Kind(
        "offline",
        "goes on queueing for a CPU that went offline",
        "ERROR_STALL",
        f"{_STALLED} in DSQ 0x201, allowed CPUs <cpus>, running there: <any>cpu 1 offline<other>",
        "waits",
        act="offline",
        on="offline",
    ),
    Kind(
        "seldom",
        "serves its queue every 4 s only, its CPUs being idle",
        "",
        "cpu <cpu><more> idle while <task> runnable for <s> s in DSQ 0x51, which it may run",
        "waits",
        duration_ms=4500,
    ),
    Kind(
        "unfair",
        "serves one task every 3.5 s only",
        "",
        "<task> runnable for <s> s of 6.0 s watchdog timeout, in DSQ 0x51",
        "waits",
        duration_ms=4500,
        older=True,
    ),
    Kind(
        "hogs",
        "loops in `ops.enqueue()` for long",
        "",
        "cpu <cpu>: rq->clock has not advanced for <s> s while its vCPU ran <s> s, curr <task>",
        "waits",
        duration_ms=3000,
    ),
    Kind(
        "crowd",
        "puts all tasks into the local DSQ of CPU 0",
        "",
        "imbalance <ratio>: nr_running <n> on cpu 0, <n> on cpu 1",
        "waits",
        duration_ms=6500,
        workers=_CROWD,
        older=True,
    ),
)
GALLERY = (*ERRORS, *WAITS)


_WORD = re.compile(r"<(\w+)>")


def pattern(says: str) -> re.Pattern[str]:
    """Return the regular expression that a sentence of a `Kind` means, for the whole text."""
    texts, words = _WORD.split(says)[::2], _WORD.findall(says)
    found = [re.escape(texts[0])]
    for word, text in zip(words, texts[1:], strict=True):
        found += [WORDS[word][0], re.escape(text)]
    return re.compile("".join(found) + r"\Z", re.DOTALL)


def for_people(says: str) -> str:
    """Return a sentence of a `Kind` as the table shows it."""
    return _WORD.sub(lambda match: WORDS[match[1]][1], says)
