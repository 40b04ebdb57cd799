"""Check JSON values against the committed schemas, strictly: a key that the schema does not name is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema


@cache
def validator(checkout: Path, name: str, part: str = "") -> Callable[[object], None]:
    """A function that raises ``AssertionError``, with the place, for a value that does not fit.

    Args:
        checkout: The directory of ``pyproject.toml``.
        name: Of the schema: ``event``, ``status``, …
        part: One of its ``$defs``, when the value is known to be that; much faster than a union of all.
    """
    schema = json.loads((checkout / f"docs/schemas/{name}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    checker = jsonschema.Draft202012Validator(_closed(schema))

    def check(value: object) -> None:
        error = jsonschema.exceptions.best_match(checker.iter_errors(value))
        assert error is None, f"{name}: {error.json_path}: {error.message}"

    return check


def _closed(schema: Any) -> Any:  # noqa: ANN401
    """The same schema, taking no key that it does not name."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _closed(part) for key, part in schema.items()}
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return parts | {"additionalProperties": False} if is_object else parts
