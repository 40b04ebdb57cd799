"""What of a scheduler's object is refused before anything starts."""

from __future__ import annotations

import pytest

from ktstr_tui.backend.scheduler_ops import MAX_TIMEOUT_MS, require_timeouts, timeouts_ms
from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.model.errors import UsageError

FIFO_TIMEOUT_MS = 5000


def with_timeout(timeout_ms: int) -> bytes:
    """Return demo:fifo's object with another watchdog timeout."""
    content = guest_artifacts().demos["fifo"].read_bytes()
    old = FIFO_TIMEOUT_MS.to_bytes(4, "little")
    assert content.count(old) == 1
    return content.replace(old, timeout_ms.to_bytes(4, "little"))


def test_a_timeout_that_the_kernel_refuses_is_refused_with_the_limit() -> None:
    with pytest.raises(UsageError, match=r"mine: timeout_ms of fifo_ops is 30001, and .* at most 30000"):
        require_timeouts("mine", with_timeout(MAX_TIMEOUT_MS + 1))


@pytest.mark.parametrize("timeout_ms", [0, FIFO_TIMEOUT_MS, MAX_TIMEOUT_MS])
def test_a_timeout_that_the_kernel_takes_is_none_of_ours(timeout_ms: int) -> None:
    content = with_timeout(timeout_ms)
    assert timeouts_ms(content) == [("fifo_ops", timeout_ms)]
    require_timeouts("mine", content)


def test_an_object_that_cannot_be_read_is_left_to_libbpf() -> None:
    content = with_timeout(MAX_TIMEOUT_MS + 1)
    at = content.index(b"\x9f\xeb\x01\x00")
    damaged = content[:at] + b"\xff" * 4 + content[at + 4 :]
    with pytest.raises(BtfError):
        timeouts_ms(damaged)
    require_timeouts("mine", damaged)
