"""A viewer and a backend of different versions: each names the other at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktstr_tui.link import publisher, requests
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.commands import Command, Freeze, Reply
from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire import codec
from tests.unit.link.backend import Backend, Looking
from tests.unit.link.test_viewer import play


@pytest.fixture
def another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies of a backend leave in a version of the format that is not ours."""

    def newer(reply: Reply) -> bytes:
        return bytes([codec.VERSION + 1]) + codec.encode_reply(reply)[1:]

    monkeypatch.setattr(publisher, "encode_reply", newer)


@pytest.mark.usefixtures("another_version")
def test_a_backend_of_another_version_is_named_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            async with Viewer(tmp_path / "run") as viewer:
                with pytest.raises(
                    UsageError, match=f"is in version {codec.VERSION + 1} of the format"
                ) as error:
                    await viewer.connect(timeout_s=1000)
                assert error.value.hint == "use the same version of ktstr-tui on both sides"
                reply = await viewer.command(Freeze())
                assert reply.error is not None
                assert (reply.error.fault, "another version" in reply.error.message) == ("user", True)
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: "another version" in viewer.connection_reason)
                assert viewer.connection == "connecting"
            assert not backend.statistics().bad_requests

    play(scenario())


def test_a_viewer_of_another_version_is_named_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(command: Command) -> bytes:
        return bytes([codec.VERSION + 1]) + codec.encode_command(command)[1:]

    monkeypatch.setattr(requests, "encode_command", newer)

    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            async with Viewer(tmp_path / "run") as viewer:
                for _ in range(3):
                    reply = await viewer.command(Freeze())
                    assert reply.error is not None
                    assert f"version {codec.VERSION + 1} of the format" in reply.error.message
            assert backend.statistics().bad_requests["another version"] >= 3
            (line,) = backend.stream.state.log
            assert (line.severity, line.source) == ("warning", "link")
            assert "a viewer of another version of ktstr-tui cannot attach" in line.text

    play(scenario())
