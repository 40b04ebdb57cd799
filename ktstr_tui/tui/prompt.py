"""drgn's prompt on what the screen shows: the screen goes away, the prompt has the terminal, and the screen comes back.

Meanwhile the source is followed as before, for the event loop goes on: a prompt that is open for an hour loses no event
and costs the run nothing. Only painting waits, since Textual has no terminal to write to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

from textual import work
from textual.app import SuspendNotSupported

from ktstr_tui.text.lines import clean
from ktstr_tui.text.output import say
from ktstr_tui.tui.going_back import BackApp
from ktstr_tui.tui.memory_shown import memory_shown
from ktstr_tui.tui.report_screen import ReportScreen


class PromptApp(BackApp, inherit_bindings=False):
    """An app that can make room for drgn's prompt."""

    prompting = False
    """Whether the terminal is the prompt's: ctrl+c is for it then."""

    def action_prompt(self) -> None:
        """Open the prompt, or say why there is none."""
        capture = self.screen.capture if isinstance(self.screen, ReportScreen) else None
        found = memory_shown(self.view, capture)
        if isinstance(found, str):
            self.say(found, "warning")
        elif not self.prompting:
            self.prompting = True
            self._prompt(os.path.abspath(found))

    @work(group="prompt", exit_on_error=False)
    async def _prompt(self, memory: str) -> None:
        words = [sys.executable, "-m", "ktstr_tui", "drgn", memory]
        try:
            # In a batch Textual writes nothing until its end, and writing is all that could go wrong meanwhile.
            with self.batch_update():
                await self._give_terminal(words)
        except SuspendNotSupported:
            self.say("There is no terminal for a prompt here.", "warning")
        except OSError as error:
            self.say(f"drgn did not start: {clean(str(error))}", "error")
        finally:
            self.prompting = False
        self.refresh(layout=True)

    async def _give_terminal(self, words: list[str]) -> None:
        """Run a program in the terminal; when it failed its last words stay until enter.

        Raises:
            OSError: It does not start.
            SuspendNotSupported: There is no terminal.
        """
        # Textual would stop this process by ctrl+z even where no shell is there to continue it; the kernel does not.
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        stopped: BaseException | None = None
        try:
            with self.suspend():
                try:
                    await _run(words)
                except (OSError, asyncio.CancelledError) as error:
                    stopped = error  # raised when the terminal is the screen's again
        finally:
            signal.signal(signal.SIGTSTP, handler)
        if stopped is not None:
            raise stopped


async def _run(words: list[str]) -> None:
    say("ctrl+d returns to the screen")
    process = await asyncio.create_subprocess_exec(*words)
    try:
        code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
    if code:
        say("enter returns to the screen")
        await _enter()


async def _enter() -> None:
    """Wait until a line was typed; the event loop goes on meanwhile."""
    loop, came, terminal = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()
    loop.add_reader(terminal, came.set)
    try:
        await came.wait()
        os.read(terminal, 4096)
    finally:
        loop.remove_reader(terminal)
