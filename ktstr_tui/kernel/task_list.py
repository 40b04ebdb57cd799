"""All tasks of the kernel, as its own list has them.

Mirrors ``init_task.tasks``, which links the leaders of all thread groups, and ``signal->thread_head``, which links the
threads of one (``struct task_struct``, include/linux/sched.h; ``struct signal_struct``, include/linux/sched/signal.h).

How exact is this? Both lists are protected by RCU, which is not taken here: every step checks that the next node points
back to the last one, and the walk is repeated as torn when it does not. The members of one task are one copy. A task
that changes queues during the walk is shown where it was when its turn came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.dsq import BuiltinDsqs
from ktstr_tui.kernel.layout import Layout, Paths
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.tasks import DEFAULT_PRIO, LISTED_MEMBERS, cpu_list, policy_word, state_letter
from ktstr_tui.kernel.torn import Attempts, Torn, plausible_pid, text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.tasks import MAX_LISTED, ListedTask, TasksListed

_AGE_STEP_MS = 100.0
"""A list whose ages have changed by less is not sent: it says nothing that its reader does not know."""
_MEMBERS: Paths = {
    **LISTED_MEMBERS,
    "on_list": "scx.runnable_node.next",
    "next": "tasks.next",
    "prev": "tasks.prev",
    "next_thread": "thread_node.next",
    "prev_thread": "thread_node.prev",
    "signal": "signal",
}


class TaskListReader:
    """Follows the list of tasks of one kernel. One thread at a time.

    Args:
        view: The kernel.

    Raises:
        BtfError: This kernel has no such list.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view
        init = view.symbols.find("init_task")
        if init is None:
            raise BtfError("this kernel has no init_task")
        self._count = view.symbols.find("nr_threads")
        self._row = Layout(view.btf, "task_struct", _MEMBERS)
        self._tasks, self._threads = self._row.offset("tasks"), self._row.offset("thread_node")
        self._runnable = self._row.find_offset("scx.runnable_node")
        self._heads = Layout(view.btf, "signal_struct", {}).offset("thread_head")
        self._init = init
        self._lists: dict[int, str] = {}
        self._known: dict[int, ListedTask] | None = None

    def look(self) -> TasksListed | None:
        """Return what has changed since the look before; None when nothing has.

        Never raises for what the guest's memory holds.
        """
        start = time.perf_counter()
        space = self._view.fresh_space()
        try:
            found = Attempts().run(lambda: self._all(space))
        except Torn as problem:
            self._known = None
            return TasksListed(unreadable=problem.message)
        known, self._known = self._known, found
        changed = tuple(it for pid, it in found.items() if known is None or _differs(it, known.get(pid)))
        gone = () if known is None else tuple(pid for pid in known if pid not in found)
        if known is not None:
            told = {it.pid for it in changed}
            # What was told is compared with, not what was read: a small change must not hide behind small steps.
            self._known = {pid: it if pid in told else known[pid] for pid, it in found.items()}
        if known is not None and not changed and not gone:
            return None
        more = self._more(space, len(found))
        read_us = (time.perf_counter() - start) * 1e6
        return TasksListed(tasks=changed, gone=gone, fresh=known is None, more=more, read_us=read_us)

    def _more(self, space: AddressSpace, listed: int) -> int:
        if self._count is None or listed < MAX_LISTED:
            return 0
        return max(0, space.u32(self._count) - listed)

    def _all(self, space: AddressSpace) -> dict[int, ListedTask]:
        view = self._view
        root = view.scx.root(space) if view.scx is not None else None
        builtin = None if view.scx is None else view.builtin_dsqs(root, view.sched_tree.read(space, root))
        jiffies, found = view.jiffies(), dict[int, ListedTask]()
        for address, row in self._walk(space):
            if len(found) >= MAX_LISTED:
                break
            task = self._task(space, address, row, builtin, jiffies)
            found[task.pid] = task
        return found

    def _walk(self, space: AddressSpace) -> Iterator[tuple[int, dict[str, Any]]]:
        """All threads, each group after its leader; without the idle tasks."""
        head = last = self._init + self._tasks
        node = self._row.read(space, self._init)["next"]
        for _ in range(2 * MAX_LISTED):
            if node == head:
                return
            leader, row = self._step(space, node - self._tasks, "prev", last)
            yield leader, row
            yield from self._others(space, leader, row)
            last, node = node, row["next"]
        raise Torn("the kernel's list of tasks does not end")

    def _others(
        self, space: AddressSpace, leader: int, first: dict[str, Any]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        head = first["signal"] + self._heads
        node, last = first["next_thread"], leader + self._threads
        for _ in range(2 * MAX_LISTED):
            if node == head:
                return
            task, row = self._step(space, node - self._threads, "prev_thread", last)
            yield task, row
            last, node = node, row["next_thread"]
        raise Torn("a list of threads does not end")

    def _step(self, space: AddressSpace, task: int, back: str, last: int) -> tuple[int, dict[str, Any]]:
        if task < KERNEL_HALF:
            raise Torn("the kernel's list of tasks leads nowhere")
        row = self._row.read(space, task)
        if row[back] != last:
            raise Torn("the kernel's list of tasks changed while it was read")
        return task, row

    def _task(
        self,
        space: AddressSpace,
        address: int,
        row: dict[str, Any],
        builtin: BuiltinDsqs | None,
        jiffies: int,
    ) -> ListedTask:
        view, on_cpu = self._view, bool(row["on_cpu"])
        listed = self._runnable is not None and row["on_list"] not in (None, 0, address + self._runnable)
        waits = listed and not on_cpu
        ops, label, known = row["ops_state"], None, True
        if row["dsq"] and builtin is not None:
            try:
                label, _ = view.dsqs.name(space, row["dsq"], builtin)
            except (Torn, MemoryReadError):
                known = False  # it left the queue, which is gone, since
        held = (
            waits
            and not label
            and known
            and ops is not None
            and view.tasks.words.ops_state(ops)[0] == "QUEUED"
        )
        return ListedTask(
            pid=plausible_pid(row["pid"]),
            comm=text(row["comm"]),
            tgid=row["tgid"],
            state=state_letter(row["state"], row["exit_state"]),
            sched_class=view.cpus.class_name(row["sched_class"]) or f"{row['sched_class']:#x}",
            policy=policy_word(row),
            nice=row["static_prio"] - DEFAULT_PRIO,
            cpu=row["cpu"],
            allowed=self._allowed(space, row["cpus_ptr"]),
            on_cpu=on_cpu,
            is_waiting=waits,
            dsq=label,
            held=held,
            age_ms=view.age_ms(row["runnable_at"], jiffies) if waits else None,
        )

    def _allowed(self, space: AddressSpace, pointer: int | None) -> str:
        if not pointer:
            return ""
        mask = self._view.tasks.cpus_allowed(space, pointer) & (1 << self._view.nr_cpus) - 1
        found = self._lists.get(mask)
        if found is None:
            if len(self._lists) >= MAX_LISTED:
                self._lists.clear()
            found = self._lists[mask] = cpu_list(mask)
        return found


def _differs(it: ListedTask, before: ListedTask | None) -> bool:
    if before is None:
        return True
    if it.age_ms is None or before.age_ms is None or abs(it.age_ms - before.age_ms) >= _AGE_STEP_MS:
        return it != before
    return msgspec.structs.replace(it, age_ms=before.age_ms) != before
