"""The observer, built with sanitizers and loaded into QEMU: a real guest, thousands of watches, a page of rubbish.

Whatever the backend writes into the page, the observer takes it or refuses it, and reads and writes nothing else;
`native/fuzz/observer.c` throws more at it, with QEMU made up.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ktstr_tui.guest import qemu
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.observer_page import MAX_WATCHES, PAGE_BYTES, HoldReason
from tests.guest.conftest import BootGuest
from tests.guest.sysctl_words import hit_one_of_many
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest
SOURCES = Path(__file__).parents[2] / "native/observer"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=hidden")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ROUNDS = 50
COMMANDS = ((20, 48), (384, 396), (492, 512), (4096, PAGE_BYTES))
"""First byte and end of what the backend writes, but for the request to stop."""


@pytest.fixture
def sanitized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU with a sanitized observer."""
    compiler = shutil.which("gcc")
    assert compiler is not None, "no gcc: apt install gcc libc6-dev"
    plugin = tmp_path / "sanitized.so"
    subprocess.run([compiler, *FLAGS, *SANITIZERS, "-o", plugin, *sorted(SOURCES.glob("*.c"))], check=True)
    asked = [compiler, "-print-file-name=libasan.so"]
    library = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert Path(library).is_absolute(), "gcc has no libasan.so: apt install libgcc-12-dev"
    monkeypatch.setattr(qemu, "observer_file", lambda: plugin)
    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")


@pytest.mark.usefixtures("sanitized")
async def test_rubbish_in_the_page_is_refused_or_taken(
    machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    spec = replace(machine_spec, accelerator="tcg", determinism=Determinism(42), observed=True)
    chance = random.Random(1)
    async with boot_guest(spec) as guest:
        engine = await hit_one_of_many(guest)
        page = engine._page
        refused = page.refused
        for _ in range(ROUNDS):
            for first, end in COMMANDS:
                at = chance.randrange(first, end)
                some = min(end - at, chance.choice((1, 4, 8, 64, 4096)))
                page._map[at : at + some] = chance.randbytes(some)
            page._map[40:44] = chance.choice((0, 1, MAX_WATCHES, MAX_WATCHES + 1, 1 << 31)).to_bytes(
                4, "little"
            )
            page.ask_stop(True)
            await engine.resume()
            with trio.fail_after(BOOT_DEADLINE_S):
                await engine.wait_stop()
        assert page.refused > refused
        assert engine.held is not None
        assert engine.held.reason in set(HoldReason)
        assert not [line for line in guest.machine.stderr_tail if "runtime error" in line or "ERROR" in line]
