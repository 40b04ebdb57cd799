"""Make the JSON Schemas of docs/schemas from the types of what is written.

msgspec makes the schema of what it *reads*: a field with a default may be missing. What is *written* has every
field, so all are required here, except in structs that leave out their defaults. Strings under fields become
descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypedDict, get_type_hints

import msgspec

from ktstr_tui.capture.snapshots import BridgeEvent
from ktstr_tui.model import events, outputs, report, report_files
from tests.docs.source import field_docs

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class CapturesIndex(TypedDict):
    """The file captures.json: what a run leaves behind in the order in which it came."""

    captures: list[outputs.IndexLine]
    events: list[BridgeEvent]
    kernel_ops: list[IndexReply]


class IndexReply(TypedDict):
    """The answer to a kernel operation of the guest."""

    tag: str
    request_id: int
    success: bool
    reason: str
    read_values: list[Any]


ROOTS: Final[dict[str, tuple[str, Any]]] = {
    "event": ("One event of a run: a line of `ktstr-tui events --json`.", events.Event),
    "capture-single": ("A capture: NNN-TAG.json.", report.CaptureReport),
    "capture-degraded": ("A stop that failed: NNN-TAG.degraded.json.", report_files.DegradedReport),
    "capture-dual": (
        "The early and the late capture of a scheduler's end: NNN-TAG.dual.json.",
        report_files.DualReport,
    ),
    "captures-index": ("captures.json of a run.", CapturesIndex),
    "status": ("The object of `ktstr-tui status --json`.", outputs.RunStatus),
    "summary": ("The object of `ktstr-tui run --headless --json`.", outputs.Summary),
    "kernel-op": ("The object of `ktstr-tui op read|write --json`.", outputs.KernelOpResult),
}
"""Name of the schema, its description and the type."""
_SCHEMA_FIELD: Final = {
    "CaptureReport": report.SCHEMA,
    "DegradedReport": report_files.SCHEMA_DEGRADED,
    "DualReport": report_files.SCHEMA_DUAL,
}

_FILES: Final = ("capture-single", "capture-degraded", "capture-dual")
_CHECKSUM: Final = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
    "description": "SHA-256 of the other fields as compact JSON; missing in files of earlier versions.",
}


def schemas() -> dict[str, str]:
    """The text of each schema by its name."""
    return {name: json.dumps(make_schema(name), indent=2, ensure_ascii=False) + "\n" for name in ROOTS}


def make_schema(name: str) -> dict[str, Any]:
    """One of `ROOTS` as a JSON Schema."""
    description, kind = ROOTS[name]
    made, parts = _dual() if kind is report_files.DualReport else _components(kind)
    structs = {cls.__name__: cls for cls in _structs(msgspec.Struct)}
    for title, part in parts.items():
        _complete(title, part, structs.get(title))
        if name in _FILES and title in _SCHEMA_FIELD:
            part["properties"][report_files.CHECKSUM_FIELD] = _CHECKSUM
    return {"$schema": DIALECT, "title": name, "description": description, **made, "$defs": parts}


def _components(*kinds: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    made, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return made[0], parts


def _dual() -> tuple[dict[str, Any], dict[str, Any]]:
    # Its late capture is of one of two types that msgspec does not tell apart: show it one, and put in the other.
    cls = report_files.DualReport
    hints = get_type_hints(cls) | {"late": report.CaptureReport | None}
    fields = [(field.name, hints[field.name], field.default) for field in msgspec.structs.fields(cls)]
    shown = msgspec.defstruct(cls.__name__, fields, namespace={"__doc__": cls.__doc__}, kw_only=True)
    made, parts = _components(shown, report_files.DegradedReport)
    late = parts[cls.__name__]["properties"]["late"]
    late["anyOf"].insert(1, {"$ref": "#/$defs/DegradedReport"})
    return made, parts


def _complete(title: str, part: dict[str, Any], cls: type[msgspec.Struct] | None) -> None:
    properties: dict[str, Any] = part.get("properties", {})
    if cls is not None and not cls.__struct_config__.omit_defaults:
        part["required"] = list(properties)
    for name, text in (field_docs(cls) if cls else {}).items():
        if name in properties:
            properties[name]["description"] = text
    if title in _SCHEMA_FIELD:
        properties["schema"] = {"const": _SCHEMA_FIELD[title]}


def _structs(cls: type) -> Iterator[type[msgspec.Struct]]:
    child: type[msgspec.Struct]
    for child in cls.__subclasses__():
        if child.__module__.startswith("ktstr_tui."):
            yield child
        yield from _structs(child)
