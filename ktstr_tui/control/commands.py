"""The commands of a run; the values live in the model, where the link can read them too."""

from __future__ import annotations

from ktstr_tui.model.commands import LINK_COMMANDS, RUN_COMMANDS, Command, Failure, Reply

__all__ = ["LINK_COMMANDS", "RUN_COMMANDS", "Command", "Failure", "Reply"]
