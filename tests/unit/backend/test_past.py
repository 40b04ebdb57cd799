"""What a run that goes back in time is made of, and what is told of writes that no vCPU made."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ktstr_tui.backend.interventions import INTERVENTIONS_FILE, Change, Intervention
from ktstr_tui.backend.past import written_before
from ktstr_tui.guest.retracing import Place
from ktstr_tui.model.control import DetachScheduler, RunKernelWrite


def test_writes_before_an_instant_are_counted_and_nothing_else(tmp_path: Path) -> None:
    place = Place(100, False, 0, 0xFFFFFFFF81000000)
    assert written_before(tmp_path, place) == ""
    made: list[tuple[int, Change]] = [
        (50, RunKernelWrite(op={"direction": "write"}, who="ada")),
        (60, DetachScheduler()),
        (100, RunKernelWrite(op={"direction": "write"}, who="ada")),
        (101, RunKernelWrite(op={"direction": "write"}, who="ada")),
    ]
    kept = [Intervention(instructions=at, at_station=True, mono_ns=1, by="ada", change=it) for at, it in made]
    (tmp_path / INTERVENTIONS_FILE).write_bytes(b"".join(msgspec.json.encode(it) + b"\n" for it in kept))
    assert written_before(tmp_path, place) == " but 2 writes by somebody (rerun --list)"
