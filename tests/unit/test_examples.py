"""The examples that need no guest: they run as their first lines say, and what they print is right."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from ktstr_tui.link import recfile
from ktstr_tui.model import events as ev
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample
from ktstr_tui.wire.codec import encode_event
from ktstr_tui.wire.vlp import Status, decode

PROGRAM = (sys.executable, "-m", "ktstr_tui.cli.main")
TIMEOUT_S = 120


def sampled(age_ms: float | None, unreadable: str | None = None) -> ev.Sampled:
    oldest = None if age_ms is None else RunnableTask(pid=7, comm="spin-0", age_ms=age_ms, cpu=0)
    scheduler = SchedulerSample(oldest_runnable=oldest, unreadable=unreadable)
    return ev.Sampled(sample=Sample(cpus=(), scheduler=scheduler))


def record(path: Path, events: list[ev.Event]) -> None:
    """Write a recording of ``events``."""
    entries = []
    for seq, event in enumerate(events, 1):
        numbered = type(event)(**{n: getattr(event, n) for n in event.__struct_fields__} | {"seq": seq})
        entries.append(recfile.RecordedEvent(seq, seq, encode_event(numbered)))
    path.write_bytes(recfile.header("run-1") + recfile.pack_chunk(entries))


def test_wait_times_compares_the_steps_of_a_recording(checkout: Path, tmp_path: Path) -> None:
    recording = tmp_path / "recording.ktstr"
    events: list[ev.Event] = [
        ev.StepStarted(index=1, name="baseline", scheduler="none"),
        *(sampled(None) for _ in range(3)),
        ev.StepStarted(index=2, name="mine", scheduler="./mine.bpf.o"),
        *(sampled(float(age)) for age in range(10, 110)),
        sampled(None, unreadable="torn: it changed three times"),
        ev.SchedulerChanged(change="ejected", name="mine"),
        ev.RunEnded(exit_code=1, reason="ejected"),
    ]
    record(recording, events)
    printed = subprocess.run(
        [*PROGRAM, "events", str(recording), "--json"], capture_output=True, timeout=TIMEOUT_S, check=True
    ).stdout
    script = checkout / "examples/events/wait_times.py"
    table = subprocess.run(
        [sys.executable, script], input=printed, capture_output=True, timeout=TIMEOUT_S, check=True
    ).stdout.decode()
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows == [
        ["baseline", "none", "3", "0", "0", "0"],
        ["mine", "./mine.bpf.o", "100", "59", "108", "109", "1", "ejected,", "1", "unreadable"],
    ]


def test_the_worker_sends_a_heartbeat_for_each_item(checkout: Path, tmp_path: Path) -> None:
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as observer:
        observer.bind(str(tmp_path / "beats.sock"))
        observer.settimeout(TIMEOUT_S)

        def read() -> None:
            while data := observer.recv(64):
                received.append(data)

        reader = threading.Thread(target=read)
        reader.start()
        worker = subprocess.Popen(
            [sys.executable, checkout / "examples/beats/worker.py", tmp_path / "beats.sock", "20"],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(checkout)},
            text=True,
        )
        printed, _ = worker.communicate(timeout=TIMEOUT_S)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(tmp_path / "beats.sock"))
        reader.join(TIMEOUT_S)
    beats = [decode(data) for data in received]
    assert beats, printed
    assert {beat.pid for beat in beats} == {worker.pid}
    assert [beat.nonce for beat in beats] == list(range(1, len(beats) + 1))
    assert {beat.status for beat in beats} == {Status.OK}
    assert beats[0].payload == 19
    # What the queue of the socket did not take is counted, and says so.
    assert f"'sent': {len(beats)}" in printed
    assert len(beats) == 20 or "'kernel queue full'" in printed
