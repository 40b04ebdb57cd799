"""What the guest tells of an operation: the bytes, and what they are taken for."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.stimulus import STIMULUS_KINDS
from ktstr_tui.wire.payloads import PayloadError
from ktstr_tui.wire.stimulus_payloads import STIMULUS_DETAIL_BYTES, StimulusApplied

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
KINDS = st.integers(1, len(STIMULUS_KINDS))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
GOOD = StimulusApplied(1500, 900, 0, 1, 2, STIMULUS_KINDS.index("freeze-cgroup") + 1)


@given(st.builds(StimulusApplied, U32, U32, U32, U16, U16, KINDS, TEXT))
def test_what_is_packed_is_what_is_unpacked(value: StimulusApplied) -> None:
    assert len(value.pack()) == 256
    assert StimulusApplied.unpack(value.pack()) == value


def test_what_became_of_it() -> None:
    assert (GOOD.kind_name, GOOD.outcome, GOOD.error_name) == ("freeze-cgroup", "done", "")
    busy = StimulusApplied(0, 0, errno.EBUSY, 0, 0, 2)
    assert (busy.kind_name, busy.outcome, busy.error_name) == ("remove-cgroup", "failed", "EBUSY")
    late = StimulusApplied(0, 0, errno.ECANCELED, 0, 0, 2)
    assert (late.outcome, late.error_name) == ("not-reached", "ECANCELED")
    assert StimulusApplied(0, 0, 2**31, 0, 0, 2).error_name == "error 2147483648"


def test_a_long_detail_is_cut_between_characters() -> None:
    packed = StimulusApplied(0, 0, 5, 0, 0, 1, "ü" * 200).pack()
    assert StimulusApplied.unpack(packed).detail == "ü" * (STIMULUS_DETAIL_BYTES // 2)


@pytest.mark.parametrize("kind", [0, len(STIMULUS_KINDS) + 1, 2**32 - 1])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(PayloadError, match=f"kind {kind} is not known"):
        StimulusApplied.unpack(StimulusApplied(0, 0, 0, 0, 0, kind).pack())


@given(st.binary(max_size=300))
def test_other_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        StimulusApplied.unpack(data)
    except PayloadError:
        return
    assert len(data) == 256
