"""A backend without a guest, in a thread with its own trio loop, for viewers under asyncio to look at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import trio

from ktstr_tui.link.publisher import open_publisher
from ktstr_tui.link.publisher_statistics import PublisherStatistics
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Reply

PATIENCE_S = 60.0
"""Only a hang takes this long."""

_T = TypeVar("_T")


async def accept(command: Command) -> Reply:
    """A handler that does nothing, well."""
    return command.done(did=command.name)


class Backend:
    """A stream and its publisher."""

    def __init__(
        self,
        socket_dir: Path,
        handle: Callable[[Command], Awaitable[Reply]] = accept,
        stream: Stream | None = None,
        *,
        may_control: bool = True,
        controllers: tuple[str, ...] | None = None,
    ) -> None:
        self.stream = stream or Stream()
        self._socket_dir, self._handle, self._may_control = socket_dir, handle, may_control
        self._controllers = controllers
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            async with open_publisher(
                self.stream,
                self._socket_dir,
                self._handle,
                may_control=self._may_control,
                controllers=self._controllers,
            ) as self.publisher:
                self._ready.set()
                await trio.sleep_forever()

    def __enter__(self) -> Backend:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def call(self, function: Callable[[], _T]) -> _T:
        """Run ``function`` in the backend's thread."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def emit(self, *events: ev.Event) -> None:
        """Put events on the stream, one after the other."""
        self.call(lambda: [self.stream.emit(event) for event in events])

    def emit_unheard(self, *events: ev.Event) -> None:
        """Put events on the stream that no viewer is sent."""
        sink = self.publisher.publish

        def emit() -> None:
            self.stream.remove_sink(sink)
            for event in events:
                self.stream.emit(event)
            self.stream.add_sink(sink)

        self.call(emit)

    async def wait_viewers(self, count: int) -> None:
        """Wait until so many viewers are connected, under asyncio."""

        async def wait() -> None:
            with trio.fail_after(PATIENCE_S):
                await self.publisher.wait_viewers(count)

        await asyncio.to_thread(lambda: trio.from_thread.run(wait, trio_token=self._token))

    def statistics(self) -> PublisherStatistics:
        """The publisher's counts."""
        return self.call(self.publisher.statistics)

    def stop(self) -> None:
        """End the publisher and wait for the thread."""
        if self._thread.is_alive():
            self.call(self._scope.cancel)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()


def logs(*texts: str) -> list[ev.Event]:
    """Log lines."""
    return [ev.Logged(severity="info", source="test", text=text) for text in texts]


class Looking:
    """A viewer that runs in the background, and waits for what it should see."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.seen: list[ev.Event] = []
        self.connections: list[str] = []
        self._changed = asyncio.Event()

    def _on_events(self, events: Sequence[ev.Event]) -> None:
        self.seen.extend(events)
        if self.viewer.connection not in self.connections[-1:]:
            self.connections.append(self.viewer.connection)
        self._changed.set()

    async def __aenter__(self) -> Looking:
        self.task = asyncio.create_task(self.viewer.run(self._on_events))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, looking again at every notification."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the viewer has ended")
                self._changed.clear()
                await self._changed.wait()

    async def until_seq(self, seq: int) -> None:
        """Wait until the event ``seq`` was folded."""
        await self.until(lambda: self.viewer.state.seq >= seq)

    async def until_end(self) -> None:
        """Wait until the viewer has ended by itself."""
        async with asyncio.timeout(PATIENCE_S):
            await self.task
