"""Searching seeds: what is run, what is kept, and what is printed; the runs themselves are made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ktstr_tui.cli import search
from ktstr_tui.cli.cells import Cell, parse_seeds
from ktstr_tui.cli.conditions import parse_condition
from ktstr_tui.cli.search import search_command
from ktstr_tui.model.errors import UsageError


class Runs:
    """Made-up runs: seed 3 is ejected."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, seed: int, words: Sequence[str]) -> Cell:
        self.seeds.append(seed)
        if seed == 3:
            outcome = f"task-{seed}[10{seed}] failed to run for {seed}.496s"
            return Cell(seed=seed, exit_code=1, outcome=outcome, elapsed_ms=5226.0, name="search-3")
        return Cell(seed=seed, exit_code=0, outcome="scenario finished")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(search, "run_cell", made)
    return made


@pytest.mark.parametrize(("text", "seeds"), [("1..3", range(1, 4)), ("7", range(7, 8)), ("0..0", range(1))])
def test_seeds(text: str, seeds: range) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a..b", "3..1", "-1..2", "0..4294967296", "0..200000"])
def test_what_are_no_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        parse_seeds(text)


def test_it_ends_at_the_first_that_is_ejected(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    search_command(range(1, 9), (), until="ejected", jobs=1, results=None, as_json=False)
    assert runs.seeds[:3] == [1, 2, 3]
    assert len(runs.seeds) <= 4, "one more may have been begun"
    printed = capsys.readouterr().out
    assert "5.226 s" in printed
    assert "task-3[103] failed to run for 3.496s" in printed
    assert "again: ktstr-tui rerun search-3" in printed


def test_what_was_run_is_not_run_again(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "found.jsonl"
    search_command(range(1, 3), ("-s", "x"), until="ejected", jobs=1, results=results, as_json=True)
    search_command(range(1, 3), ("-s", "x"), until="ejected", jobs=1, results=results, as_json=True)
    assert runs.seeds == [1, 2]
    _, _, printed = capsys.readouterr().out.rpartition("\n{")
    last = json.loads("{" + printed)
    assert [it["seed"] for it in last["cells"]] == [1, 2]
    assert last["groups"] == {"scenario finished": [1, 2]}
    with pytest.raises(UsageError, match="another search"):
        search_command(range(1, 3), ("-s", "y"), until="ejected", jobs=1, results=results, as_json=True)


def test_failures_of_one_shape_are_one_group() -> None:
    one = Cell(seed=1, exit_code=1, outcome="spin-1[109] failed to run for 3.496s")
    other = Cell(seed=2, exit_code=1, outcome="bursty-0[110] failed to run for 4.1s")
    assert one.shape == other.shape == "TASK failed to run for Ns"


def test_an_unknown_condition(runs: Runs) -> None:
    with pytest.raises(UsageError, match="not a condition"):
        search_command(range(1), (), until="tomorrow", jobs=1, results=None, as_json=False)


def test_a_group_is_of_one_kind_message_and_writer() -> None:
    def ejected(seed: int, message: str, *stack: str, kind: str = "ERROR_STALL") -> Cell:
        return Cell(seed=seed, exit_code=1, outcome="x", exit_kind=kind, message=message, stack=stack)

    cells = [
        ejected(1, "a[1] failed to run for 3.4s", "scx_vexit", "watchdog"),
        ejected(2, "b[7] failed to run for 9s", "scx_vexit", "watchdog"),
        ejected(3, "b[7] failed to run for 9s", "scx_vexit", "scx_tick"),
        ejected(4, "a[1] failed to run for 3.4s", "scx_vexit", "watchdog", kind="ERROR"),
    ]
    groups = search.groups_of(cells)
    assert [[it.seed for it in group] for group in groups.values()] == [[1, 2], [4], [3]]
    assert next(iter(groups)) == "ERROR_STALL: TASK failed to run for Ns in scx_vexit < watchdog"


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("elapsed_ms < 3000", True),
        ("elapsed_ms < 3000 and 'spin' in stalled", True),
        ("not (dsq == '0x7' or seed > 4)", False),
        ("1000 < elapsed_ms <= 2500", True),
        ("'scx_tick' in stack", True),
        ("elapsed_ms > 'x'", False),
        ("none", False),
        ("ejected", True),
        ("alert", False),
    ],
)
def test_conditions(text: str, met: bool) -> None:
    cell = Cell(
        seed=4,
        exit_code=1,
        outcome="x",
        elapsed_ms=2500.0,
        stalled="spin-0[1]",
        dsq="0x7",
        stack=("scx_tick",),
    )
    assert parse_condition(text)(cell) is met
    assert not parse_condition("elapsed_ms < 1e9")(Cell(seed=1, exit_code=0, outcome="x")), (
        "absent is not zero"
    )


@pytest.mark.parametrize(
    "text",
    ["", "seed", "__import__('os')", "seed.bit_length() > 1", "secret == 1", "seed <", "1 if seed else 2"],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(UsageError, match="not a condition"):
        parse_condition(text)


def test_a_line_that_was_cut_is_run_again(runs: Runs, tmp_path: Path) -> None:
    results = tmp_path / "found.jsonl"
    search_command(range(1, 3), (), until="none", jobs=1, results=results, as_json=True)
    whole = results.read_bytes()
    results.write_bytes(whole[:-9])
    search_command(range(1, 3), (), until="none", jobs=1, results=results, as_json=True)
    assert runs.seeds == [1, 2, 2]
    assert results.read_bytes() == whole


@pytest.mark.parametrize("content", [b"my notes", b"one\ntwo", b"\n", b'{"search":["other"]}\n{"cut'])
def test_a_file_that_is_not_of_this_search_stays_as_it_is(runs: Runs, tmp_path: Path, content: bytes) -> None:
    results = tmp_path / "notes.txt"
    results.write_bytes(content)
    with pytest.raises(UsageError, match="of another search"):
        search_command(range(1, 3), (), until="none", jobs=1, results=results, as_json=True)
    assert results.read_bytes() == content
    assert runs.seeds == []
