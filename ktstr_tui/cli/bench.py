"""``bench``: each figure beside its baseline of the same run, as a ratio and against its goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ktstr_tui.model.errors import UsageError
from ktstr_tui.text.output import print_json, print_line


def _boot(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.guest import bench_boot

    return bench_boot(rounds or 5)


def _sample(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.guest import bench_sample

    return bench_sample(rounds or 8)


def _freeze(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.guest import bench_freeze

    return bench_freeze(rounds or 100)


def _frames(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench import frames as bench_frames

    return bench_frames.run()


def _beats(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench import beats as bench_beats

    return bench_beats.run(rounds)


def _trace(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.trace import bench_trace

    return bench_trace(rounds or 5)


def _loop(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench import loop as bench_loop

    return bench_loop.run(rounds)


def _rerun(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.rerun import bench_rerun

    return bench_rerun(rounds or 100)


def _store(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.snapshots import bench_store

    return bench_store(rounds or 5)


def _restore(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.restore import bench_restore

    return bench_restore(rounds or 5)


def _link(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.link import bench_link

    return bench_link(rounds or 5)


def _pager(rounds: int | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.pager import bench_pager

    return bench_pager(rounds or 5)


def _tui(seconds: float | None) -> Mapping[str, Any]:
    from ktstr_tui.bench.tui import bench_tui

    return bench_tui(seconds)


BENCHES: dict[str, Callable[[int | None], Mapping[str, Any]]] = {
    "boot": _boot,
    "sample": _sample,
    "freeze": _freeze,
    "frames": _frames,
    "beats": _beats,
    "link": _link,
    "loop": _loop,
    "pager": _pager,
    "rerun": _rerun,
    "restore": _restore,
    "store": _store,
    "trace": _trace,
}
TIMED: dict[str, Callable[[float | None], Mapping[str, Any]]] = {"tui": _tui}
"""Those that measure for so many seconds, not so many rounds."""


def bench_command(what: str, rounds: int | None, seconds: float | None, as_json: bool) -> None:
    """Run one bench and print its figures.

    Args:
        what: Its name.
        rounds: How often it repeats; None for as often as is usual.
        seconds: How long one of `TIMED` measures; None for as long as is usual.
        as_json: Whether to print JSON.

    Raises:
        UsageError: There is no such bench, or it has no rounds or seconds.
    """
    if what in TIMED:
        if rounds is not None:
            raise UsageError(f"the bench {what} has no rounds", "say --seconds")
        figures = TIMED[what](seconds)
    elif what in BENCHES:
        if seconds is not None:
            raise UsageError(f"the bench {what} has no time of its own", "say --rounds")
        figures = BENCHES[what](rounds)
    else:
        raise UsageError(f"unknown bench {what!r}", f"benches are {', '.join([*BENCHES, *TIMED])}")
    if as_json:
        print_json(figures)
        return
    for line in _lines(figures):
        print_line(line)


def _lines(figures: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        else:
            shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{name:28} {shown}")
    return lines
