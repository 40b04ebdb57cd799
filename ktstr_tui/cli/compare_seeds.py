"""``compare --seeds``: two schedulers, or two kernels, over the same seeds and the same scenario.

Time is instructions: there is no noise of the host in the figures, and two comparisons print the same numbers. What is
left is how much a figure differs from seed to seed, which is printed beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.backend.measured import Measured, measure
from ktstr_tui.cli.cells import each_of, run_words
from ktstr_tui.cli.kept_runs import events_of
from ktstr_tui.guest.kernels import resolve_kernel
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.text import counted, printable
from ktstr_tui.text.lines import fit
from ktstr_tui.text.output import print_json, print_line

By: TypeAlias = Literal["scheduler", "kernel"]
SIDES: Final = ("A", "B")
NOTE: Final = "time is instructions, not your hardware's: work and waits are per second of that time"
_NAME, _NUMBER = 18, 12


class Spread(msgspec.Struct, frozen=True):
    """A figure over all seeds."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """The spread of the values that there are; None without one."""
    known = [it for it in values if it is not None]
    return Spread(statistics.median(known), min(known), max(known)) if known else None


def compare_seeds_command(
    sides: tuple[str, str], seeds: range, words: Sequence[str], *, by: str, jobs: int, as_json: bool
) -> None:
    """Run both sides with each seed, and print the figures of both.

    Raises:
        UsageError: The words are wrong, or a side cannot be found.
        GuestError: A run left no summary.
    """
    if by not in ("scheduler", "kernel"):
        raise UsageError(f"--by {by} cannot be compared", "take scheduler or kernel")
    for side in sides:
        # A run takes its time: what is not there is told before the first.
        resolve_kernel(side) if by == "kernel" else resolve_scheduler(side)
    keys = [(side, seed) for seed in seeds for side in range(2)]

    def work(key: tuple[int, int]) -> Measured:
        side, seed = key
        name = f"compare-{SIDES[side].lower()}-{seed}"
        summary = run_words(name, seed, [f"--{by}", sides[side], *words])
        if not isinstance(summary.get("data_dir"), str):
            raise GuestError(f"seed {seed} with {sides[side]} left no recording")
        return measure(events_of(Path(summary["data_dir"])))

    found = dict(each_of(keys, work, jobs))
    cells = [[found[side, seed] for seed in seeds] for side in range(2)]
    if as_json:
        _print_json(sides, by, seeds, cells)
    else:
        _print(sides, by, seeds, cells)


def spreads_of(cells: Sequence[Measured]) -> dict[str, Spread | None]:
    """The figures of one side, in the order in which they are printed."""
    figures = [it.figures() for it in cells]
    names = dict.fromkeys(name for one in figures for name in one if name.endswith("/s"))
    workers = [it for it in names if it.endswith(" work/s") and it != "all work/s"]
    order = (*sorted(workers), "all work/s", "ejections", "worst wait ms", "switches/s")
    return {name: spread([one.get(name) for one in figures]) for name in order}


def _print(sides: tuple[str, str], by: str, seeds: range, cells: list[list[Measured]]) -> None:
    for letter, side in zip(SIDES, sides, strict=True):
        print_line(f"{letter}  {by} {printable(side)}")
    print_line(f"{counted(len(seeds), 'seed')}, {seeds[0]} to {seeds[-1]}; {NOTE}")
    heads = [f"{letter} {what}" for letter in SIDES for what in ("median", "least", "most")]
    print_line(_row("", [*heads, "B/A"]))
    one, other = (spreads_of(it) for it in cells)
    for name in dict.fromkeys((*one, *other)):
        print_line(
            _row(
                printable(name),
                [*_numbers(one.get(name)), *_numbers(other.get(name)), _ratio(one, other, name)],
            )
        )


def _row(name: str, values: Sequence[str]) -> str:
    return fit(name, _NAME) + "".join(fit(it, _NUMBER, "right") for it in values)


def _numbers(it: Spread | None) -> list[str]:
    return ["–"] * 3 if it is None else [f"{value:.1f}" for value in (it.median, it.least, it.most)]


def _ratio(one: Mapping[str, Spread | None], other: Mapping[str, Spread | None], name: str) -> str:
    mine, theirs = one.get(name), other.get(name)
    return "–" if mine is None or theirs is None or not mine.median else f"{theirs.median / mine.median:.3f}"


def _print_json(sides: tuple[str, str], by: str, seeds: range, cells: list[list[Measured]]) -> None:
    print_json(
        {
            "by": by,
            "note": NOTE,
            "seeds": list(seeds),
            "sides": [
                {
                    "name": name,
                    "spread": {it: msgspec.to_builtins(value) for it, value in spreads_of(side).items()},
                    "runs": [msgspec.to_builtins(it) for it in side],
                }
                for name, side in zip(sides, cells, strict=True)
            ],
        }
    )
