"""Conditions on a cell: ``ejected``, ``alert``, or a comparison such as ``elapsed_ms < 3000 and "spin" in stalled``.

The expression has the form of Python's: comparisons of names, numbers and quoted texts, joined by and, or, not. Nothing
in it is called or evaluated but those. A value that is not there meets no comparison.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, Final

from ktstr_tui.cli.cells import Cell
from ktstr_tui.model.errors import UsageError

WORDS: Final = ("ejected", "alert", "none")
_FIELDS: Final = {it for it in Cell.__struct_fields__ if it not in ("capture", "name")}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
MAX_TEXT: Final = 500
Condition = Callable[[Cell], bool]


def parse_condition(text: str) -> Condition:
    """What is looked for.

    Raises:
        UsageError: It cannot be read.
    """
    if text == "ejected":
        return lambda cell: cell.exit_code == 1
    if text == "alert":
        return lambda cell: bool(cell.alerts)
    if text == "none":
        return lambda cell: False
    try:
        tree = ast.parse(text, mode="eval").body if len(text) <= MAX_TEXT else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or not _is_condition(tree):
        raise UsageError(
            f"--until {text!r} is not a condition",
            f"take ejected, alert, none, or compare {', '.join(sorted(_FIELDS))}: 'elapsed_ms < 3000'",
        )
    return lambda cell: _meets(tree, cell)


def _is_condition(node: ast.expr) -> bool:
    match node:
        case ast.BoolOp(values=values):
            return all(map(_is_condition, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_condition(operand)
        case ast.Compare(left=left, ops=ops, comparators=others):
            return all(type(it) in _COMPARE for it in ops) and all(map(_is_value, (left, *others)))
    return False


def _is_value(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float | str)
        case ast.Name(id=name):
            return name in _FIELDS
    return False


def _meets(node: ast.expr, cell: Cell) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_meets(it, cell) for it in values)
        case ast.BoolOp(values=values):
            return any(_meets(it, cell) for it in values)
        case ast.UnaryOp(operand=operand):
            return not _meets(operand, cell)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(it, cell) for it in (left, *others)]
            pairs = zip(values, ops, values[1:], strict=False)
            return all(_compare(one, op, other) for one, op, other in pairs)
    return False


def _compare(one: object, op: ast.cmpop, other: object) -> bool:
    try:
        return one is not None and other is not None and _COMPARE[type(op)](one, other)
    except TypeError:
        return False


def _value(node: ast.expr, cell: Cell) -> Any:  # noqa: ANN401
    if isinstance(node, ast.Constant):
        return node.value
    value = getattr(cell, node.id) if isinstance(node, ast.Name) else None
    return " ".join(value) if isinstance(value, tuple) else value
