"""The C files call downwards only: no circle of includes, none of calls, and no file that is too long."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

MAX_LINES = 400
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
_FUNCTION = re.compile(r"^(?!static\b)[a-z][\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
_VARIABLE = re.compile(
    r"^(?!static\b|extern\b|typedef\b)[a-z][\w \t*]*?\b(\w+)(?:\[\w*\])*(?: =|;)", re.MULTILINE
)
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
Graph = dict[str, set[str]]


def _includes(files: Iterable[Path]) -> Graph:
    by_path = {path.resolve(): path.name for path in files}
    return {
        name: {by_path[found] for found in _included(path) if found in by_path}
        for path, name in by_path.items()
    }


def _included(path: Path) -> list[Path]:
    return [(path.parent / name).resolve() for name in _INCLUDE.findall(path.read_text())]


def _calls(files: Iterable[Path]) -> Graph:
    """For each file, those files whose functions and variables it names."""
    texts = {path.name: _COMMENT.sub(" ", path.read_text()) for path in files}
    owners = {name: file for file, text in texts.items() for name in _defined(text)}
    return {file: _owners_of(text, owners) - {file} for file, text in texts.items()}


def _defined(text: str) -> set[str]:
    return set(_FUNCTION.findall(text)) | set(_VARIABLE.findall(text))


def _owners_of(text: str, owners: Mapping[str, str]) -> set[str]:
    local = set(re.findall(r"^static\b[^;{=]*?\b(\w+)(?:\(|\[|;| =)", text, re.MULTILINE))
    return {owners[word] for word in set(_WORD.findall(text)) - local if word in owners}


def _circle(graph: Graph) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _agent(checkout: Path, pattern: str) -> list[Path]:
    return sorted((checkout / "native/agent").glob(pattern))


def test_no_file_of_the_agent_includes_itself_through_others(checkout: Path) -> None:
    graph = _includes([*_agent(checkout, "*.[ch]"), *(checkout / "native/frames").glob("*.h")])
    assert {"port.h", "host.h", "loop.h"} <= graph["loop.c"]
    assert _circle(graph) == []


def test_no_file_of_the_agent_calls_itself_through_others(checkout: Path) -> None:
    graph = _calls(_agent(checkout, "*.c"))
    assert {"port.c", "host.c", "util.c"} <= graph["loop.c"]
    assert {"loop.c", "machine.c", "host.c"} <= graph["scheduler.c"]
    assert _circle(graph) == []


@pytest.mark.parametrize("room", ["frames", "heartbeat", "memory", "trace"])
def test_no_file_of_the_module_calls_itself_through_others(checkout: Path, room: str) -> None:
    files = sorted((checkout / "native" / room).glob("*.[ch]"))
    assert _circle(_calls([path for path in files if path.suffix == ".c"])) == []
    assert _circle(_includes(files)) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "b.h"\n')
    (tmp_path / "b.h").write_text('#include "a.h"\n')
    (tmp_path / "one.c").write_text("int one(void)\n{\n\treturn two();\n}\n")
    (tmp_path / "two.c").write_text("int counted[4];\n\nint two(void)\n{\n\treturn 2; // not one()\n}\n")
    files = [tmp_path / "one.c", tmp_path / "two.c"]
    assert set(_circle(_includes([tmp_path / "a.h", tmp_path / "b.h"]))) == {"a.h", "b.h"}
    assert _circle(_calls(files)) == []
    (tmp_path / "one.c").write_text("int one(void)\n{\n\treturn counted[0];\n}\n")
    assert _calls(files)["one.c"] == {"two.c"}
    (tmp_path / "two.c").write_text("int counted[4];\n\nint two(void)\n{\n\treturn one();\n}\n")
    assert set(_circle(_calls(files))) == {"one.c", "two.c"}


def test_no_c_file_is_too_long(checkout: Path) -> None:
    files = [path for top in ("native", "tests") for path in (checkout / top).rglob("*.[ch]")]
    lines = {str(path.relative_to(checkout)): len(path.read_text().splitlines()) for path in files}
    assert len(lines) > 20
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
