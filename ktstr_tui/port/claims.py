"""Where the guest says that its kernel is, held against where memory says it is.

The guest program reads ``_text`` from /proc/kallsyms and sends it before it says that it is up. The host finds the
kernel by itself (see `kernel.vmcoreinfo`) and believes memory alone, so a claim moves nothing. But the two come by
different ways, and when they differ one of them is wrong: a lying guest, or a note of another kernel that was taken for
this one's. Then everything shown may be of the wrong addresses, so it is reported as an error.

The first claim that can be true counts. One that cannot (an address of user space, a slide that no kernel image
has room for) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP
from ktstr_tui.model.events import Event, Logged, Severity
from ktstr_tui.wire.messages import KernAddrs

LINK_TEXT = 0xFFFF_FFFF_8100_0000
"""Of ``_text`` without KASLR, on x86-64."""
MAX_SLIDE = 1 << 30
"""What ``RANDOMIZE_BASE_MAX_OFFSET`` allows."""


class Found(Protocol):
    """What memory says of the same things."""

    @property
    def image_shift(self) -> int:
        """What is added to an address of the image to get the guest-physical one."""
        ...


class KernelClaims:
    """Takes claims and checks the first.

    Args:
        emit: Takes events.
    """

    def __init__(self, emit: Callable[[Event], object]) -> None:
        self.refused = 0
        """Claims that cannot be true, or that contradict the first."""
        self.slide: int | None = None
        """How far KASLR moved the kernel, in bytes, as the guest claims."""
        self._emit = emit
        self._claim: KernAddrs | None = None
        self._found: tuple[int | None, int | None] | None = None

    def drops(self) -> dict[str, int]:
        """Return the claims that were refused."""
        return {"claims-refused": self.refused}

    def take(self, claim: KernAddrs) -> None:
        """Take a claim of the guest."""
        if self._claim is not None:
            if claim != self._claim:
                self._refuse("the guest reports another kernel address than before")
            return
        text = claim.text_kva
        if text is not None and not 0 <= text - LINK_TEXT <= MAX_SLIDE:
            self._refuse(
                f"the guest reports its kernel's _text at {text:#x}, which is not a possible address"
            )
            return
        self._claim = claim
        self.slide = None if text is None else text - LINK_TEXT
        self._compare()

    def found(self, text: int | None, space: Found) -> None:
        """Memory is readable: ``text`` is the address of ``_text`` there."""
        self._found = text, space.image_shift + START_KERNEL_MAP
        self._compare()

    def _compare(self) -> None:
        if self._claim is None or self._found is None:
            return
        text, phys_base = self._found
        for what, claimed, real in (
            ("_text", self._claim.text_kva, text),
            ("phys_base", self._claim.phys_base, phys_base),
        ):
            if claimed is not None and real is not None and claimed != real:
                words = f"the guest reports {what} {claimed:#x}, its memory shows {real:#x}; using the value in memory"
                self._say("error", words)

    def _refuse(self, text: str) -> None:
        self.refused += 1
        if self.refused == 1:
            self._say("warning", f"{text}; further reports are only counted")

    def _say(self, severity: Severity, text: str) -> None:
        self._emit(Logged(severity=severity, source="kernel", text=text))
