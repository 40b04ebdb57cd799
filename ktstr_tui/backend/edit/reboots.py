"""The boots of a run: the guest is ended and booted again, and the run goes on with its name, stream and captures.

What is booted is looked up before the old guest is ended, so that a scheduler that cannot be booted leaves it running.
"""

from __future__ import annotations

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.edit.editor import watches_to_keep
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.prepare import Prepared, look_up_again
from ktstr_tui.capture.used_tags import UsedTags
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.control import ArmWatch
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import GuestRestarted


class Reboots:
    """Knows what the current boot is made of.

    Args:
        config: What was asked for.
        prepared: What the first boot is made of.
        stream: Knows the watches, and takes the word of a new boot.
        ending: How the run ends.
    """

    def __init__(self, config: RunConfig, prepared: Prepared, stream: Stream, ending: RunEnd) -> None:
        self.prepared = prepared
        """What the current boot is made of."""
        self.boot = 1
        """Number of the current boot."""
        self.names = UsedTags()
        """The names of captures, over all boots."""
        self.watches: tuple[ArmWatch, ...] = ()
        """To be armed in the current boot, because they were in the one before."""
        self._config, self._stream, self._ending = config, stream, ending
        self._next = prepared

    async def restart(self, reason: str) -> bool:
        """End this boot, so that another one begins; returns False when it ends already.

        Raises:
            UsageError: What is to be booted is not right any more, or the run is a rerun.
        """
        if self._config.again is not None:
            raise UsageError(
                "a rerun is one boot, as what it repeats is", "start another run with the same --seed"
            )
        if self._ending.outcome is not None:
            return False
        self._next = await look_up_again(self._config, self.prepared)
        of_scenario = [step.watch for step in self.prepared.scenario.steps if step.watch]
        self.watches = watches_to_keep(self._stream.state, of_scenario)
        return self._ending.restart(reason)

    def begin_again(self, reason: str) -> None:
        """The guest is gone: begin the next boot."""
        self.prepared = self._next
        self.boot += 1
        self._ending.again()
        self._stream.emit(GuestRestarted(boot=self.boot, reason=reason))
