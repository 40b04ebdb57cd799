"""Decides whether a scheduler that leaves was asked to: by the kernel's kind and the guest program's word.

Whoever leaves for another reason than a request of the scenario is ejected, whatever its kind: an error, a write of
the BPF program's own (``UNREG_BPF``), a CPU that goes away (``UNREG_KERN``), ``SYSRQ``, a parent that goes
(``PARENT``), or a program that died, so that the kernel unregistered what it had attached (``UNREG``).

A sub-scheduler that leaves with ``PARENT`` leaves because the one above it does, whose end is judged. Any other end is
judged by the same rule: a program in the guest attaches and detaches sub-schedulers, but one that dies cannot be told
from one that detaches.

``UNREG`` alone does not say who wanted it. The guest program does, in its own name (the comm of process 1), which it
changes before it ends a scheduler (``native/agent/agent.h``). That word is in memory when the kernel writes
``exit_kind``, so it is read at the same stop; a frame over the port might come later. A guest whose process 1 is
another program says nothing: there, and only there, ``UNREG`` counts as asked for.
"""

from __future__ import annotations

NAME_RUNNING = "ktstr-agent"
"""The comm of process 1 while a scheduler is to stay."""
NAME_STOPPING = "ktstr-stopping"
"""And while the scenario ends one."""
_AS_ASKED = frozenset({"DONE", "UNREG", "UNREG_BPF"})
"""Kinds that a request can lead to. DONE is what a late look finds when the kernel has not yet kept the kind."""


def was_asked_for(kind_name: str, init_comm: str | None) -> bool:
    """Whether the scenario wanted this end of a scheduler.

    Args:
        kind_name: Its exit kind as the kernel's BTF names it, without ``SCX_EXIT_``.
        init_comm: The comm of process 1 at the stop; None when it could not be read.
    """
    return kind_name in _AS_ASKED and init_comm != NAME_RUNNING


def sub_was_asked_for(kind_name: str, init_comm: str | None) -> bool:
    """Whether the scenario wanted this end of a sub-scheduler, or it follows from the end of the one above it.

    Args:
        kind_name: As for `was_asked_for`.
        init_comm: As for `was_asked_for`.
    """
    return kind_name == "PARENT" or was_asked_for(kind_name, init_comm)
