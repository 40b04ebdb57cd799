"""``search``: many seeds, one cell each, until one of them does what is looked for.

What there is is kept in a file after each cell, and cells that are in it are not run again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from ktstr_tui.cli.cells import Cell, each_of, run_cell
from ktstr_tui.cli.conditions import Condition, parse_condition
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import printable
from ktstr_tui.text.lines import fit
from ktstr_tui.text.output import flush, print_json, print_line

_COLUMNS: Final = (("seed", 10), ("guest time", 10), ("first stalled task", 22), ("DSQ", 14))


def search_command(
    seeds: range, words: Sequence[str], *, until: str, jobs: int, results: Path | None, as_json: bool
) -> None:
    """Run seeds until one meets the condition, or all have been run; print them as they come, then in groups.

    Raises:
        UsageError: The condition or the words are wrong.
    """
    meets = parse_condition(until)
    known = _read(results, words)
    cells = [it for seed, it in known.items() if seed in seeds]
    left = (seed for seed in seeds if seed not in known)
    interrupted = False
    if not any(map(meets, cells)):
        if not as_json:
            _print_head()
        try:
            for _, cell in each_of(left, lambda seed: run_cell(seed, words), jobs):
                cells.append(cell)
                _keep(results, words, cell)
                if not as_json:
                    _print(cell)
                if meets(cell):
                    break
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        _print_json(cells, meets)
    else:
        _print_groups(cells, meets)
        if interrupted:
            _print_interrupted(len(cells), len(seeds), results)


def groups_of(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by what became of them, the largest group first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.shape, []).append(cell)
    return dict(sorted(groups.items(), key=lambda it: (-len(it[1]), it[0])))


def _read(results: Path | None, words: Sequence[str]) -> dict[int, Cell]:
    if results is None or not results.is_file():
        return {}
    data, head = results.read_bytes(), _head(words)
    if not data.startswith(head + b"\n") and not head.startswith(data):
        raise UsageError(f"{results} is of another search", "name another file")
    whole, _, cut = data.rpartition(b"\n")
    try:
        cells = [msgspec.json.decode(line, type=Cell) for line in whole.splitlines()[1:]]
    except msgspec.MsgspecError as error:
        raise UsageError(f"{results} is damaged: {error}", "name another file") from error
    if cut:
        # A search that was killed in the middle of a line: that seed is run again.
        os.truncate(results, len(data) - len(cut))
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


def _print_head() -> None:
    print_line(" ".join(fit(name, width) for name, width in _COLUMNS) + " outcome")
    flush()


def _print(cell: Cell) -> None:
    at = "" if cell.elapsed_ms is None else f"{cell.elapsed_ms / 1e3:.3f} s"
    row = (str(cell.seed), at, printable(cell.stalled), printable(cell.dsq))
    cells = " ".join(fit(text, width) for text, (_, width) in zip(row, _COLUMNS, strict=True))
    print_line(f"{cells} {printable(cell.outcome)}")
    flush()


def _print_groups(cells: list[Cell], meets: Condition) -> None:
    for shape, group in groups_of(cells).items():
        print_line(f"{len(group):4} of {len(cells)}  {printable(shape)}")
    for cell in filter(meets, cells):
        print_line(f"again: ktstr-tui rerun {shlex.quote(cell.name)}")


def _print_interrupted(run: int, of: int, results: Path | None) -> None:
    kept = (
        "" if results is None else f"; the same command with --results {shlex.quote(str(results))} continues"
    )
    print_line(f"interrupted after {run} of {of} seeds{kept}")


def _print_json(cells: list[Cell], meets: Condition) -> None:
    print_json(
        {
            "found": [it.seed for it in cells if meets(it)],
            "cells": [msgspec.to_builtins(it) for it in cells],
            "groups": {shape: [it.seed for it in group] for shape, group in groups_of(cells).items()},
        }
    )
