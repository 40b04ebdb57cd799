"""What is said of a run when it is over: one verdict and one exit code, from the state alone.

The health of the guest changes all the time, and its last word may come from a guest that is just going away. So what
counts of it is for how long it was what. An ejection outweighs it, and a failure of anybody outweighs both. Nothing is
said of the scheduler where the host is to blame: an ejection whose task waited while the host gave the guest no CPU,
or a time that was over while a scheduler was still being loaded or before the first sample, is inconclusive, with
an exit code of its own.
"""

from __future__ import annotations

from ktstr_tui.model.errors import EXIT_EJECTED, EXIT_INCONCLUSIVE, EXIT_OK
from ktstr_tui.model.host import host_wait, host_words
from ktstr_tui.model.kinds import RunVerdict
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import counted


def exit_code(
    state: RunState, error_code: int | None, not_attached: str = "", *, unseen: bool = False
) -> int:
    """The exit code of a run that ends now.

    Args:
        state: All that happened.
        error_code: Exit code of the error that ended the run; None when it ended as asked.
        not_attached: The scheduler that was still being loaded when the time was over; empty for none.
        unseen: Whether the time was over before the first sample.
    """
    if error_code is not None:
        return error_code
    if failed_ejections(state):
        return EXIT_INCONCLUSIVE if not clear_ejections(state) else EXIT_EJECTED
    return EXIT_INCONCLUSIVE if not_attached or unseen else EXIT_OK


def end_reason(state: RunState, reason: str, not_attached: str = "", *, unseen: bool = False) -> str:
    """How a run ended in one line, what matters most first; the reason itself last, when there is more to say."""
    said = doubts(state)
    if failed_ejections(state):
        many = f"{state.ejections} ejections, the last: " if state.ejections > 1 else ""
        said.append(many + state.last_ejection)
    if not_attached:
        said.append(f"inconclusive: {not_attached} was still being loaded and had not attached")
    elif unseen:
        said.append("inconclusive: no sample was taken, so nothing is known of the scheduler")
    if state.restarts:
        said.append(f"{counted(state.restarts, 'restart')} that the kernel had asked for")
    return f"{'; '.join(said)} ({reason})" if said else reason


def failed_ejections(state: RunState) -> int:
    """Ejections that were not made good by the restart that the kernel had asked for."""
    return state.ejections - state.restarts


def clear_ejections(state: RunState) -> int:
    """Those of them that the host has no part in."""
    return failed_ejections(state) - len(doubts(state))


def doubts(state: RunState) -> list[str]:
    """For every ejection during whose wait the host gave no CPU for at least half of it: a sentence about that."""
    waits = (host_wait(state.host_stood, wait.start_ns, wait.end_ns) for wait in state.stall_waits)
    return [f"inconclusive: {host_words(it)}" for it in waits if it is not None and it.most]


def run_verdict(state: RunState) -> RunVerdict:
    """The verdict on a run; `inconclusive` also where the guest was never sampled."""
    ended = state.ended
    if ended is not None and ended.fault:
        return "failed"
    if ended is not None and ended.exit_code == EXIT_INCONCLUSIVE:
        return "inconclusive"
    if failed_ejections(state):
        return "ejected"
    spent = dict(state.verdict_ns)
    if state.verdict_since_mono_ns:
        now = ended.mono_ns if ended is not None else state.mono_ns
        spent[state.verdict] = spent.get(state.verdict, 0) + now - state.verdict_since_mono_ns
    good, bad = spent.get("ok", 0), spent.get("degraded", 0) + spent.get("stalled", 0)
    if not good and not bad:
        return "inconclusive"
    return "degraded" if bad > good else "ok"
