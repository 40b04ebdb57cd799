"""What a machine may start from in place of a reset: RAM and state of an instant, of its boot or any later one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Paging(NamedTuple):
    """How a QEMU has its guest's RAM loaded when it is touched."""

    shim: Path
    """What it loads before its libraries."""
    link: int
    """Descriptor of the socket over which the shim hands the RAM over."""


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

    @property
    def paging(self) -> Paging | None:
        """How the RAM is loaded when it is touched; None when `copy_ram` fills it."""
        ...

    def copy_ram(self, ram_fds: Sequence[int]) -> None:
        """Fill empty RAM files. Blocks; raises ``OSError`` or `KtstrError`."""
        ...
