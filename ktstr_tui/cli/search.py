"""``search``: many seeds, one run each, until one of them does what is looked for.

A cell is a run without a screen in a process of its own, from its words on the command line to the summary that it
prints: it needs nothing of this process, so it can run anywhere. What there is is kept in a file after each cell, and
cells that are in it are not run again.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from ktstr_tui.guest.determinism import MAX_SEED
from ktstr_tui.model.errors import EXIT_USAGE, GuestError, UsageError
from ktstr_tui.model.text import printable
from ktstr_tui.text.output import flush, print_json, print_line

CONDITIONS: Final = ("ejected", "alert", "none")
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")
_MAX_CELLS: Final = 100_000


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one seed."""

    seed: int
    exit_code: int
    outcome: str
    """How the run ended."""
    elapsed_ms: float | None = None
    """The scenario's time of the ejection."""
    alerts: tuple[str, ...] = ()
    capture: str = ""
    """File of the ejection's capture."""
    name: str = ""
    """Of the run."""

    @property
    def shape(self) -> str:
        """The outcome without its numbers and names of tasks, by which cells are grouped."""
        return _NUMBER.sub("N", re.sub(r"\S+\[\d+\]", "TASK", self.outcome))

    def meets(self, condition: str) -> bool:
        """Whether it did what is looked for."""
        return (condition == "ejected" and self.exit_code == 1) or (
            condition == "alert" and bool(self.alerts)
        )


def parse_seeds(text: str) -> range:
    """Seeds such as ``1..20`` or ``7``.

    Raises:
        UsageError: They are none, or too many.
    """
    first, _, last = text.partition("..")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds or seeds[0] < 0 or seeds[-1] > MAX_SEED or len(seeds) > _MAX_CELLS:
        raise UsageError(
            f"{text!r} cannot be read as seeds",
            f"write them as 1..20, from 0 to {MAX_SEED}, {_MAX_CELLS} at most",
        )
    return seeds


def run_cell(seed: int, words: Sequence[str]) -> Cell:
    """Carry out the run of one seed.

    Raises:
        UsageError: The words are wrong.
        GuestError: The run printed no summary.
    """
    name = f"search-{seed}"
    command = [sys.executable, "-m", "ktstr_tui", "run", "--headless", "--json", "--name", name, *words]
    done = subprocess.run(
        [*command, "--seed", str(seed)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == EXIT_USAGE:
        raise UsageError(printable(_last_line(done.stderr)), "the words after the options are those of run")
    try:
        summary: dict[str, Any] = msgspec.json.decode(done.stdout, type=dict[str, Any])
        return _cell(seed, name, summary)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise GuestError(f"seed {seed} left no summary: {printable(_last_line(done.stderr))}") from error


def _cell(seed: int, name: str, summary: dict[str, Any]) -> Cell:
    ejection = next((it for it in summary["captures"] if it["trigger"] == "error"), None)
    return Cell(
        seed=seed,
        exit_code=summary["exit_code"],
        outcome=summary["end_reason"],
        elapsed_ms=ejection["elapsed_ms"] if ejection else None,
        alerts=tuple(it["text"] for it in summary["alerts"]),
        capture=ejection["path"] if ejection else "",
        name=name,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("error")] or text.splitlines()
    return lines[-1] if lines else "it said nothing"


def search_command(
    seeds: range, words: Sequence[str], *, until: str, jobs: int, results: Path | None, as_json: bool
) -> None:
    """Run seeds until one meets the condition, or all have been run; print them as they come, then in groups.

    Raises:
        UsageError: The condition or the words are wrong.
    """
    if until not in CONDITIONS:
        raise UsageError(f"--until {until} is not a condition", f"take one of {', '.join(CONDITIONS)}")
    known = _read(results, words)
    cells = [it for seed, it in known.items() if seed in seeds]
    left = (seed for seed in seeds if seed not in known)
    found = [it for it in cells if it.meets(until)]
    if not found:
        try:
            for cell in _run(left, words, jobs):
                cells.append(cell)
                _keep(results, words, cell)
                if not as_json:
                    _print(cell)
                if cell.meets(until):
                    break
        except KeyboardInterrupt:
            pass
    found = [it for it in cells if it.meets(until)]
    if as_json:
        groups = {
            shape: [it.seed for it in cells if it.shape == shape] for shape in {it.shape for it in cells}
        }
        print_json(
            {
                "found": [it.seed for it in found],
                "cells": [msgspec.to_builtins(it) for it in cells],
                "groups": groups,
            }
        )
    else:
        _print_groups(cells, found)


def _run(seeds: Iterator[int], words: Sequence[str], jobs: int) -> Iterator[Cell]:
    with ThreadPoolExecutor(jobs) as pool:
        running: set[Future[Cell]] = set()
        try:
            running |= {pool.submit(run_cell, seed, words) for seed in islice(seeds, jobs)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
                    running |= {pool.submit(run_cell, seed, words) for seed in islice(seeds, 1)}
        finally:
            for waiting in running:
                waiting.cancel()


def _read(results: Path | None, words: Sequence[str]) -> dict[int, Cell]:
    if results is None or not results.is_file():
        return {}
    first, *lines = results.read_bytes().splitlines() or [b""]
    if first != _head(words):
        raise UsageError(f"{results} is of another search", "name another file")
    try:
        cells = [msgspec.json.decode(line, type=Cell) for line in lines]
    except msgspec.MsgspecError as error:
        raise UsageError(f"{results} is damaged: {error}", "name another file") from error
    return {it.seed: it for it in cells}


def _head(words: Sequence[str]) -> bytes:
    return msgspec.json.encode({"search": list(words)})


def _keep(results: Path | None, words: Sequence[str], cell: Cell) -> None:
    if results is None:
        return
    with results.open("ab", buffering=0) as file:
        if not file.tell():
            file.write(_head(words) + b"\n")
        file.write(msgspec.json.encode(cell) + b"\n")


def _print(cell: Cell) -> None:
    at = "" if cell.elapsed_ms is None else f"{cell.elapsed_ms / 1e3:.3f} s  "
    print_line(f"seed {cell.seed:<10}  {at}{printable(cell.outcome)}")
    flush()


def _print_groups(cells: list[Cell], found: list[Cell]) -> None:
    for shape in sorted({it.shape for it in cells}):
        seeds = [it.seed for it in cells if it.shape == shape]
        print_line(f"{len(seeds):4} of {len(cells)}  {printable(shape)}")
    for cell in found:
        print_line(f"again: ktstr-tui rerun {shlex.quote(cell.name)}")
