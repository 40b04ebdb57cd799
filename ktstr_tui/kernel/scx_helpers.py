"""sched_ext in drgn's style: schedulers, dispatch queues, runnable tasks, and why a task does not run.

drgn has no helpers for sched_ext. These need drgn alone, nothing else of this program: copy the file, or import it in
any drgn session over a kernel whose types drgn knows, live or in a core dump (of one whose debug symbols it has not,
`kernel.finders.load_own_types` gives it the types in the memory)::

    >>> from ktstr_tui.kernel.scx_helpers import *
    >>> for dsq in for_each_scx_dsq(prog):
    ...     print(scx_dsq_name(dsq), dsq.nr.value_(), [t.comm.string_() for t in scx_dsq_tasks(dsq)])
    >>> scx_why_not_running(find_task(prog, 118))

``ktstr-tui drgn`` has them imported. They follow the kernel's own structures (kernel/sched/ext.c). On memory that
changes meanwhile an answer may be torn, as with every helper of drgn; but each iteration ends, and none gives a task
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from drgn import FaultError, IntegerLike, Object, Program, cast, container_of
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.cpumask import for_each_online_cpu, for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr
from drgn.helpers.linux.sched import cpu_curr, task_cpu, task_state_to_char

__all__ = (
    "for_each_scx_dsq",
    "scx_dsq_name",
    "scx_dsq_tasks",
    "scx_exit_kind",
    "scx_ops_name",
    "scx_root_sched",
    "scx_runnable_tasks",
    "scx_task_age_ms",
    "scx_why_not_running",
    "task_scx_dsq",
    "task_scx_state",
)

_CURSOR = 1
"""``SCX_DSQ_LNODE_ITER_CURSOR``: a BPF iterator's place in the list of a queue, no task."""
_STATES = ("NONE", "INIT_BEGIN", "INIT", "READY", "ENABLED", "DEAD")
"""Of ``enum scx_task_state``, as far as a kernel has them: their bits in ``p->scx.flags`` differ between versions."""
_BUILTIN = 1 << 63
"""``SCX_DSQ_FLAG_BUILTIN``."""
_MAX_CHAIN = 4096


@takes_program_or_default
def scx_root_sched(prog: Program) -> Object:
    """Return the loaded scheduler.

    Returns:
        ``struct scx_sched *``, NULL when none is loaded.
    """
    return prog["scx_root"].read_()


def scx_ops_name(sch: Object) -> bytes:
    """Return the name of a scheduler, ``sch->ops.name``.

    Args:
        sch: ``struct scx_sched *``
    """
    return bytes(sch.ops.name.string_())


def scx_exit_kind(sch: Object) -> str:
    """Return how a scheduler was left, in the kernel's words: ``SCX_EXIT_NONE`` while it runs.

    Args:
        sch: ``struct scx_sched *``
    """
    prog = sch.prog_
    value = sch.exit_kind.counter.value_()
    for enumerator in prog.type("enum scx_exit_kind").enumerators or ():
        if enumerator.value == value:
            return str(enumerator.name)
    return str(value)


@takes_program_or_default
def for_each_scx_dsq(prog: Program, sch: Object | None = None) -> Iterator[Object]:
    """Iterate over the dispatch queues: local ones, global ones, bypass queues, and those that the scheduler made.

    Args:
        prog: The kernel.
        sch: ``struct scx_sched *``, the loaded scheduler when left out. Without one there are only local queues.

    Returns:
        Iterator of ``struct scx_dispatch_q *``.
    """
    sch = scx_root_sched(prog) if sch is None else sch
    for _, dsq in _builtin_dsqs(prog, sch):
        yield dsq
    if sch:
        yield from _user_dsqs(prog, sch)


def _builtin_dsqs(prog: Program, sch: Object) -> Iterator[tuple[str, Object]]:
    """The kernel's own queues under a scheduler, with what they are called."""
    cpus = list(for_each_possible_cpu(prog))
    runqueues = prog["runqueues"]
    for cpu in cpus:
        yield f"local cpu {cpu}", per_cpu(runqueues, cpu).scx.local_dsq.address_of_()
    if not sch:
        return
    yield from _global_dsqs(prog, sch)
    for cpu in cpus:
        if (dsq := _bypass_dsq(sch, cpu)) is not None:
            yield f"bypass cpu {cpu}", dsq


def _bypass_dsq(sch: Object, cpu: int) -> Object | None:
    # Since Linux kernel commit ff06f727a941 ("sched_ext: Move bypass_dsq into scx_sched_pcpu") (in v7.1) it is in the
    # scheduler's per-CPU part; from commit 61debc251c1c (in v6.19) on in the runqueue; before that there is none.
    with suppress(AttributeError):
        return per_cpu_ptr(sch.pcpu, cpu).bypass_dsq.address_of_()
    with suppress(AttributeError):
        return per_cpu(sch.prog_["runqueues"], cpu).scx.bypass_dsq.address_of_()
    return None


def _global_dsqs(prog: Program, sch: Object) -> Iterator[tuple[str, Object]]:
    # Since Linux kernel commit d4ae868c6b7d ("sched_ext: Wrap global DSQs in per-node structure") (in v7.1).
    for name in ("pnode", "global_dsqs"):
        try:
            nodes = sch.member_(name)
        except LookupError:
            continue
        for number in range(_node_ids(prog)):
            node = nodes[number].read_()
            if node:
                yield f"global node {number}", node.global_dsq.address_of_() if name == "pnode" else node
        return


def _node_ids(prog: Program) -> int:
    try:
        return int(prog["nr_node_ids"])
    except LookupError:  # a kernel without NUMA
        return 1


def _user_dsqs(prog: Program, sch: Object) -> Iterator[Object]:
    table = sch.dsq_hash.tbl.read_()
    while table:
        for index in range(table.size.value_()):
            # Bit 0 of a bucket is its lock; a chain ends in an odd pointer (include/linux/rhashtable.h).
            node = cast("struct rhash_head *", cast("unsigned long", table.buckets[index]) & ~1)
            for _ in range(_MAX_CHAIN):
                if not node or node.value_() & 1:
                    break
                yield container_of(node, "struct scx_dispatch_q", "hash_node")
                node = node.next.read_()
        table = table.future_tbl.read_()


def scx_dsq_name(dsq: Object) -> str:
    """Return what a queue is called: ``local cpu 1``, ``global node 0``, ``bypass cpu 1``, or its id in hexadecimal.

    Args:
        dsq: ``struct scx_dispatch_q *``
    """
    prog, number = dsq.prog_, dsq.id.value_()
    if not number & _BUILTIN:
        return f"{number:#x}"
    known = (name for name, it in _builtin_dsqs(prog, _sched_of(dsq)) if it == dsq)
    return next(known, f"built-in {number & 0xFFFFFFFF}")


def _sched_of(dsq: Object) -> Object:
    with suppress(AttributeError):  # a kernel without sub-schedulers
        if owner := dsq.sched.read_():
            return owner
    return scx_root_sched(dsq.prog_)


def scx_dsq_tasks(dsq: Object) -> Iterator[Object]:
    """Iterate over the tasks in a queue, the first to run first.

    Args:
        dsq: ``struct scx_dispatch_q *``

    Returns:
        Iterator of ``struct task_struct *``.
    """
    head = dsq.list.address_of_()
    for node in _nodes(head, {head.value_()}):
        entry = container_of(node, "struct scx_dsq_list_node", "node")
        if not entry.flags.value_() & _CURSOR:
            task = container_of(entry, "struct task_struct", "scx.dsq_list")
            # One that went to another queue meanwhile leads on there.
            if task.scx.dsq == dsq:
                yield task


def _nodes(head: Object, seen: set[int]) -> Iterator[Object]:
    """The nodes of a list up to one that was seen, a head among them.

    In memory that changes an entry that was taken out points to itself, and one that went to another list leads on
    there, and never back to this head.
    """
    node = head.next.read_()
    while node.value_() not in seen:
        seen.add(node.value_())
        yield node
        node = node.next.read_()


@takes_program_or_default
def scx_runnable_tasks(prog: Program, cpu: IntegerLike | None = None) -> Iterator[Object]:
    """Iterate over the tasks that sched_ext has on its runnable lists: those that wait and those that run.

    Args:
        prog: The kernel.
        cpu: Only those of this CPU; all online CPUs when left out.

    Returns:
        Iterator of ``struct task_struct *``.
    """
    heads = {
        one: per_cpu(prog["runqueues"], one).scx.runnable_list.address_of_()
        for one in for_each_possible_cpu(prog)
    }
    seen = {head.value_() for head in heads.values()}
    for one in for_each_online_cpu(prog) if cpu is None else (int(cpu),):
        for node in _nodes(heads[one], seen):
            yield container_of(node, "struct task_struct", "scx.runnable_node")


def task_scx_state(task: Object) -> str:
    """Return how far a task has come with sched_ext, in the kernel's word: ``none``, ``init``, ``ready``, ``enabled``.

    Args:
        task: ``struct task_struct *``
    """
    prog = task.prog_
    state = task.scx.flags.value_() & prog.constant("SCX_TASK_STATE_MASK").value_()
    # Since Linux kernel commit 7203d77d6e04 ("sched_ext: Simplify task state handling") (in v7.1) the states are
    # shifted into their place; before that they are small numbers.
    shift = prog.constant("SCX_TASK_STATE_SHIFT").value_()
    for name in _STATES:
        with suppress(LookupError):
            value = prog.constant(f"SCX_TASK_{name}").value_()
            if state in (value, value << shift):
                return name.lower()
    return f"{state:#x}"


def task_scx_dsq(task: Object) -> Object:
    """Return the queue that a task is in.

    Args:
        task: ``struct task_struct *``

    Returns:
        ``struct scx_dispatch_q *``, NULL when it is in none.
    """
    return task.scx.dsq.read_()


def scx_task_age_ms(task: Object) -> float:
    """Return for how long a task has been runnable, in milliseconds, by the kernel's tick.

    Args:
        task: ``struct task_struct *`` that is runnable
    """
    prog = task.prog_
    ticks = prog["jiffies_64"].value_() - task.scx.runnable_at.value_() & (1 << 64) - 1
    return 0.0 if ticks >> 63 else ticks * 1000.0 / _hz(prog)


def _hz(prog: Program) -> int:
    """``CONFIG_HZ``, by the length of a tick that the kernel keeps in nanoseconds."""
    try:
        # A clocksource of one cycle a tick: mult >> shift is the tick in nanoseconds (kernel/time/jiffies.c).
        clock = prog["clocksource_jiffies"]
        tick_ns: int = clock.mult.value_() >> clock.shift.value_()
        return round(1_000_000_000 / tick_ns)
    except (LookupError, ZeroDivisionError):
        return 250


def scx_why_not_running(task: Object) -> str:
    """Return in one sentence why a task is not on a CPU, as far as the kernel's structures say.

    Args:
        task: ``struct task_struct *``
    """
    prog = task.prog_
    if task.on_cpu:
        return f"runs on CPU {task_cpu(task)}"
    state = task_state_to_char(task)
    if not task.on_rq:
        return "in the middle of a wakeup" if state == "R" else f"blocked ({state})"
    if task_scx_state(task) != "enabled":
        return "runnable, in a class other than sched_ext"
    dsq = task_scx_dsq(task)
    where = f"in DSQ {scx_dsq_name(dsq)}" if dsq else "in no DSQ: the BPF scheduler holds it"
    return f"runnable for {scx_task_age_ms(task) / 1e3:.1f} s {where}; {_allowed(prog, task)}"


def _allowed(prog: Program, task: Object) -> str:
    words = []
    mask = task.cpus_ptr.bits
    for cpu in for_each_online_cpu(prog):
        if mask[cpu // 64].value_() >> cpu % 64 & 1:
            try:
                running = cpu_curr(prog, cpu)
                comm = running.comm.string_().decode("ascii", "replace")
                words.append(f"CPU {cpu} ({f'running {comm}' if running.pid else 'idle'})")
            except FaultError:
                words.append(f"CPU {cpu}")
    return "it may run on " + ", ".join(words) if words else "it may run on no CPU that is online"
