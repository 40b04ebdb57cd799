"""A viewer and a backend of different versions: each names the other at once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from ktstr_tui import __version__
from ktstr_tui.link import catch_up, publisher, requests
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.commands import Command, Freeze, Reply
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.state import RunState
from ktstr_tui.wire import codec, layout
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


LATER = "0.2.0 deadbeef"


@pytest.mark.parametrize("decodable", [True, False], ids=["a field more", "a field of another type"])
def test_a_backend_with_other_messages_is_named_though_the_version_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodable: bool
) -> None:
    def newer(reply: Reply) -> bytes:
        plain = msgspec.to_builtins(reply) | {"layout": LATER, "new_field": 1}
        if not decodable:
            plain["seq"] = "nine"
        return bytes([codec.VERSION]) + msgspec.msgpack.encode(plain)

    monkeypatch.setattr(publisher, "encode_reply", newer)

    async def scenario() -> None:
        with Backend(tmp_path / "run"):
            async with Viewer(tmp_path / "run") as viewer:
                with pytest.raises(UsageError, match="of another version of ktstr-tui") as error:
                    await viewer.connect(timeout_s=1000)
                assert f"a reply has the layout of ktstr-tui '{LATER}'" in error.value.message
                assert error.value.hint == "use the same version of ktstr-tui on both sides"

    play(scenario())


@pytest.mark.parametrize("decodable", [True, False], ids=["known request", "unknown request"])
def test_a_viewer_with_other_messages_is_named_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodable: bool
) -> None:
    def newer(command: Command) -> bytes:
        plain = msgspec.to_builtins(command) | {"layout": LATER}
        if not decodable:
            plain["request"] = {"name": "a-request-to-come"}
        return bytes([codec.VERSION]) + msgspec.msgpack.encode(plain)

    monkeypatch.setattr(requests, "encode_command", newer)

    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            async with Viewer(tmp_path / "run") as viewer:
                reply = await viewer.command(Freeze())
                assert reply.error is not None
                assert f"a command has the layout of ktstr-tui '{LATER}'" in reply.error.message
                assert layout.layout() in reply.error.message
            assert backend.statistics().bad_requests["another version"] >= 1
            (line,) = backend.stream.state.log
            assert "a viewer of another version of ktstr-tui cannot attach" in line.text

    play(scenario())


def test_a_program_that_names_no_layout_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "layout", lambda: "")

    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            async with Viewer(tmp_path / "run") as viewer:
                await viewer.connect()
                assert (await viewer.command(Freeze())).ok
            assert not backend.statistics().bad_requests

    play(scenario())


def test_a_layout_is_made_of_fields_and_not_of_words() -> None:
    class First(msgspec.Struct):
        """One."""

        a: int

    class Second(msgspec.Struct):
        a: int
        b: str = ""

    one, two = layout.digest(First), layout.digest(Second)
    assert one != two
    First.__doc__ = "Other words."
    assert layout.digest(First) == one
    assert layout.layout() == layout.layout()
    assert layout.layout().startswith(__version__)


def test_a_layout_is_made_of_all_that_messages_are_made_of() -> None:
    roots = (Event, RunState, Command, Reply)
    schemas = {name.rpartition(".")[2] for name in msgspec.json.schema_components(roots)[1]}
    found, waiting = set[str](), list[Any](roots)
    while waiting:
        part = waiting.pop()
        if repr(part) not in found:
            found.add(repr(part))
            waiting += layout._made_of(part)
    named = {text.rpartition(".")[2].rstrip("'>") for text in found}
    assert schemas <= named


def test_a_layout_changes_with_a_value_and_with_a_bound() -> None:
    class Colour(enum.Enum):
        RED = "red"

    class Other(enum.Enum):
        RED = "rot"

    Other.__qualname__, Other.__module__ = Colour.__qualname__, Colour.__module__
    assert layout.digest(Colour) != layout.digest(Other)
    short, long = (Annotated[str, msgspec.Meta(max_length=at)] for at in (8, 9))
    assert layout.digest(short) != layout.digest(long)


def test_what_answers_and_is_no_run_is_not_called_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(frame: bytes) -> RunState:
        raise codec.CodecError("a state cannot be decoded")

    monkeypatch.setattr(catch_up, "decode_state", nonsense)

    async def scenario() -> None:
        with Backend(tmp_path / "run"):
            async with Viewer(tmp_path / "run") as viewer:
                # The first answer may take long on a busy host; none that can be read ever comes.
                while not viewer.statistics().undecodable:
                    with pytest.raises(HostError) as error:
                        await viewer.connect(timeout_s=0.3)
                assert "sends nothing that can be read as the state of a run" in error.value.message

    play(scenario())
