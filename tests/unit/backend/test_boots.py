"""Who waits for a boot sees its console, its step and how long the last one took."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from ktstr_tui.backend.boots import MAX_ENTRIES, BootTimes, show_console
from ktstr_tui.guest.console import Console
from ktstr_tui.model import events as ev
from ktstr_tui.model.condition import condition_of
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.text.condition import badge_of, sentence_of

INFO = RunInfo(
    name="tour", run_id="1", kernel="7.2", kernel_path="vmlinuz", accelerator="tcg", accelerator_reason="TCG",
    topology="1n1l2c1t", memory_bytes=1 << 29, scenario="tour", scheduler="demo",
)  # fmt: skip
S = 1_000_000_000


def test_the_last_boot_of_each_kernel_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "new" / "boot-times.json"
    times = BootTimes(path)
    assert times.last_ms("tcg", "7.2", "1n1l2c1t") is None
    times.remember("tcg", "7.2", "1n1l2c1t", 9812.7)
    times.remember("kvm", "7.2", "1n1l2c1t", 901.2)
    times.remember("kvm", "7.2", "1n1l2c1t", 800.0)
    assert BootTimes(path).last_ms("tcg", "7.2", "1n1l2c1t") == 9813
    assert BootTimes(path).last_ms("kvm", "7.2", "1n1l2c1t") == 800
    assert [it.name for it in path.parent.iterdir()] == ["boot-times.json"]
    for number in range(MAX_ENTRIES):
        times.remember("tcg", f"6.{number}", "1n1l2c1t", 1.0)
    assert times.last_ms("tcg", "7.2", "1n1l2c1t") is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": "b"}', b"\xff"])
def test_a_damaged_file_means_that_nothing_is_known(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "boot-times.json"
    path.write_bytes(content)
    assert BootTimes(path).last_ms("tcg", "7.2", "1n1l2c1t") is None
    BootTimes(tmp_path / "none" / ("x" * 300)).remember("tcg", "7.2", "1n1l2c1t", 1.0)


async def test_the_console_is_shown_until_the_guest_is_up(autojump_clock: trio.testing.MockClock) -> None:
    console, up = Console(None), trio.Event()
    told: list[ev.Event] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show_console, console, up, told.append)
        console.feed(b"[    0.1] Linux version\r\n[    0.2] BUG: unable")
        await trio.sleep(1)
        console.feed(b" to handle\n")
        up.set()
        await trio.sleep(1)
        console.feed(b"[    9.9] late\n")
        await trio.sleep(5)
    texts = [(it.stream, it.text) for it in told if isinstance(it, ev.OutputText)]
    assert texts == [
        ("console", "[    0.1] Linux version\n"),
        ("console", "[    0.2] BUG: unable to handle\n"),
    ]


def test_the_headline_says_the_step_and_how_long_it_takes() -> None:
    state = fold(RunState(), ev.RunStarted(info=replace(INFO, last_boot_ms=9813.0), mono_ns=S))

    def said(event: ev.Event) -> str:
        fold(state, event)
        condition = condition_of(state)
        assert badge_of(state, condition)[0] == "○ BOOTING"
        return sentence_of(state, condition)

    first = said(ev.BackendBeat(mono_ns=5 * S))
    assert first == (
        "The guest's kernel is booting (step 1 of 3); 4.0 s since the start; "
        "the last boot of this kernel took 9.8 s here (TCG)."
    )
    assert "(step 2 of 3)" in said(ev.LifecycleChanged(phase="InitStarted", mono_ns=6 * S))
    assert "(step 3 of 3)" in said(ev.GuestReady(boot_ms=6000.0, mono_ns=7 * S))
    fresh = fold(RunState(), ev.RunStarted(info=INFO, mono_ns=S))
    assert sentence_of(fresh, "booting").endswith("no boot of this kernel was measured on this host yet.")
    seeded = fold(RunState(), ev.RunStarted(info=replace(INFO, seed=7, last_boot_ms=9813.0), mono_ns=S))
    assert sentence_of(seeded, "booting") == (
        "The saved boot of this kind of machine is being loaded, the first time made (step 1 of 3); "
        "the last boot of this kernel took 9.8 s here (TCG)."
    )
    fold(seeded, ev.BootMaking(spent_ms=12_300.0, guest_ms=2_100.0, mono_ns=S))
    assert sentence_of(seeded, "booting") == (
        "The saved boot of this kind of machine is being made, this once: its kernel boots (step 1 of 3), "
        "for 12.3 s so far, 2.1 s of its own time; the last boot of this kernel took 9.8 s here (TCG)."
    )
    fold(seeded, ev.LifecycleChanged(phase="InitStarted", mono_ns=S))
    assert "(step 2 of 3); 0.0 s since the start" in sentence_of(seeded, "booting")
