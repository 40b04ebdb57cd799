"""A seed is drawn where a run can have one and nobody said otherwise; else the run says once why it has none."""

from __future__ import annotations

import msgspec
import pytest

from ktstr_tui.backend import drawn_seed
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.drawn_seed import with_drawn_seed
from ktstr_tui.backend.prepare import Prepared
from ktstr_tui.guest.accel import Verdict
from ktstr_tui.guest.determinism import DRAWN_BELOW, DRAWN_UP_TO, Determinism
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.initramfs import GuestFiles
from ktstr_tui.guest.qemu_program import SINGLE_UP_TO
from ktstr_tui.guest.scenario import Scenario, Step
from ktstr_tui.model.topology import Topology

TCG = Verdict("tcg", "TCG (this host has no /dev/kvm)", None, False, "")
KVM = Verdict("kvm", "KVM (as requested)", None, False, "")


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why no observer can be loaded; empty when one can."""
    obstacles: list[str] = []
    monkeypatch.delenv("KTSTR_TCG_THREADS", raising=False)
    for module in ("drawn_seed", "prepare"):
        monkeypatch.setattr(
            f"ktstr_tui.backend.{module}.why_no_observer", lambda *_: obstacles[0] if obstacles else None
        )
        monkeypatch.setattr(f"ktstr_tui.backend.{module}.choose_qemu", FakeQemu)
    monkeypatch.setattr(drawn_seed, "saves_boot", lambda *_, observed: observed)
    return obstacles


class FakeQemu:
    """A QEMU that is never started."""

    program = version = "qemu"


def prepared(cpus: int = 2, verdict: Verdict = TCG) -> Prepared:
    nothing: KernelImage = msgspec.convert(None, type(None))  # type: ignore[assignment]
    return Prepared(
        kernel=nothing,
        scenario=Scenario(name="one", steps=(Step(name="one", duration_ms=1000),)),
        files=GuestFiles(whole=b"", base=b"", run=b""),
        topology=Topology.of_cpus(cpus),
        verdict=verdict,
        saves_boot=True,
    )


async def settle(config: RunConfig, before: Prepared) -> tuple[RunConfig, Prepared, list[str]]:
    told: list[str] = []
    return (*await with_drawn_seed(config, before, told.append), told)


async def test_a_small_emulated_guest_has_a_seed_that_is_shown(observer: list[str]) -> None:
    config, found, told = await settle(RunConfig(), prepared(DRAWN_UP_TO))
    assert config.determinism is not None
    assert config.keeps_pace, "who did not ask for it lives by the clock of the host"
    assert 0 <= config.determinism.seed < DRAWN_BELOW
    assert (found.observed, found.saves_boot, found.verdict.accelerator) == (True, True, "tcg")
    assert f"seed {config.determinism.seed}: time is instructions" in found.verdict.reason
    assert found.verdict.reason.endswith(TCG.reason), "and why it is emulated"
    (line,) = told
    after = "has exactly the same run again"
    begun = f"seed {config.determinism.seed} was drawn: once this run has ended, ktstr-tui rerun"
    assert line == f"{begun} RUN {after}"
    named, _, told = await settle(RunConfig(name="mine"), prepared())
    assert named.determinism is not None
    assert told == [
        line.replace("RUN", "mine").replace(str(config.determinism.seed), str(named.determinism.seed))
    ]
    assert (await settle(RunConfig(), prepared()))[0] != config, "another one each time"


def test_a_seed_costs_no_thread() -> None:
    assert DRAWN_UP_TO <= SINGLE_UP_TO, "a guest of that size has one host thread without a seed, too"


async def test_a_run_that_cannot_have_one_says_why_once(
    observer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def why(config: RunConfig, before: Prepared) -> str:
        after, found, (line,) = await settle(config, before)
        assert after == config
        assert found == msgspec.structs.replace(before, verdict=found.verdict)
        assert found.verdict.reason == f"{before.verdict.reason}; {line}"
        return line

    assert f"{DRAWN_UP_TO + 1} CPUs are more than {DRAWN_UP_TO}" in await why(
        RunConfig(), prepared(DRAWN_UP_TO + 1)
    )
    assert "is restored by running that again" in await why(RunConfig(memory_on_ejection=True), prepared())
    observer.append("QEMU 7.2.22 is older than 9.2")
    assert await why(RunConfig(), prepared()) == "no seed: no observer: QEMU 7.2.22 is older than 9.2"
    monkeypatch.setenv("KTSTR_TCG_THREADS", "multi")
    assert "KTSTR_TCG_THREADS=multi" in await why(RunConfig(), prepared())


@pytest.mark.parametrize(
    ("config", "before"),
    [
        (RunConfig(draws_seed=False), prepared()),
        (RunConfig(determinism=Determinism(7)), prepared()),
        (RunConfig(restore="snapshot"), prepared()),
        (RunConfig(accelerator="kvm"), prepared(verdict=KVM)),
    ],
    ids=["--no-seed", "--seed", "restore", "KVM"],
)
async def test_who_did_not_leave_it_open_hears_nothing(
    observer: list[str], config: RunConfig, before: Prepared
) -> None:
    assert await settle(config, before) == (config, before, [])
