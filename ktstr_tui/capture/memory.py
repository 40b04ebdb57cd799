"""The guest's memory by type, from the moment at which it can be read."""

from __future__ import annotations

from ktstr_tui.kernel.view import KernelView


class TypedMemory:
    """Holds the typed view once there is one; shared by all that look at the guest.

    The guest boots for seconds before its kernel can be read. What is made before that holds this object and finds
    None in it meanwhile.

    Args:
        view: The view, when there is one already.
    """

    def __init__(self, view: KernelView | None = None) -> None:
        self._view = view

    @property
    def view(self) -> KernelView | None:
        """The view; None until memory is readable by type."""
        return self._view

    def publish(self, view: KernelView) -> None:
        """Let everybody read memory by type from now on."""
        self._view = view
