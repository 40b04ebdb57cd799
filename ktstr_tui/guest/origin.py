"""What a machine may start from in place of a reset: RAM and state of an instant, of its boot or any later one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Origin(Protocol):
    """An instant of a machine that was started with the same options.

    The RAM is filled before QEMU starts, by whatever means: a whole copy, or a source that gives pages when they are
    first touched.
    """

    @property
    def state(self) -> Path:
        """State of vCPUs and devices, for `machine_state.load_state`."""
        ...

    @property
    def console(self) -> bytes:
        """What the guest had printed until then."""
        ...

    def copy_ram(self, ram_fds: Sequence[int]) -> None:
        """Fill empty RAM files. Blocks; raises ``OSError`` or `KtstrError`."""
        ...
