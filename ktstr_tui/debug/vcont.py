"""How a debugger says which vCPUs are to run: ``vCont`` actions, and the older ``c`` and ``s``.

``vCont;s:1;c`` steps thread 1 while all others run, ``vCont;s:1`` steps it alone, ``vCont;c`` runs all. Signals
(``C05``, ``S05``) mean nothing to a machine and are left out. Threads are vCPUs, counted from 1; 0 and -1 are any and
all.
"""

from __future__ import annotations

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.model.errors import UsageError


def parse_thread(text: str, vcpus: int) -> int | None:
    """The vCPU, from 0, that a thread id names; None for any or all of them.

    Raises:
        UsageError: It is none.
    """
    try:
        number = int(text.rpartition(".")[2].removeprefix("p"), 16)
    except ValueError:
        raise UsageError("not a thread id") from None
    if number in (0, -1):
        return None
    if not 1 <= number <= vcpus:
        raise UsageError(f"there is no thread {number:x}")
    return number - 1


def parse_vcont(text: str, vcpus: int) -> Resume:
    """What the actions behind ``vCont`` want, such as ``;s:1;c``.

    Raises:
        UsageError: They are no actions, or ones that cannot be had: only one vCPU at a time steps.
    """
    chosen: list[tuple[str, int]] = []
    default = ""
    for action in text.split(";")[1:]:
        word, _, thread = action.partition(":")
        letter = word[:1].lower()
        if letter not in ("c", "s"):
            raise UsageError(f"{word[:8]!r} is not a way to resume")
        vcpu = parse_thread(thread, vcpus) if thread else None
        if vcpu is None:
            default = default or letter
        else:
            chosen.append((letter, vcpu))
    stepped = [vcpu for letter, vcpu in chosen if letter == "s"]
    if default == "s" or len(stepped) > 1:
        if vcpus == 1 and not chosen:
            return Resume(vcpu=0, step=True, alone=True)
        raise UsageError("one thread at a time can step")
    if stepped:
        return Resume(vcpu=stepped[0], step=True, alone=not default and len(chosen) == 1)
    if chosen and not default:
        if len(chosen) < vcpus and len(chosen) > 1:
            raise UsageError("either one thread runs alone, or all run")
        return Resume() if len(chosen) == vcpus else Resume(vcpu=chosen[0][1], alone=True)
    if not default:
        raise UsageError("no way to resume is named")
    return Resume()
