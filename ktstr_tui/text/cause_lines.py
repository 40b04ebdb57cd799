"""The cause of an ejection as lines: message, stack of the CPU that wrote it, and the kernel's debug dump."""

from __future__ import annotations

from ktstr_tui.model.cause import cause_of
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.text.cause import aside
from ktstr_tui.text.lines import Line, clean, cut, wrap

_INDENT = "  "
MAX_OWN_DUMP = 12
"""Lines of ``ops.dump()`` in the overview."""


def cause_lines(report: CaptureReport, width: int) -> list[Line]:
    """Kind and message, the stack of the CPU that wrote them, and what else is known of the cause."""
    cause = cause_of(report)
    if cause is None:
        return []
    text = f"{cause.kind}: {cause.text}" if cause.text else cause.kind
    it = report.scheduler
    about = f" of the ejection of {clean(it.cgroup)}" if it is not None and it.cgroup is not None else ""
    lines: list[Line] = [[("cause", "head"), (about, "")]]
    lines += [[(_INDENT, ""), (part, "bad")] for part in wrap(clean(text), max(20, width - 2))]
    more = aside(report, cause)
    lines += [[(_INDENT, ""), (part, "")] for part in wrap(more, max(20, width - 2)) if part]
    if cause.vcpu is not None and not cause.stall and cause.vcpu.stack is not None:
        lines.append([(f"{_INDENT}cpu {cause.vcpu.cpu} wrote it, called from", "dim")])
        for frame in cause.vcpu.stack.frames:
            name = clean(frame.symbol or "?")
            source = f"  {clean(frame.source)}" if frame.source else ""
            lines.append([(cut(f"    {name}", width), "strong" if source else "")])
            if source:
                lines[-1].append((cut(source, max(0, width - len(name) - 4)), "key"))
    return [*lines, []]


def own_dump(dump: tuple[str, ...]) -> tuple[str, ...]:
    """What ``ops.dump()`` of the scheduler wrote: the kernel puts it between its backtrace and the CPUs."""
    end = next((k for k, text in enumerate(dump) if text.startswith("CPU states")), 0)
    begin = next((k for k, text in enumerate(dump[:end]) if text.startswith("Backtrace:")), None)
    if begin is None:
        return ()
    # The backtrace is indented and ends in an empty line.
    after = next((k for k in range(begin, end) if not dump[k].strip()), end)
    return tuple(text for text in dump[after:end] if text.strip())


def dump_brief(dump: tuple[str, ...], width: int) -> list[Line]:
    """What ``ops.dump()`` wrote, and where the rest of the kernel's dump is."""
    if not dump:
        return []
    own = own_dump(dump)
    lines: list[Line] = [
        [(f"{_INDENT}ops.dump", "dim"), (cut(f" {clean(text.strip())}", width - 10), "")]
        for text in own[:MAX_OWN_DUMP]
    ]
    more = max(0, len(own) - MAX_OWN_DUMP)
    rest = f"{more} more of ops.dump and " if more else ""
    return [*lines, [(f"{_INDENT}{'dump':<8}{rest}{len(dump)} lines in all, at the end of 7", "dim")]]


def kernel_dump(dump: tuple[str, ...], notes: list[Line], width: int) -> list[Line]:
    """The debug dump that the kernel made of the ejection, under the notes on it."""
    lines: list[Line] = [[], [("debug dump of the kernel (scx_exit_info.dump)", "head")], *notes]
    for text in dump:
        lines += [[(part, "")] for part in hard_wrap(clean(text), width)]
    return lines


def hard_wrap(text: str, width: int) -> list[str]:
    """A text in pieces of a width, wherever that cuts it."""
    return [text[begin : begin + width] for begin in range(0, len(text), max(20, width))] or [""]
