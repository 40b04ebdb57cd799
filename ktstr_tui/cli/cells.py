"""A cell: one run without a screen in a process of its own, from its words on the command line to what came of it.

It needs nothing of this process, so it can run anywhere. What it found is in the summary that the run prints, and in
the files of its directory.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from ktstr_tui.guest.determinism import MAX_SEED
from ktstr_tui.model.errors import EXIT_USAGE, GuestError, UsageError
from ktstr_tui.model.text import printable

MAX_CELLS: Final = 100_000
STACK_FRAMES: Final = 4
"""Innermost functions of a writer's stack that tell failures apart."""
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")
_ERROR = re.compile(r"^error \([^)]*\): ")
_TASK = re.compile(r"\S+\[\d+\]")
_WRITER = re.compile(r"by vCPU (\d+)$")
_Key = TypeVar("_Key")
_Found = TypeVar("_Found")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one seed."""

    seed: int
    exit_code: int
    outcome: str
    """How the run ended."""
    elapsed_ms: float | None = None
    """The scenario's time of the ejection."""
    exit_kind: str = ""
    """Why the scheduler was ejected, as the kernel names it; empty when it was not."""
    message: str = ""
    stalled: str = ""
    """The task that had waited longest then."""
    dsq: str = ""
    """Where it waited."""
    stack: tuple[str, ...] = ()
    """Functions of whoever ejected the scheduler, the innermost first."""
    alerts: tuple[str, ...] = ()
    capture: str = ""
    """File of the ejection's capture."""
    name: str = ""
    """Of the run."""

    @property
    def shape(self) -> str:
        """Kind, message without numbers and names of tasks, and stack, by which cells are grouped."""
        words = _NUMBER.sub("N", _TASK.sub("TASK", self.message or self.outcome))
        kind = f"{self.exit_kind}: " if self.exit_kind else ""
        return kind + words + (f" in {' < '.join(self.stack)}" if self.stack else "")


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
    if not seeds or seeds[0] < 0 or seeds[-1] > MAX_SEED or len(seeds) > MAX_CELLS:
        raise UsageError(
            f"{text!r} cannot be read as seeds",
            f"write them as 1..20, from 0 to {MAX_SEED}, {MAX_CELLS} at most",
        )
    return seeds


def run_words(name: str, seed: int, words: Sequence[str]) -> dict[str, Any]:
    """Carry out a run and return its summary.

    Raises:
        UsageError: The words are wrong.
        GuestError: The run printed no summary.
    """
    command = [sys.executable, "-m", "ktstr_tui", "run", "--headless", "--json", "--name", name, *words]
    done = subprocess.run(
        [*command, "--seed", str(seed)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == EXIT_USAGE:
        raise UsageError(printable(_last_line(done.stderr)), "the words after the options are those of run")
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise GuestError(f"seed {seed} left no summary: {printable(_last_line(done.stderr))}") from error


def run_cell(seed: int, words: Sequence[str]) -> Cell:
    """Carry out the run of one seed.

    Raises:
        UsageError: The words are wrong.
        GuestError: The run printed no summary.
    """
    name = f"search-{seed}"
    summary = run_words(name, seed, words)
    try:
        return cell_of(seed, name, summary)
    except (KeyError, TypeError) as error:
        raise GuestError(f"seed {seed} left a summary without {error}") from error


def cell_of(seed: int, name: str, summary: dict[str, Any]) -> Cell:
    """What a summary says."""
    common = {
        "seed": seed,
        "name": name,
        "exit_code": summary["exit_code"],
        "outcome": summary["end_reason"],
        "alerts": tuple(it["text"] for it in summary["alerts"]),
    }
    ejection = next((it for it in summary["captures"] if it["trigger"] == "error"), None)
    if ejection is None:
        return Cell(**common)
    first = ejection["first_stalled"]
    return Cell(
        **common,
        elapsed_ms=ejection["elapsed_ms"],
        exit_kind=ejection["exit_kind_name"] or "",
        message=ejection["message"] or "",
        stalled=f"{first['comm']}[{first['pid']}]" if first else "",
        dsq=(first["dsq"] or "none") if first else "",
        stack=_writer_stack(Path(ejection["path"])),
        capture=ejection["path"],
    )


def _writer_stack(path: Path) -> tuple[str, ...]:
    """Functions of the vCPU that wrote; empty when the report does not have them."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        writer = _WRITER.search(report["trigger_detail"])
        if writer is None:
            return ()
        frames = next(it for it in report["vcpus"] if it["cpu"] == int(writer[1]))["stack"]["frames"]
        return tuple((it["symbol"] or "?").partition("+")[0] for it in frames[:STACK_FRAMES])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, StopIteration):
        return ()


def each_of(keys: Iterable[_Key], work: Callable[[_Key], _Found], jobs: int) -> Iterator[tuple[_Key, _Found]]:
    """Do some work for each key, ``jobs`` at a time, and yield what was found as it comes.

    Raises:
        KtstrError: What the work raises; what waits is given up.
    """
    waiting = iter(keys)
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[_Found], _Key] = {pool.submit(work, it): it for it in islice(waiting, jobs)}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield running.pop(one), one.result()
                    running |= {pool.submit(work, it): it for it in islice(waiting, 1)}
        finally:
            for future in running:
                future.cancel()


def _last_line(text: str) -> str:
    """The error that a run printed last, without what says that it is one; else its last line."""
    lines = [line for line in text.splitlines() if line.startswith("error")] or text.splitlines()
    return _ERROR.sub("", lines[-1]) if lines else "it said nothing"
