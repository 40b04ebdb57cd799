"""How far the boot of a guest has come, and how long it takes, for whoever waits for it."""

from __future__ import annotations

from ktstr_tui.model.events import BootMaking
from ktstr_tui.model.state import RunState
from ktstr_tui.text import words

_SAVED = "The saved boot of this kind of machine is being loaded, the first time made (step 1 of 3)"


def boot_sentence(state: RunState) -> str:
    """Say the step of the boot, since when, and how long the last boot took here."""
    if (
        state.info is not None
        and state.info.seed is not None
        and state.phase == "booting"
        and not state.lifecycle
    ):
        # Its clock is the guest's, and has not begun: there are no seconds to tell.
        return f"{_SAVED if state.boot_making is None else _made(state.boot_making)}{_usual(state)}."
    spent_s = max(0, state.mono_ns - state.started_mono_ns) / 1e9
    return f"{_step(state)}; {words.seconds(spent_s)} since the start{_usual(state)}."


def _made(how_far: BootMaking) -> str:
    spent, guest = words.seconds(how_far.spent_ms / 1e3), words.seconds(how_far.guest_ms / 1e3)
    return (
        "The saved boot of this kind of machine is being made, this once: its kernel boots (step 1 of 3), "
        f"for {spent} so far, {guest} of its own time"
    )


def _step(state: RunState) -> str:
    if state.phase != "booting":
        return "The guest is up (step 3 of 3): its kernel's BTF is being read"
    if state.lifecycle is not None:
        return "The guest program has started (step 2 of 3)"
    return "The guest's kernel is booting (step 1 of 3)"


def _usual(state: RunState) -> str:
    info = state.info
    if info is None:
        return ""
    how = info.accelerator.upper()
    if info.last_boot_ms is None:
        return f", under {how}; no boot of this kernel was measured on this host yet"
    return f"; the last boot of this kernel took {words.milliseconds(info.last_boot_ms)} here ({how})"
