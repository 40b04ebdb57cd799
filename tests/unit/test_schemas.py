"""The JSON Schemas describe what is really written: values of every type are checked, with no key left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktstr_tui.backend.summary import summarize
from ktstr_tui.link.status import status_of
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import DegradedReport, DualReport
from ktstr_tui.model.state import RunState
from tests.docs.validation import validator
from tests.unit.link.strategies import EVENT_TYPES, structs, values

CHECKOUT = Path(__file__).resolve().parents[2]
FEW = settings(max_examples=8, deadline=None)


def plain(value: object) -> Any:  # noqa: ANN401
    return json.loads(msgspec.json.encode(value))


def with_right_schemas(value: Any) -> Any:  # noqa: ANN401
    """The same value; where the strategy put any text into the field ``schema``, with the one that is written."""
    if isinstance(value, list):
        return [with_right_schemas(part) for part in value]
    if not isinstance(value, dict):
        return value
    fields = {key: with_right_schemas(part) for key, part in value.items()}
    for schema, mark in (
        ("single", "runqueues"),
        ("degraded", "watchpoint_hit"),
        ("dual", "late_skipped_reason"),
    ):
        if mark in fields:
            fields["schema"] = schema
    return fields


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_is_as_its_schema_says(kind: type[msgspec.Struct]) -> None:
    check = validator(CHECKOUT, "event", kind.__name__)

    @FEW
    @given(structs(kind))
    def holds(event: msgspec.Struct) -> None:
        check(with_right_schemas(plain(event)))

    holds()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("capture-single", CaptureReport),
        ("capture-degraded", DegradedReport),
        ("capture-dual", DualReport),
    ],
)
def test_every_kind_of_capture_is_as_its_schema_says(name: str, kind: type[msgspec.Struct]) -> None:
    check = validator(CHECKOUT, name)

    @FEW
    @given(structs(kind))
    def holds(report: msgspec.Struct) -> None:
        check(with_right_schemas(plain(report)))

    holds()


@FEW
@given(st.lists(values(ev.Event), max_size=5))
def test_status_and_summary_are_as_their_schemas_say(events: list[ev.Event]) -> None:
    state = RunState()
    for number, event in enumerate(events, 1):
        fold(state, msgspec.structs.replace(event, seq=number))
    validator(CHECKOUT, "status")(plain(status_of(state)))
    validator(CHECKOUT, "summary")(plain(summarize(state)))


def test_an_event_is_told_by_its_type() -> None:
    check = validator(CHECKOUT, "event")
    event = plain(ev.Frozen(seq=1, mono_ns=2, reason="a viewer"))
    check(event)
    with pytest.raises(AssertionError):
        check(event | {"type": "frosted"})


def test_a_key_that_is_not_described_is_noticed() -> None:
    status: dict[str, Any] = dict(status_of(RunState()))
    validator(CHECKOUT, "status")(status)
    with pytest.raises(AssertionError, match="surprise"):
        validator(CHECKOUT, "status")(status | {"surprise": 1})
    with pytest.raises(AssertionError, match="seq"):
        validator(CHECKOUT, "status")({key: value for key, value in status.items() if key != "seq"})
