"""Guests that run a scenario, for tests without a backend; they go on from a saved boot as those of a run do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from ktstr_tui.guest.boot import pass_boot
from ktstr_tui.guest.initramfs import GuestArtifacts, build_files, guest_artifacts
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.scenario import Scenario, encode_plan


def spec_of(
    spec: MachineSpec, scenario: Scenario, artifacts: GuestArtifacts | None = None, config: bytes = b""
) -> MachineSpec:
    """A machine that will run a scenario."""
    built = artifacts or guest_artifacts()
    payloads = {name: resolve_scheduler(name, built) for name in sorted(scenario.schedulers())}
    files = build_files(built.agent, encode_plan(scenario, payloads), payloads.values(), config=config)
    if spec.accelerator != "tcg" or config:
        return replace(spec, initrd=files.whole)
    return replace(spec, initrd=files.base, run_files=files.run)


@asynccontextmanager
async def open_booted(spec: MachineSpec) -> AsyncIterator[Machine]:
    """Open a machine and let its guest pass the point at which its boot may be saved."""
    async with open_machine(spec) as machine:
        await pass_boot(machine)
        yield machine
