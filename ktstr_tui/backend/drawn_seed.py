"""The seed of a run for which none was given: drawn where the run can have one, or the reason why not.

With a seed whoever sees something odd once has it again, without having planned to. It is the default where it costs
little: the guest is emulated anyway, it is small (docs/decisions/0010-drawn-seeds.md has the measurements), and
nothing was asked for that such a run cannot do. Its guest keeps pace with the host (`ktstr_tui.guest.pacing`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import Prepared, saves_boot, verdict_of_seed
from ktstr_tui.guest.determinism import DRAWN_UP_TO, Determinism, draw_seed, why_no_observer
from ktstr_tui.guest.qemu_program import choose_qemu


async def with_drawn_seed(
    config: RunConfig, prepared: Prepared, note: Callable[[str], None]
) -> tuple[RunConfig, Prepared]:
    """Return what a run is asked to be and what was looked up, with a seed where one is to be drawn.

    Args:
        config: What is asked for.
        prepared: What was looked up for it.
        note: Takes lines for people.

    Raises:
        UsageError: ``KTSTR_QEMU`` names something that does not run.
        HostError: There is no QEMU that runs.
    """
    if config.determinism is not None or not config.draws_seed or config.restore is not None:
        return config, prepared
    if prepared.verdict.accelerator != "tcg":
        return config, prepared
    why = await trio.to_thread.run_sync(why_no_seed, config, prepared)
    reason = prepared.verdict.reason
    if why:
        note(f"no seed: {why}")
        told = msgspec.structs.replace(prepared.verdict, reason=f"{reason}; no seed: {why}")
        return config, msgspec.structs.replace(prepared, verdict=told)
    determinism = Determinism(draw_seed())
    seeded = msgspec.structs.replace(config, determinism=determinism, keeps_pace=True)
    verdict, observed = await trio.to_thread.run_sync(verdict_of_seed, determinism, note)
    again = f"ktstr-tui rerun {config.name or 'RUN'}"
    note(
        f"seed {determinism.seed} was drawn: once this run has ended, {again} has exactly the same run again"
    )
    return seeded, msgspec.structs.replace(
        prepared,
        verdict=msgspec.structs.replace(verdict, reason=f"{verdict.reason}; {reason}"),
        observed=observed,
        saves_boot=saves_boot(seeded, prepared.kernel, verdict, observed=observed),
    )


def why_no_seed(config: RunConfig, prepared: Prepared) -> str:
    """Why an emulated run has no seed, for people; empty when one is to be drawn.

    Args:
        config: What is asked for.
        prepared: What was looked up for it.

    Raises:
        UsageError: ``KTSTR_QEMU`` names something that does not run.
        HostError: There is no QEMU that runs.
    """
    cpus = prepared.topology.cpus
    if os.environ.get("KTSTR_TCG_THREADS") == "multi":
        return "KTSTR_TCG_THREADS=multi emulates each CPU on a thread of its own"
    if cpus > DRAWN_UP_TO:
        return f"{cpus} CPUs are more than {DRAWN_UP_TO}, and slow with one; --deterministic draws one all the same"
    if config.memory_on_ejection:
        return "--memory-on-ejection: memory of a run with a seed is restored by running that again, which takes longer"
    chosen = choose_qemu()
    obstacle = why_no_observer(chosen.program, chosen.version)
    return "" if obstacle is None else f"no observer: {obstacle}"
