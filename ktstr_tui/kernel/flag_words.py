"""Names for the numbers that a task's and a runqueue's sched_ext part consist of.

Mirrors ``enum scx_ent_flags``, ``enum scx_task_state``, ``enum scx_ops_state`` and ``enum scx_rq_flags``
(include/linux/sched/ext.h, kernel/sched/ext_internal.h, kernel/sched/sched.h). Bits moved between kernels, so names and
values are asked of BTF, never known.

``p->scx.ops_state`` says who has the task: NONE, the kernel; QUEUEING and DISPATCHING, on its way; QUEUED, the BPF
scheduler, which then decides alone when it runs. Above the two lowest bits is ``qseq``, the number of that queueing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ktstr_tui.kernel.btf import Btf, Kind

_STATES = tuple(f"SCX_TASK_{name}" for name in ("NONE", "INIT_BEGIN", "INIT", "READY", "ENABLED", "DEAD"))
_NO_FLAG = ("_SHIFT", "_BITS", "_MASK", "_NONE")
_U32 = (1 << 32) - 1


class FlagWords:
    """Decodes flags of one kernel.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        rows = _enum(btf, "scx_ent_flags")
        self._state_mask = rows.get("SCX_TASK_STATE_MASK", 0)
        self._states = _state_names(btf, rows)
        self._reasons = {
            name.removesuffix("_REASON_MASK") + "_": mask
            for name, mask in rows.items()
            if name.endswith("_REASON_MASK")
        }
        plain = [(n, v & _U32) for n, v in rows.items() if n not in _STATES and not n.endswith(_NO_FLAG)]
        self._task_flags = [(name, value) for name, value in plain if not value & self._state_mask]
        self._rq_flags = list(_enum(btf, "scx_rq_flags").items())
        ops = _enum(btf, "scx_ops_state")
        self._ops_shift = ops.get("SCX_OPSS_QSEQ_SHIFT")
        self._ops = {v: n.removeprefix("SCX_OPSS_") for n, v in ops.items() if not n.endswith("_SHIFT")}

    def task_state(self, flags: int) -> str | None:
        """Return ``ENABLED``, ``READY``, …; None for an unknown one."""
        return self._states.get(flags & self._state_mask) if self._state_mask else None

    def plain_flags(self, flags: int) -> int:
        """Return ``p->scx.flags`` without the bits of the state, as the kernel's dump prints it."""
        return flags & ~self._state_mask

    def task_flags(self, flags: int) -> tuple[str, ...]:
        """Return the names of the flags that are set, such as ``QUEUED``; a bit without a name as a number."""
        found, rest = [], flags & ~self._state_mask
        for prefix, mask in self._reasons.items():
            value = rest & mask
            found += [n for n, v in self._task_flags if value and v == value and n.startswith(prefix)]
            rest &= ~mask
        single = [(n, v) for n, v in self._task_flags if not any(v & mask for mask in self._reasons.values())]
        return _names(rest, single, "SCX_TASK_", found)

    def rq_flags(self, flags: int) -> tuple[str, ...]:
        """Return the names of the flags of ``rq->scx``, such as ``ONLINE``."""
        return _names(flags, self._rq_flags, "SCX_RQ_", [])

    def ops_state(self, value: int) -> tuple[str | None, int | None]:
        """Return the name of an ``ops_state`` and its ``qseq``; None each where this kernel does not say."""
        if self._ops_shift is None:
            return None, None
        return self._ops.get(value & ((1 << self._ops_shift) - 1)), value >> self._ops_shift


def _enum(btf: Btf, name: str) -> dict[str, int]:
    found = btf.find(name, Kind.ENUM, Kind.ENUM64)
    return {} if found is None else dict(btf.enumerators(found))


def _names(
    value: int, flags: Iterable[tuple[str, int]], prefix: str, found: Iterable[str]
) -> tuple[str, ...]:
    names = list(found)
    for name, bit in flags:
        if bit and value & bit == bit:
            names.append(name)
            value &= ~bit
    return (*(name.removeprefix(prefix) for name in names), *([f"{value:#x}"] if value else []))


def _state_names(btf: Btf, rows: Mapping[str, int]) -> dict[int, str]:
    # Since Linux kernel commit 7203d77d6e04 ("sched_ext: Simplify task state handling") (in v7.1) the states are
    # enumerators of enum scx_ent_flags, already shifted into place. Before that, enum scx_task_state names the small
    # number that is left after a shift. INIT_BEGIN and DEAD came with commits c941d7391f25 ("sched_ext: Close
    # root-enable vs sched_ext_dead() race with SCX_TASK_INIT_BEGIN") and cceb8fa9cb2c ("sched_ext: Replace
    # SCX_TASK_OFF_TASKS flag with SCX_TASK_DEAD state") and moved the others.
    shift, own = rows.get("SCX_TASK_STATE_SHIFT", 0), _enum(btf, "scx_task_state")
    if own:
        names = {value << shift: name for name, value in own.items()}
    else:
        names = {rows[name]: name for name in _STATES if name in rows}
    return {value: name.removeprefix("SCX_TASK_") for value, name in names.items()}
