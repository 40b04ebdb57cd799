"""What the guest says of its kernel's place, against what memory says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ktstr_tui.kernel.address import KERNEL_HALF
from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.port.claims import LINK_TEXT, MAX_SLIDE, KernelClaims
from ktstr_tui.wire.messages import KernAddrs

TEXT = LINK_TEXT + 0x1C00_0000
PHYS_BASE = 0x3A00_0000
SPACE = SimpleNamespace(image_shift=PHYS_BASE - START_KERNEL_MAP)


class Claims:
    """Claims, and what was told of them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.claims = KernelClaims(self.events.append)

    def told(self) -> list[tuple[str, str]]:
        return [(it.severity, it.text) for it in self.events if isinstance(it, Logged)]


@pytest.fixture
def it() -> Claims:
    return Claims()


@pytest.mark.parametrize("memory_first", [False, True])
def test_a_claim_that_is_true_is_silent(it: Claims, memory_first: bool) -> None:
    claim = KernAddrs(PHYS_BASE, None, TEXT)
    if memory_first:
        it.claims.found(TEXT, SPACE)
    it.claims.take(claim)
    if not memory_first:
        it.claims.found(TEXT, SPACE)
    it.claims.take(claim)
    assert it.told() == []
    assert (it.claims.slide, it.claims.refused) == (0x1C00_0000, 0)


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (KernAddrs(PHYS_BASE, None, TEXT + 0x20_0000), "_text"),
        (KernAddrs(PHYS_BASE + 1, None, TEXT), "phys_base"),
    ],
)
def test_a_claim_that_memory_contradicts_is_an_error(it: Claims, claim: KernAddrs, word: str) -> None:
    it.claims.take(claim)
    it.claims.found(TEXT, SPACE)
    ((severity, text),) = it.told()
    assert severity == "error"
    assert word in text


@pytest.mark.parametrize("text", [0, KERNEL_HALF - 1, KERNEL_HALF, LINK_TEXT - 1, LINK_TEXT + MAX_SLIDE + 1])
def test_a_place_where_no_kernel_can_be_is_refused_and_the_next_claim_counts(it: Claims, text: int) -> None:
    it.claims.take(KernAddrs(None, None, text))
    it.claims.take(KernAddrs(None, None, LINK_TEXT + MAX_SLIDE))
    assert (it.claims.refused, it.claims.slide) == (1, MAX_SLIDE)
    assert [severity for severity, _ in it.told()] == ["warning"]


def test_the_first_claim_stays_and_others_are_counted_but_told_once(it: Claims) -> None:
    it.claims.take(KernAddrs(None, None, TEXT))
    for slide in range(5):
        it.claims.take(KernAddrs(None, None, LINK_TEXT + slide))
    assert (it.claims.refused, it.claims.slide) == (5, 0x1C00_0000)
    assert len(it.told()) == 1


def test_what_the_guest_does_not_know_is_not_compared(it: Claims) -> None:
    it.claims.take(KernAddrs(None, None, None))
    it.claims.found(TEXT, SPACE)
    assert it.told() == []
    assert it.claims.slide is None
