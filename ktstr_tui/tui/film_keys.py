"""The keys of a recording that is played: speed, seek, a typed time, an event on and back, the next mark, and now.

On a run that is live they show its recording so far, from the backend's file, when that is on this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from ktstr_tui.link.replay import MAX_SPEED, MIN_SPEED, Replay
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.text.times import TypedTime
from ktstr_tui.tui.seek_dialog import SeekDialog
from ktstr_tui.tui.themed_app import ThemedApp

if TYPE_CHECKING:
    from ktstr_tui.model.events import Event

RECORDING_FILE = "recording.ktstr"


class FilmKeys(ThemedApp, inherit_bindings=False):
    """An app that plays recordings."""

    def paint(self) -> None:
        """Show what has changed since the last time."""
        raise NotImplementedError

    def action_pause(self) -> None:
        if (reel := self.view.reel) is not None:
            reel.toggle()
        else:
            self.view.toggle_pause()
        self.paint()

    def action_film_seek(self, seconds: float) -> None:
        reel = self._reel()
        if reel is not None:
            reel.seek_ms(reel.position_ms + seconds * 1e3)

    def action_film_time(self) -> None:
        """Ask which time to show."""
        if self.view.reel is not None or self._recorded() is not None:
            self.push_screen(SeekDialog(), self._show_time)

    def _show_time(self, wanted: TypedTime | None) -> None:
        reel = self._reel() if wanted is not None else None
        if wanted is None or reel is None:
            return
        position_ms, end_ms = wanted.from_start_ms(reel.position_ms), reel.duration_ms or 0.0
        reel.seek_ms(position_ms)
        if position_ms > end_ms:
            so_far = " so far" if self.view.film is not None else ""
            self.say(f"The recording{so_far} ends at +{end_ms / 1e3:.2f} s; that is shown.")
        elif position_ms < 0:
            self.say("That is before the recording; its start is shown.")

    def action_film_event(self, step: int) -> None:
        reel = self._reel()
        if reel is not None:
            reel.pause()
            reel.seek_event(reel.state.seq + step)

    def action_film_moment(self, step: int) -> None:
        reel = self._reel()
        if reel is None:
            return
        reel.pause()
        if not reel.seek_moment(step):
            self.say("No later moment is known." if step > 0 else "No earlier moment is known.")

    def action_film_speed(self, step: int) -> None:
        reel = self._reel()
        if reel is not None:
            reel.set_speed(max(MIN_SPEED, min(MAX_SPEED, reel.speed * (2.0 if step > 0 else 0.5))))
            self.say(f"Playing at {reel.speed:g} times the speed.", about="speed")

    def action_film_now(self) -> None:
        if self.view.film is not None:
            self.view.film = None
            self.workers.cancel_group(self, "film")
            self.paint()
        elif self.view.reel is not None and self.view.reel.duration_ms is not None:
            self.view.reel.seek_ms(self.view.reel.duration_ms)

    def _reel(self) -> Replay | None:
        """The recording that is played; that of the live run so far is opened for it."""
        if self.view.reel is not None:
            return self.view.reel
        if self.view.connection == "still":
            self.say("One instant is shown: there is no earlier or later one.", "warning")
            return None
        path = self._recorded()
        if path is None:
            return None
        try:
            film = Replay(path, stays=True)
        except KtstrError as problem:
            self.say(f"{problem.message}. {problem.hint}", "error")
            return None
        film.pause()
        film.seek_ms(film.duration_ms or 0.0)
        self.view.film = film
        self._play(film)
        return film

    def _recorded(self) -> Path | None:
        """The recording of the live run; None, and a message, when it is not on this machine."""
        info = self.view.source.state.info
        path = Path(info.data_dir or "/nonexistent") / RECORDING_FILE if info is not None else None
        if path is None or not path.is_file():
            self.say("The recording of this run is not on this machine, so only now can be shown.", "warning")
            return None
        return path

    @work(exclusive=True, group="film", exit_on_error=False)
    async def _play(self, film: Replay) -> None:
        await film.run(self._on_film)

    def _on_film(self, batch: list[Event]) -> None:
        """The paint clock looks."""
