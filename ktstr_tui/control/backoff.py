"""How long a scheduler that crashes is left alone: 500 ms, doubling to a minute, and for good after five in a minute.

For good means until somebody restarts it, or until it has run for a minute without a crash.
"""

from __future__ import annotations

from ktstr_tui.control.state import SchedulerFacts
from ktstr_tui.model.control import ApplyBackoff
from ktstr_tui.model.text import counted

FIRST_NS = 500_000_000
MOST_NS = 60_000_000_000
WINDOW_NS = 60_000_000_000
"""In which crashes are counted."""
LOOP_CRASHES = 5
"""So many within `WINDOW_NS` are a crash loop."""
STABLE_NS = 60_000_000_000
"""After which an attached scheduler has no past."""
FOREVER_NS = (1 << 63) - 1


def crashed(facts: SchedulerFacts, at_ns: int) -> None:
    """Note a crash: the next try waits twice as long as the one before."""
    facts.attached_ns = None
    facts.crashes = [*(it for it in facts.crashes if at_ns - it < WINDOW_NS), at_ns][-LOOP_CRASHES:]
    facts.delay_ns = min(MOST_NS, 2 * facts.delay_ns) if facts.delay_ns else FIRST_NS
    facts.held = facts.held or len(facts.crashes) >= LOOP_CRASHES
    facts.until_ns = FOREVER_NS if facts.held else at_ns + facts.delay_ns


def reset(facts: SchedulerFacts) -> None:
    """Forget all crashes."""
    facts.crashes = []
    facts.delay_ns = facts.until_ns = 0
    facts.held = False
    facts.told_ns = None


def is_stable(facts: SchedulerFacts, now_ns: int) -> bool:
    """Whether an attached scheduler that crashed before has been well for long enough."""
    return bool(facts.delay_ns and facts.attached_ns is not None and now_ns - facts.attached_ns >= STABLE_NS)


def may_attach(facts: SchedulerFacts, now_ns: int) -> bool:
    """Whether its time has come."""
    return not facts.held and now_ns >= facts.until_ns


def told(name: str, facts: SchedulerFacts) -> ApplyBackoff:
    """The action that says so."""
    crashes = counted(len(facts.crashes), "crash", "crashes")
    if facts.held:
        reason = f"{crashes} within {WINDOW_NS // 10**9} s; it is not attached again until somebody asks"
    else:
        reason = f"{crashes} so far; tried again after {facts.delay_ns / 1e9:g} s"
    return ApplyBackoff(
        name=name, until_ns=facts.until_ns, crashes=len(facts.crashes), held=facts.held, reason=reason
    )
