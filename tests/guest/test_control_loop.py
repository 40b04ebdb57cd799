"""The control loop of a real run: what it decided is decided again from the recording, and chaos does not end it."""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.backend.run_dirs import RunDirs, take_place
from ktstr_tui.backend.session import Session, run_backend
from ktstr_tui.cli.attach import KEY_VARIABLE
from ktstr_tui.control.audit_chain import AUDIT_FILE
from ktstr_tui.control.probes import InThread
from ktstr_tui.control.replay import emitted_by_tick, replay
from ktstr_tui.link.recfile import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Capture, Command
from ktstr_tui.model.control import ApplyBackoff, AttachScheduler, PendingAction, ResumeWatch
from ktstr_tui.model.errors import HostError
from ktstr_tui.wire.operator_keys import write_operator_key
from tests.guest.runs import HeadlessRun, call, call_json, headless_run

pytestmark = pytest.mark.guest
CRASHES = 5
SAMPLES = 20
"""So many are seen before the kill that some of them are on disk."""
CONFIG = RunConfig(scenario="tour", captures=3, duration_s=20.0)


def decided_again(recorded: list[ev.Event]) -> int:
    """Fold a recording again and compare state and actions; returns the number of ticks."""
    emitted, ticks = emitted_by_tick(recorded), 0
    for tick in replay(recorded):
        ticks += 1
        assert tick.same_state, tick.tick
        assert [(it.id, msgspec.msgpack.encode(it.action)) for it in tick.actions] == emitted[tick.tick]
    return ticks


class Raises:
    name, every_s = "raises", 0.0

    async def read(self) -> Mapping[str, float | None]:
        raise RuntimeError("chaos")


def _hang() -> Mapping[str, float | None]:
    time.sleep(3600)  # in a thread that is left behind
    return {}


class Chaos(Session):
    """A run in which probes raise and hang, the dispatcher fails at times, and the loop's queue is flooded."""

    def upset(self) -> None:
        control = self._control
        control.loop.probes.install(Raises())
        control.loop.probes.install(InThread("hangs", 0.0, _hang))
        dispatcher = control.executor._dispatcher
        dispatch = dispatcher.dispatch

        async def failing(pending: PendingAction) -> Any:  # noqa: ANN401
            if isinstance(pending.action, ResumeWatch):
                raise ZeroDivisionError("chaos")
            return await dispatch(pending)

        dispatcher.dispatch = failing  # type: ignore[method-assign]

    async def torment(self) -> None:
        desk, stream = self._control.desk, self.stream
        running = trio.Event()

        def look(event: ev.Event, data: bytes) -> None:
            if isinstance(event, ev.StepStarted):
                running.set()

        stream.add_sink(look)
        await running.wait()
        for _ in range(5000):
            stream.emit(ev.Logged(severity="info", source="chaos", text="flood"))
        for slot in range(1, 5):
            with pytest.raises(Exception, match="chaos"):
                await desk.ask("chaos", ResumeWatch(slot=slot))
        reply = await desk.serve(Command(id=1, request=Capture(tag="after-chaos")))
        reply.raise_for_error()


async def test_probes_that_raise_and_hang_a_failing_dispatcher_and_a_full_queue_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    prepared = await prepare(CONFIG, lambda line: None)
    with take_place("chaos", "tour") as place:
        session = Chaos(CONFIG, prepared, place)
        session.upset()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.torment)
            state = await session.run(lambda place: None, ExitStack())
            nursery.cancel_scope.cancel()
        recorded = list(read_recording(place.data_dir / "recording.ktstr"))
    assert state.ended is not None
    assert state.control.broken_probes["raises"] == "RuntimeError: chaos"
    assert state.control.broken_probes["hangs"]
    assert state.control.events_lost > 0
    assert state.drops["executor.action-failed: watch-resume"] == 4
    assert any(it.report.tag == "after-chaos" for it in state.captures)
    assert state.control.open == {}
    assert decided_again(recorded) > 100


async def test_a_run_that_does_not_begin_leaves_nothing_and_an_earlier_one_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    earlier, elsewhere = tmp_path / "earlier", tmp_path / "elsewhere.ktstr"
    earlier.mkdir()
    (earlier / "recording.ktstr").write_text("the earlier run")
    tries = [
        msgspec.structs.replace(CONFIG, name="one"),
        msgspec.structs.replace(CONFIG, name="one", record=str(elsewhere)),
        msgspec.structs.replace(CONFIG, name="one", run_dir=str(earlier)),
    ]

    def unready(place: RunDirs) -> None:
        assert (place.data_dir / "recording.ktstr").exists() != elsewhere.exists(), "it has come far"
        raise HostError("viewers cannot be told")

    for config in tries:
        with pytest.raises(HostError, match="viewers cannot be told"):
            await run_backend(config, lambda line: None, unready)
        assert list((tmp_path / "ktstr-tui/runs").iterdir()) == []
        assert not elsewhere.exists()
    assert [it.name for it in earlier.iterdir()] == ["recording.ktstr"]
    assert (earlier / "recording.ktstr").read_text() == "the earlier run"


def killed(tmp_path: Path) -> HeadlessRun:
    """A run that takes what ada and ben sign; its kernel is written to, and then its backend is killed."""
    keys = {name: tmp_path / f"{name}.toml" for name in ("ada", "ben")}
    listed = tmp_path / "operators.toml"
    listed.write_text("".join(write_operator_key(path, name).listed() for name, path in keys.items()))
    signing = ("--operators", str(listed), "--require-operators", "2", "--allow-writes")
    with headless_run(tmp_path, "--no-seed", "--scheduler", "demo:fifo", *signing, name="killed") as run:
        samples = run.events("sample")
        assert len(list(islice(samples, SAMPLES))) == SAMPLES
        proposal = str(tmp_path / "proposal.json")
        ada, ben = ({**run.env, KEY_VARIABLE: str(path)} for path in keys.values())
        unsigned = call("freeze", run.name, env=run.env)
        assert (unsigned.returncode, "wants signed commands" in unsigned.stderr) == (2, True)
        assert call("freeze", run.name, env=ada).returncode == 0
        assert call("thaw", run.name, env=ben).returncode == 0
        assert call("op", "write", "panic_timeout=55", env=ada).returncode == 2
        proposed = call("operator", "propose", proposal, "--write", "panic_timeout=55", env=ada)
        assert "affects panic_timeout at 0xffffffff" in proposed.stdout
        assert ": 4 bytes, becomes 55 (0x37)" in proposed.stdout
        assert call("operator", "sign", proposal, env=ben).returncode == 0
        assert call("operator", "submit", proposal, env=run.env).returncode == 0
        assert call_json("op", "read", "panic_timeout", env=ada)["entries"][0]["before"] == 55
        run.process.send_signal(signal.SIGKILL)
        samples.close()  # type: ignore[attr-defined]
    return run


def check_back_off(recorded: list[ev.Event], ejections: int) -> None:
    """The waits double, and the fifth crash in a minute is held with its reason."""
    emitted = [it for it in recorded if isinstance(it, ev.ActionChanged) and it.disposition == "emitted"]
    applied = [it.action for it in emitted if isinstance(it.action, ApplyBackoff)]
    crashes = [
        it.mono_ns for it in recorded if isinstance(it, ev.SchedulerChanged) and it.change == "ejected"
    ]
    assert ejections == len(crashes)
    waits = [(it.until_ns - at) / 1e9 for it, at in zip(applied, crashes, strict=False)]
    assert [round(it, 1) for it in waits[:4]] == [0.5, 1, 2, 4]
    # On a host that is too busy for five crashes in a minute the fifth does not end it.
    quick = crashes[4] - crashes[0] < 60e9
    assert [it.held for it in applied[:CRASHES]] == [False] * 4 + [quick]
    assert ("5 crashes within 60 s" in applied[4].reason) is quick
    attached = sum(isinstance(it.action, AttachScheduler) for it in emitted)
    assert attached == 4 or not quick


def test_a_killed_backend_is_started_again_on_the_directory_of_its_run(
    tmp_path: Path, compile_bpf: Callable[[str, str], str], checkout: Path
) -> None:
    """Its recording is decided again, its audit is proven, and a scheduler that crashes is left alone in the end."""
    env = killed(tmp_path).env
    (data_dir,) = (tmp_path / "state").glob("ktstr-tui/runs/killed-*")
    left = list(read_recording(data_dir / "recording.ktstr"))
    assert [it.seq for it in left] == list(range(1, len(left) + 1))
    assert any(isinstance(it, ev.Sampled) for it in left)
    assert not any(isinstance(it, ev.RunEnded) for it in left)
    assert decided_again(left) > 10
    assert call("audit", "verify", str(data_dir), env=env).returncode == 0
    with (data_dir / AUDIT_FILE).open("ab") as audit:
        audit.write(b'{"seq":7,"at":"2026')  # the power went
    torn = call("audit", "verify", str(data_dir), env=env)
    assert (torn.returncode, "the last line is torn (19 bytes)" in torn.stderr) == (3, True)

    broke = compile_bpf("broke", (checkout / "tests/guest/failures/broke.bpf.c").read_text())
    again = ("--run-dir", str(data_dir), "--scheduler", broke, "--keep-attached", "--no-early-capture")
    with headless_run(tmp_path, "--no-seed", *again, name="killed") as run:
        events = run.events("action")
        told = (it for it in events if it["action"]["kind"] == "back-off" and it["disposition"] == "emitted")
        assert len(list(islice(told, CRASHES))) == CRASHES
        events.close()  # type: ignore[attr-defined]
        status = call_json("status", run.name, env=env)
        assert call("end", run.name, env=env).returncode == 0
        code, summary, _ = run.end()
    assert code == 1, status
    recorded = list(read_recording(data_dir / "recording.ktstr"))
    assert any("torn: 19 bytes" in it.text for it in recorded if isinstance(it, ev.Logged))
    check_back_off(recorded, summary["ejections"])
    assert decided_again(recorded) > 10
    assert list(read_recording(data_dir / "start-1" / "recording.ktstr")) == left
    proven = call_json("audit", "verify", str(data_dir), env=env)
    assert (proven["proven"], proven["entries"]) == (True, 7)
    shown = call_json("audit", "show", str(data_dir), env=env)["entries"]
    login = pwd.getpwuid(os.getuid()).pw_name
    assert [
        (it["request"], it["operator"].partition("@")[0], it["proof"], it["refusal"]) for it in shown
    ] == [
        ("freeze", login, "peer", "not-signed"),
        ("freeze", "ada", "signed", None),
        ("thaw", "ben", "signed", None),
        ("kernel-op", f"ada by {login}", "peer", "dry-run-required"),
        ("kernel-op", "ada, ben", "signed", None),
        ("kernel-op", "ada", "signed", None),
        ("end", login, "peer", None),
    ]
