"""Read what the source says about the fields of a class: the strings below them, which Python does not keep.

``help()`` shows a class's docstring and forgets the string under a field. The generated pages need those strings, so
they are read from the source by `ast`, along the bases of the class.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from types import ModuleType


def field_docs(cls: type) -> dict[str, str]:
    """The string under each field or member of a class, bases included; fields without one are left out."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("ktstr_tui."):
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
            body = tree.body[0]
            if isinstance(body, ast.ClassDef):
                docs |= _strings_under(body.body)
    return docs


def constant_docs(module: ModuleType) -> dict[str, str]:
    """The string under each assignment of a module's top level."""
    return _strings_under(ast.parse(inspect.getsource(module)).body)


def class_doc(cls: type) -> str:
    """A class's own docstring up to its sections, in one line; empty without one."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    return one_line(re.split(r"\n\n(?:Args|Raises|Attributes):", text)[0])


def first_paragraph(text: str) -> str:
    """The first paragraph of a docstring in one line, without the marks of a literal block."""
    return one_line(inspect.cleandoc(text).split("\n\n")[0])


def one_line(text: str) -> str:
    """A docstring in one line of Markdown: ``code`` and `names` become `code`."""
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r"\s+", " ", text)).strip()


def _strings_under(body: Iterable[ast.stmt]) -> dict[str, str]:
    docs: dict[str, str] = {}
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names = [statement.target.id]
        elif isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        elif (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        ):
            docs |= {name: one_line(statement.value.value) for name in names}
            names = []
        else:
            names = []
    return docs
