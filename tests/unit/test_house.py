"""Rules of the house that no linter knows: circles, crowded constructors, long files, objects finished late.

Each rule has a list of known exceptions. The lists may only shrink: an entry that is no longer needed fails its test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ktstr_tui"

MAX_LINES = 400
MAX_ARGUMENTS = 7

LONG_FILES: frozenset[str] = frozenset()
"""Python and C files of more than `MAX_LINES` lines."""

CROWDED: frozenset[str] = frozenset()
"""Classes whose constructor takes more than `MAX_ARGUMENTS` things."""

LATE: frozenset[str] = frozenset()
"""Attributes that are None at first and asserted not to be afterwards, as ``module.Class.attribute``."""

CIRCLES: frozenset[tuple[str, ...]] = frozenset()
"""Modules that import each other, imports for type checking included."""


def sources() -> dict[str, ast.Module]:
    """The package's modules by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


SOURCES = sources()


def imported(tree: ast.Module, names: Iterable[str]) -> set[str]:
    """Modules of the package that a module imports, wherever in it."""
    known, found = set(names), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= submodules & known
            if not submodules <= known:
                found.add(node.module)
    return found & known


def circles(graph: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """The sets of nodes that reach each other, each sorted (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: set[tuple[str, ...]] = set()

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            members = stack[at:]
            del stack[at:]
            if len(members) > 1:
                found.add(tuple(sorted(members)))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """All classes of the package with their full names."""
    for module, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield f"{module}.{node.name}", node


def methods(class_: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in class_.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def constructor_arguments(class_: ast.ClassDef) -> int:
    """How many things ``__init__`` takes besides the object."""
    for method in methods(class_):
        if method.name == "__init__":
            arguments = method.args
            return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1
    return 0


def own_attribute(node: ast.AST) -> str | None:
    """The name in ``self.name``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    return None


def late_attributes(class_: ast.ClassDef) -> set[str]:
    """Attributes that the constructor sets to None and another method asserts to be something."""
    unset, asserted = set(), set()
    for method in methods(class_):
        for node in ast.walk(method):
            if method.name == "__init__" and isinstance(node, ast.AnnAssign):
                if isinstance(node.value, ast.Constant) and node.value.value is None:
                    unset.add(own_attribute(node.target))
            elif isinstance(node, ast.Assert):
                asserted |= {own_attribute(part) for part in ast.walk(node.test)}
    return {name for name in unset & asserted if name is not None}


def only(found: Iterable[object], known: Iterable[object]) -> None:
    """Check that what was found is what is known."""
    found, known = set(found), set(known)
    assert not found - known, "new: mend them"
    assert not known - found, "mended: take them off the list"


def test_no_module_imports_itself_over_others() -> None:
    only(circles({name: imported(tree, SOURCES) - {name} for name, tree in SOURCES.items()}), CIRCLES)


def test_no_constructor_takes_more_than_seven_things() -> None:
    only({name for name, class_ in classes() if constructor_arguments(class_) > MAX_ARGUMENTS}, CROWDED)


def test_no_object_is_finished_after_its_constructor() -> None:
    only({f"{name}.{late}" for name, class_ in classes() for late in late_attributes(class_)}, LATE)


def test_no_file_is_long() -> None:
    files = [
        path
        for folder in ("ktstr_tui", "native", "tests", "scripts", "examples")
        for pattern in ("*.py", "*.c", "*.h")
        for path in (ROOT / folder).rglob(pattern)
    ]
    long = {str(path.relative_to(ROOT)) for path in files if path.read_text().count("\n") > MAX_LINES}
    only(long, LONG_FILES)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, set()),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, {("a", "b")}),
        ({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}}, {("a", "b", "c"), ("d", "e")}),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: set[tuple[str, ...]]) -> None:
    assert circles(graph) == expected


def test_imports_for_type_checking_count() -> None:
    tree = ast.parse(
        "if TYPE_CHECKING:\n    from a.b import C\ndef f():\n    from a import d\n    import a.e"
    )
    assert imported(tree, ["a", "a.b", "a.d", "a.e"]) == {"a.b", "a.d", "a.e"}


LATE_CLASS = """
class Late:
    def __init__(self, a, b, *, c):
        self._late: int | None = None
        self._open: int | None = None
        self._there: int = 3
    def use(self):
        assert self._late is not None
        assert self._there
"""


def test_late_attributes_and_arguments_are_found() -> None:
    class_ = ast.parse(LATE_CLASS).body[0]
    assert isinstance(class_, ast.ClassDef)
    assert late_attributes(class_) == {"_late"}
    assert constructor_arguments(class_) == 3
