"""What users read is plain English: no string of the product holds a phrase that has to be learnt first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ktstr_tui.cli.main import app
from ktstr_tui.model.text import counted, runnable_for, task_name

ROOT = Path(__file__).parents[2]
BANNED = (
    r"stands? still", r"stood still", r"clock stands", r"\bstood\b", r"\balert stands", r"\banew\b", r"in good order",
    r"let go\b", r"to be had", r"\bnobody\b", r"has beaten", r"\bbeats again", r"is over\b", r"are over\b",
    r"was over\b", r"goes on\b", r"going on\b", r"go on\b", r"is told", r"was told", r"it told", r"\bour defect",
    r"makes no sense", r"(?<!there )\bis no (?!longer)[a-z]", r"(?<!there )\bare no (?!longer)[a-z]",
    r"take(s)? nothing more", r"made room",
    r"does not lead to", r"stays readable", r"a word of 32 bits", r"\bseals?\b", r"who beats", r"already going",
    r"\bread late\b", r"take .* away", r"in one go\b", r"end(ed)? in order", r"has, lacks", r"(?-i:did you mean)",
)  # fmt: skip
"""Regular expressions, compared without case but for what says otherwise."""
SNAPSHOTS = ROOT / "tests" / "tui" / "snapshots"
_C_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def python_strings(path: Path) -> Iterator[tuple[int, str]]:
    """Give the string literals of a module that are not docstrings, f-strings in one piece."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [it.value if isinstance(it, ast.Constant) else "{}" for it in node.values]
            skipped.update(id(it) for it in node.values)
            yield node.lineno, "".join(str(it) for it in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def product_strings() -> Iterator[tuple[str, str]]:
    """Give ``(file:line, string)`` of everything that the product may say."""
    for path in sorted((ROOT / "ktstr_tui").rglob("*.py")):
        for line, text in python_strings(path):
            yield f"{path.relative_to(ROOT)}:{line}", text
    for path in sorted(it for it in (ROOT / "native").rglob("*.[ch]") if "fuzz" not in it.parts):
        for number, code in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not code.lstrip().startswith(("//", "*", "/*", "#include")):
                for match in _C_STRING.finditer(code):
                    yield f"{path.relative_to(ROOT)}:{number}", match.group(1)


def help_texts() -> Iterator[tuple[str, str]]:
    """Give the docstrings and the words of options that ``--help`` prints, of every command."""
    waiting: list[tuple[str, Any]] = [("ktstr-tui", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command.help or ""
        for parameter in command.params:
            yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
        waiting += [(f"{name} {it}", below) for it, below in getattr(command, "commands", {}).items()]


def screens() -> Iterator[tuple[str, str]]:
    """Give the rows of the kept screens: sentences that are put together only when they are shown."""
    for path in sorted(SNAPSHOTS.glob("*.txt")):
        for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.name}:{number}", row


def found_in(strings: Iterator[tuple[str, str]]) -> list[str]:
    """Name the strings that hold a banned phrase."""
    banned = re.compile("|".join(BANNED), re.IGNORECASE)
    return [f"{place}: {text!r}" for place, text in strings if " " in text and banned.search(text)]


def test_no_string_of_the_product_holds_a_banned_phrase() -> None:
    assert found_in(product_strings()) == []


def test_no_help_text_holds_a_banned_phrase() -> None:
    texts = list(help_texts())
    assert ("ktstr-tui doctor", "Check this host and suggest fixes.") in texts
    assert found_in(iter(texts)) == []


def test_no_kept_screen_holds_a_banned_phrase() -> None:
    rows = list(screens())
    assert any("runnable for" in row for _place, row in rows)
    assert found_in(iter(rows)) == []


@pytest.mark.parametrize(
    "text", ["The guest stands still.", "nobody waits here", "/tmp is no kernel", "the run goes on"]
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert found_in(iter([("a.py:1", text)])) == [f"a.py:1: {text!r}"]


def test_the_search_reads_both_languages_and_joins_f_strings() -> None:
    places = dict(product_strings())
    assert any(place.startswith("native/agent/") for place in places)
    assert any("{}" in text for text in places.values())


@pytest.mark.parametrize(("count", "words"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")])
def test_counts_have_the_right_number(count: int, words: str) -> None:
    assert counted(count, "entry", "entries") == words
    assert counted(1, "hit") == "1 hit"
    assert counted(3, "hit") == "3 hits"


def test_a_waiting_task_has_one_format() -> None:
    assert runnable_for("spin-0", 105, 2713.2) == "spin-0[105] runnable for 2.713 s"
    assert task_name(None, None) == "?[–]"
    assert task_name("a\x1b[31mb", 7) == "ab[7]"
