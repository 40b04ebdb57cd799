"""The viewer against a real publisher: late joining, losses, restarts, silence, and the way over forwarded sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import trio

from ktstr_tui.link import framing
from ktstr_tui.link.source import Source
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import AddWatch, Capture, Command, Freeze, ListWatches, Reply, RunKernelOp
from ktstr_tui.model.errors import GuestError, HostError, UsageError
from ktstr_tui.wire.operator_keys import OperatorKey
from tests.unit.link.backend import PATIENCE_S, Backend, Looking, logs
from tests.unit.link.relay import Relay

ENDED = ev.RunEnded(exit_code=0, reason="ended as asked")


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario under asyncio."""
    asyncio.run(scenario)


def test_a_late_viewer_sees_all_and_ends_with_the_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            backend.emit(*logs("before", "it came"))
            viewer = Viewer(tmp_path / "run")
            source: Source = viewer
            assert source.connection == "connecting"
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                backend.emit(*logs("after"))
                await looking.until_seq(3)
                backend.emit(ENDED)
                await looking.until_end()
            assert viewer.connection == "ended"
            assert viewer.state == backend.stream.state
            assert [event.seq for event in looking.seen] == [3, 4]
            statistics = viewer.statistics()
            assert (statistics.snapshots, statistics.gaps, statistics.folded) == (1, 0, 2)
            assert (await viewer.command(Capture())).error is not None

    play(scenario())


def test_lost_events_are_noticed_fetched_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                backend.emit(*logs("1"))
                backend.emit_unheard(*logs("2", "3", "4"))
                backend.emit(*logs("5"))
                await looking.until_seq(5)
                assert [event.seq for event in looking.seen] == [1, 2, 3, 4, 5]
                statistics = viewer.statistics()
                assert (statistics.gaps, statistics.missing, statistics.healed) == (1, 3, 3)
                assert statistics.snapshots == 1
                assert viewer.state == backend.stream.state

    play(scenario())


def test_the_loss_of_the_last_event_is_noticed(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                backend.emit_unheard(*logs("1", "2"))
                await looking.until_seq(2)
                assert viewer.statistics().healed == 2
                assert viewer.state == backend.stream.state

    play(scenario())


def test_what_is_no_longer_kept_comes_as_a_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run", stream=Stream(recent_events=3)) as backend:
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                backend.emit_unheard(*logs(*"abcdefgh"))
                backend.emit(*logs("last"))
                await looking.until_seq(9)
                statistics = viewer.statistics()
                assert (statistics.healed, statistics.snapshots, statistics.missing) == (0, 2, 8)
                assert viewer.state == backend.stream.state

    play(scenario())


def test_ranges_longer_than_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_RANGE_EVENTS", 2)

    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            backend.emit(*logs(*"abcdefg"))
            async with Viewer(tmp_path / "run") as viewer:
                await viewer.connect()
                oldest, events = await viewer.fetch(1, 7)
                assert (oldest, [event.seq for event in events]) == (1, [1, 2, 3, 4, 5, 6, 7])

    play(scenario())


def test_a_restarted_backend_is_another_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        viewer = Viewer(tmp_path / "run")
        async with Looking(viewer) as looking:
            with Backend(tmp_path / "run") as first:
                first.emit(*logs(*"abc"))
                await looking.until_seq(3)
                await looking.until(lambda: viewer.connection == "live")
            await looking.until(lambda: viewer.connection == "gone")
            assert viewer.connection_reason == "the backend closed the connection"
            assert viewer.state == first.stream.state
            refused = await viewer.command(Capture())
            assert refused.error is not None
            assert (refused.error.message, refused.error.fault) == ("the backend is not connected", "host")
            with Backend(tmp_path / "run") as second:
                second.emit(*logs("other"))
                await looking.until(lambda: viewer.state == second.stream.state)
                await looking.until(lambda: viewer.connection == "live")
                second.emit(ENDED)
                await looking.until_end()
        seen = [connection for connection in looking.connections if connection != "connecting"]
        assert [connection for connection, _ in groupby(seen)] == ["live", "gone", "live", "ended"]

    play(scenario())


def test_nobody_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Viewer(tmp_path) as viewer:
            with pytest.raises(HostError, match="no run responds"):
                await viewer.connect(timeout_s=0.05)
            assert viewer.connection == "connecting"

    play(scenario())


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="107"):
        Viewer(tmp_path / ("x" * 120))


def test_commands_and_their_errors(tmp_path: Path) -> None:
    async def handle(command: Command) -> Reply:
        if command.name == "freeze":
            raise GuestError("no guest", "start one")
        await trio.lowlevel.checkpoint()
        assert isinstance(command.request, Capture)
        return command.done(tag=command.request.tag, by=command.viewer)

    async def scenario() -> None:
        with Backend(tmp_path / "run", handle):
            async with Viewer(tmp_path / "run", label="alice") as viewer:
                reply = await viewer.command(Capture(tag="t"))
                assert reply.result == {"tag": "t", "by": "alice"}
                error = (await viewer.command(Freeze())).error
                assert error is not None
                assert (error.message, error.hint, error.fault) == ("no guest", "start one", "guest")
                error = (await viewer.command(RunKernelOp(op={"tag": object()}))).error
                assert error is not None
                assert ("cannot be encoded" in error.message, error.fault) == (True, "bug")
                error = (await viewer.command(AddWatch(expression="x", length=2**64))).error
                assert error is not None
                assert (error.fault, error.message[:25]) == ("user", "watch.add cannot be sent:")

    play(scenario())


def test_a_command_whose_connection_breaks_does_not_wait_for_ever(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def handle(command: Command) -> Reply:
            loop.call_soon_threadsafe(started.set)
            await trio.sleep_forever()
            raise AssertionError

        with Backend(tmp_path / "run", handle) as backend:
            async with Viewer(tmp_path / "run") as viewer:
                asking = asyncio.create_task(viewer.command(Capture()))
                await started.wait()
                await asyncio.to_thread(backend.stop)
                error = (await asking).error
                assert error is not None
                assert error.message == "the connection broke before the reply arrived"

    play(scenario())


def test_lag_and_round_trip_are_known(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                assert viewer.statistics().lag_ms is None
                backend.emit(ev.BackendBeat(), ev.BackendBeat())
                await looking.until_seq(2)
                assert viewer.lag_ms is not None
                assert viewer.lag_ms >= 0
                assert viewer.lag_ms == viewer.statistics().lag_ms
                await looking.until(
                    lambda: viewer.rtt_ms is not None
                )  # a ping that came too late is asked again

    play(scenario())


def test_a_viewer_far_behind_skips_to_the_present(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = 10**12
        with Backend(tmp_path / "run", stream=Stream(clock=lambda: 10**12)) as backend:
            viewer = Viewer(tmp_path / "run", clock=lambda: now)
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                backend.emit(ev.BackendBeat())
                await looking.until_seq(1)
                now += 60 * 10**9
                backend.emit(*[ev.BackendBeat()] * 5)
                await looking.until(lambda: viewer.statistics().snapshots == 2)
                await looking.until_seq(6)
                assert viewer.state == backend.stream.state

    play(scenario())


def test_attach_over_forwarded_sockets(tmp_path: Path) -> None:
    async def scenario() -> None:
        far, near = tmp_path / "far", tmp_path / "near"
        near.mkdir()
        with Backend(far) as backend:
            backend.emit(*logs("before"))
            async with AsyncExitStack() as stack:
                for name in (framing.EVENTS_SOCKET, framing.CONTROL_SOCKET):
                    await stack.enter_async_context(Relay(near / name, far / name))
                viewer = Viewer(near / framing.CONTROL_SOCKET)
                looking = await stack.enter_async_context(Looking(viewer))
                await looking.until(lambda: viewer.connection == "live")
                for number in range(200):
                    backend.emit(*logs(f"{number}" * 100))
                await looking.until_seq(201)
                assert (await viewer.command(Capture())).result == {"did": "capture"}
                assert viewer.state == backend.stream.state
                assert viewer.statistics().missing == 0

    play(scenario())


def test_a_forwarding_that_breaks_and_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        far, near = tmp_path / "far", tmp_path / "near"
        near.mkdir()
        with Backend(far) as backend:
            viewer = Viewer(near)
            async with Looking(viewer) as looking:
                async with (
                    Relay(near / "events.sock", far / "events.sock"),
                    Relay(near / "control.sock", far / "control.sock"),
                ):
                    backend.emit(*logs("1"))
                    await looking.until_seq(1)
                    await looking.until(lambda: viewer.connection == "live")
                await looking.until(lambda: viewer.connection == "gone")
                backend.emit(*logs("2", "3"))
                for name in ("events.sock", "control.sock"):
                    (near / name).unlink(missing_ok=True)
                async with (
                    Relay(near / "events.sock", far / "events.sock"),
                    Relay(near / "control.sock", far / "control.sock"),
                ):
                    await looking.until_seq(3)
                    await looking.until(lambda: viewer.connection == "live")
                    assert [event.seq for event in looking.seen][-2:] == [2, 3]
                    assert viewer.statistics().healed == 2
                    assert viewer.state == backend.stream.state

    play(scenario())


def test_a_backend_that_falls_silent_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        far, near = tmp_path / "far", tmp_path / "near"
        near.mkdir()
        with Backend(far) as backend:
            viewer = Viewer(near, silence_s=0.05)
            async with (
                Relay(near / "events.sock", far / "events.sock") as events,
                Relay(near / "control.sock", far / "control.sock") as control,
                Looking(viewer) as looking,
            ):
                backend.emit(*logs("1"))
                await looking.until_seq(1)
                events.flowing.clear()
                control.flowing.clear()
                await looking.until(lambda: viewer.connection == "gone")
                assert viewer.connection_reason.startswith("no message")
                events.flowing.set()
                control.flowing.set()
                backend.emit(*logs("2"))
                await looking.until(lambda: viewer.connection == "live")
                await looking.until_seq(2)

    play(scenario())


@pytest.mark.parametrize(
    ("given", "events", "control"),
    [
        ("dir", "dir/events.sock", "dir/control.sock"),
        ("dir/events.sock", "dir/events.sock", "dir/control.sock"),
        ("dir/control.sock", "dir/events.sock", "dir/control.sock"),
        ("dir/lab-events.sock", "dir/lab-events.sock", "dir/lab-control.sock"),
        ("dir/lab-control.sock", "dir/lab-events.sock", "dir/lab-control.sock"),
    ],
)
def test_forms_of_a_path(tmp_path: Path, given: str, events: str, control: str) -> None:
    (tmp_path / "dir").mkdir()
    assert framing.socket_pair(tmp_path / given) == (tmp_path / events, tmp_path / control)
    assert framing.socket_pair((tmp_path / "a", tmp_path / "b")) == (tmp_path / "a", tmp_path / "b")


def test_a_viewer_with_the_key_of_an_operator_has_its_role(tmp_path: Path) -> None:
    async def controls(key: OperatorKey | None) -> bool:
        with Backend(tmp_path / "run", controllers=("ada",)):
            async with Viewer(tmp_path / "run", signer=key) as viewer:
                await viewer.connect()
                return viewer.controllable

    keys = [OperatorKey(name, bytes(32)) for name in ("ada", "obi")]
    assert [asyncio.run(controls(key)) for key in (None, *keys)] == [False, True, False]


def test_the_backend_knows_how_far_behind_its_slowest_viewer_is(tmp_path: Path) -> None:
    with Backend(tmp_path / "run") as backend:

        async def scenario() -> int | None:
            async with Viewer(tmp_path / "run") as viewer:
                following = asyncio.create_task(viewer.run(lambda events: None))
                async with asyncio.timeout(PATIENCE_S):
                    while backend.call(backend.publisher.statistics).lag_ms is None:
                        backend.emit(ev.BackendBeat())
                        await asyncio.sleep(0.05)
                following.cancel()
                return backend.call(backend.publisher.statistics).lag_ms

        assert asyncio.run(scenario()) is not None


def test_a_viewer_has_the_control_that_the_run_gives_and_it_was_made_with(tmp_path: Path) -> None:
    async def scenario(read_only: bool, may_control: bool) -> tuple[bool, str, bool]:
        with Backend(tmp_path / "run", may_control=may_control):
            async with Viewer(tmp_path / "run", read_only=read_only) as viewer:
                await viewer.connect()
                refused = (await viewer.command(Capture())).error
                looked = (await viewer.command(ListWatches())).ok
                return viewer.controllable, refused.message if refused else "", looked

    assert asyncio.run(scenario(False, True)) == (True, "", True)
    assert asyncio.run(scenario(True, True)) == (False, "capture is refused: attached read-only", True)
    observed, _, looked = asyncio.run(scenario(False, False))
    assert (observed, looked) == (False, True)
