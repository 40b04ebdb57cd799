"""A guest that goes on from a saved boot: as good as one that booted, with nothing of another run in it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ktstr_tui.backend.boots import find_boot
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.boot import PassedBoot, pass_boot
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec, open_machine
from ktstr_tui.guest.saved_boots import SavedBoots
from ktstr_tui.guest.scenario import Scenario, Step
from ktstr_tui.guest.seeded_boot import find_or_make
from ktstr_tui.health.stuck import LOOK_S
from ktstr_tui.model.errors import GuestError, HostError
from ktstr_tui.model.events import BootMaking, Event, Logged, OutputText
from ktstr_tui.model.topology import Topology
from ktstr_tui.wire.messages import MsgType
from tests.guest.agents import RUN_TIMEOUT_S, SPINNER, Outcome, listen
from tests.guest.agents import answer as react
from tests.guest.booting import spec_of
from tests.guest.runs import busy_host


async def run(spec: MachineSpec) -> tuple[PassedBoot | None, Outcome]:
    with trio.fail_after(RUN_TIMEOUT_S):
        async with open_machine(spec) as machine:
            return await pass_boot(machine), await listen(machine, react)


def children() -> list[int]:
    """The QEMU processes of this one."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for it in tasks for pid in it.read_text().split()]
    return [it for it in pids if "qemu" in Path(f"/proc/{it}/comm").read_text()]


@pytest.fixture
def saving(machine_spec: MachineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MachineSpec:
    """A machine under emulation, whose boots are saved to a directory of the test's own."""
    monkeypatch.setattr("ktstr_tui.guest.saved_boots.cache_dir", lambda: tmp_path / "cache")
    return replace(machine_spec, accelerator="tcg")


async def test_a_later_run_goes_on_from_the_boot_of_the_first(saving: MachineSpec, tmp_path: Path) -> None:
    first = spec_of(saving, Scenario("first", (Step("only", 300, scheduler="demo:stall"),)))
    second = spec_of(
        saving, Scenario("second", (Step("quiet", 300, scheduler="demo:fifo", workers=SPINNER),))
    )
    booted, outcome = await run(first)
    assert booted is not None
    assert not booted.goes_on
    assert not booted.problem, booted.text
    assert outcome.codes(MsgType.Exit) == [0]

    passed, outcome = await run(second)
    assert passed is not None
    assert passed.goes_on, passed.text
    assert outcome.codes(MsgType.Exit) == [0]
    assert outcome.order()[:4] == [
        MsgType.Lifecycle, MsgType.KernAddrs, MsgType.SysRdy, MsgType.Lifecycle,
    ]  # fmt: skip
    assert outcome.ended.reason == "poweroff"

    # A state that is cut short: the boot is of no use any more, and the guest boots by itself.
    [boot] = SavedBoots(tmp_path / "cache/boots").all()
    boot.state.write_bytes(boot.state.read_bytes()[:1000])
    again, outcome = await run(second)
    assert again is not None
    assert not again.goes_on
    assert not again.problem, again.text
    assert outcome.codes(MsgType.Exit) == [0]


async def test_a_boot_for_runs_with_a_seed_is_the_same_wherever_it_is_made(
    saving: MachineSpec, tmp_path: Path
) -> None:
    small = replace(
        saving,
        topology=Topology(cores_per_llc=1),
        memory_bytes=256 << 20,
        run_files=b"",
        append="loglevel=7",
    )
    seeded = [replace(small, determinism=Determinism(seed), observed=True) for seed in (7, 8)]
    with trio.fail_after(RUN_TIMEOUT_S):
        one = await find_or_make(seeded[0])
        assert (await find_or_make(seeded[1])).about == one.about, "one for all seeds"
        SavedBoots().remove(one.directory.name)
        told: list[Event] = []
        silent: list[Event] = []
        with busy_host():
            other = await find_boot(seeded[1], RunEnd(), told.append, RUN_TIMEOUT_S)
        assert other is not None
        assert await find_boot(seeded[0], RunEnd(), silent.append, RUN_TIMEOUT_S) is not None
    assert silent == [], "one that is there is not made"
    assert [type(it) for it in told if not isinstance(it, BootMaking | OutputText)] == [Logged]
    progress = [it for it in told if isinstance(it, BootMaking)]
    assert progress == sorted(progress, key=lambda it: (it.spent_ms, it.guest_ms))
    assert progress[-1].guest_ms > progress[0].guest_ms
    printed = "".join(it.text for it in told if isinstance(it, OutputText) and it.stream == "boot")
    assert printed.splitlines()[0] == other.console.decode().splitlines()[0].rstrip()
    assert len(printed.splitlines()) > 10
    assert one.directory == other.directory
    assert one.about.sha256
    assert other.about.sha256 == one.about.sha256

    other.state.write_bytes(other.state.read_bytes()[:1000])
    with trio.fail_after(RUN_TIMEOUT_S), pytest.raises(GuestError, match="no start from the saved boot"):
        async with open_machine(seeded[0], other):
            pass
    assert SavedBoots().all() == []


async def test_a_run_that_is_ended_while_its_boot_is_made_does_not_wait_for_it(saving: MachineSpec) -> None:
    spec = replace(saving, memory_bytes=256 << 20, run_files=b"", determinism=Determinism(7), observed=True)
    ending, pids = RunEnd(), []

    def tell(event: Event) -> None:
        if isinstance(event, BootMaking):
            pids.extend(children())
            ending.stop("ended by a viewer")

    with trio.fail_after(RUN_TIMEOUT_S):
        assert await find_boot(spec, ending, tell, RUN_TIMEOUT_S) is None
    assert SavedBoots().all() == []
    assert list(SavedBoots().directory.glob(".new-*")) == []
    assert pids
    assert not children()


async def test_a_qemu_that_hangs_while_a_boot_is_made_is_told(saving: MachineSpec) -> None:
    spec = replace(saving, memory_bytes=256 << 20, run_files=b"", determinism=Determinism(7), observed=True)

    def tell(event: Event) -> None:
        if isinstance(event, BootMaking) and event.guest_ms:
            for pid in children():
                os.kill(pid, signal.SIGSTOP)

    with trio.fail_after(RUN_TIMEOUT_S), pytest.raises(HostError, match="QEMU is stopped by a signal"):
        await find_boot(spec, RunEnd(), tell, 4 * LOOK_S)
    assert SavedBoots().all() == []
    assert not children()
