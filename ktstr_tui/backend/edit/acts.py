"""What may be asked of a run about its scheduler's source: a build, and a new boot."""

from __future__ import annotations

from ktstr_tui.backend.edit.editor import Editor
from ktstr_tui.backend.edit.reboots import Reboots
from ktstr_tui.model.commands import Changed
from ktstr_tui.model.control import BuildScheduler, RestartGuest
from ktstr_tui.model.errors import UsageError


class EditActs:
    """Carries out actions about the source.

    Args:
        editor: Builds; None in a run that builds nothing.
        reboots: Boots again.
    """

    def __init__(self, editor: Editor | None, reboots: Reboots) -> None:
        self._editor, self._reboots = editor, reboots

    async def act(self, action: BuildScheduler | RestartGuest) -> Changed:
        """Do it.

        Raises:
            UsageError: This run builds nothing, or what is to be booted is not right.
        """
        if isinstance(action, RestartGuest):
            return Changed(changed=await self._reboots.restart(action.reason))
        if self._editor is None:
            raise UsageError("this run builds nothing", "start it with --build or --watch-file")
        rebuilder = self._editor.rebuilder
        return Changed(changed=rebuilder.cancel() if action.cancel else rebuilder.ask("asked"))
