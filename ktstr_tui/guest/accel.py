"""Which accelerator: KVM when it can really boot a kernel here, TCG (software emulation) otherwise.

``/dev/kvm`` proves nothing. On nested and software-only hosts it opens, creates a VM, runs a few real-mode
instructions, and then QEMU aborts in ``kvm_buf_set_msrs`` or the guest stops with an emulation failure;
QEMU's own ``-accel kvm -accel tcg`` does not fall back in either case. So ``auto`` boots the very kernel and
initramfs of the run under KVM and waits for userspace: a byte on the bulk port or the kernel's "Run /init"
line.

The verdict is remembered for this host, QEMU and kernel. The cheap answers (no device, no permission) are
not: they cost nothing, and a permission that is granted should count at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import trio

from ktstr_tui.guest import qemu, ram
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.model.errors import GuestError, HostError, UsageError
from ktstr_tui.model.topology import Topology
from ktstr_tui.wire.whole_file import write_whole

KVM_DEVICE = Path("/dev/kvm")
PROBE_DEADLINE_S = 20.0
"""Working KVM reaches userspace in about a second; a kernel that has not by then will not."""
PROBE_MEMORY_BYTES = 256 << 20

Accelerator = Literal["kvm", "tcg"]


class Verdict(msgspec.Struct, frozen=True):
    """The accelerator to use and why."""

    accelerator: Accelerator
    reason: str
    """The accelerator and, in parentheses, why; one short line, shown wherever the run is."""
    probed_ms: float | None
    """How long the booted probe took, when the verdict was first made; None when none was needed."""
    remembered: bool
    """Whether an earlier probe on this host answered."""
    detail: str
    """The whole message of a probe that failed, as doctor shows it; empty when there is nothing more to say."""


async def decide_accelerator(
    requested: str, kernel: KernelImage, probe_initrd: bytes | Path, *, fresh: bool = False
) -> Verdict:
    """Choose the accelerator of a run.

    Args:
        requested: ``auto`` to decide by a booted probe; ``kvm`` and ``tcg`` are taken at their word.
        kernel: The kernel that the run will boot.
        probe_initrd: An initramfs for it; what it does matters only as far as reaching userspace.
        fresh: Probe also when a verdict is remembered.

    Raises:
        HostError: ``kvm`` was requested and cannot be opened, or QEMU is missing.
    """
    obstacle = kvm_obstacle()
    if requested not in ("auto", "kvm", "tcg"):
        raise UsageError(f"unknown accelerator {requested!r}", "use auto, kvm or tcg")
    if requested == "tcg":
        return _with_threads(Verdict("tcg", "TCG (as requested)", None, False, ""))
    if requested == "kvm":
        if obstacle is not None:
            raise HostError(f"KVM was requested, but {obstacle}", "use --accel auto or --accel tcg")
        return Verdict("kvm", "KVM (as requested)", None, False, "")
    if obstacle is not None:
        return _with_threads(Verdict("tcg", f"TCG ({obstacle})", None, False, ""))
    place = _place(kernel.release)
    remembered = None if fresh else _load(place)
    if remembered is not None:
        return _with_threads(remembered)
    # What another program takes just now is no verdict on this host.
    ram.check_space(PROBE_MEMORY_BYTES)
    verdict = await _probe(kernel, probe_initrd)
    _store(place, verdict)
    return _with_threads(verdict)


def kvm_obstacle(device: Path = KVM_DEVICE) -> str | None:
    """Why KVM cannot even be opened; None when it can."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"this host has no {device}"
    except PermissionError:
        return f"no permission for {device} (join its group: usermod -aG kvm $USER)"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return None


def host_identity(release: str) -> dict[str, str]:
    """Everything on which a verdict depends, except that the machine works as it did."""
    modules = Path("/sys/module")
    flavour = next((name for name in ("kvm_intel", "kvm_amd") if (modules / name).is_dir()), "kvm")
    return {
        "machine_id": _read(Path("/etc/machine-id")),
        "cpu": qemu.host_cpu_field("model name"),
        "microcode": qemu.host_cpu_field("microcode"),
        "host_kernel": os.uname().release,
        "kvm": flavour,
        "nested": _read(modules / flavour / "parameters/nested"),
        "qemu": qemu.qemu_version(qemu.find_qemu()),
        "kernel": release,
    }


def _with_threads(verdict: Verdict) -> Verdict:
    """Say so when emulation cannot use more than one host thread."""
    if verdict.accelerator == "kvm":
        return verdict
    chosen = qemu.choose_qemu()
    if chosen.threads == "multi":
        return verdict
    reason = (
        f"{verdict.reason}; all CPUs share one host thread (QEMU {chosen.short_version} is older than 8.1; "
        f"see `ktstr-tui doctor`)"
    )
    return msgspec.structs.replace(verdict, reason=reason)


async def _probe(kernel: KernelImage, initrd: bytes | Path) -> Verdict:
    """Boot under KVM and see."""
    started_s = trio.current_time()
    with tempfile.TemporaryDirectory(prefix="ktstr-probe-") as name:
        directory = Path(name)
        spec = MachineSpec(
            kernel=kernel.path_to_boot,
            initrd=initrd,
            topology=Topology(1, 1, 2, 1),
            memory_bytes=PROBE_MEMORY_BYTES,
            accelerator="kvm",
            socket_dir=directory,
            console_log=directory / "console.log",
            append="loglevel=7",
        )
        failure = await _boot(spec)
    probed_ms = (trio.current_time() - started_s) * 1e3
    if failure is None:
        reason = f"KVM (a probe reached userspace in {probed_ms:.0f} ms)"
        return Verdict("kvm", reason, probed_ms, False, "")
    reason = f"TCG (KVM failed: {_in_brief(failure)}; see `ktstr-tui doctor`)"
    return Verdict("tcg", reason, probed_ms, False, f"KVM cannot boot this kernel here: {failure}")


def _in_brief(failure: str) -> str:
    """Shorten a failed probe's message to a few words: the register that KVM refused, or its first clause."""
    register = re.search(r"\bMSR 0x[0-9a-f]+", failure)
    return register.group() if register else re.split(r"[:;]", failure)[0][:48]


async def _boot(spec: MachineSpec) -> str | None:
    """None when userspace was reached, else what went wrong."""
    try:
        async with open_machine(spec) as machine:
            with trio.move_on_after(PROBE_DEADLINE_S):
                return await _first_of_userspace_and_end(machine)
            return f"no userspace within {PROBE_DEADLINE_S:g} s{_last_words(machine)}"
    except (HostError, GuestError) as error:
        return error.message


async def _first_of_userspace_and_end(machine: Machine) -> str | None:
    outcome: list[str | None] = []
    async with trio.open_nursery() as nursery:

        async def bulk() -> None:
            try:
                data = await machine.bulk.receive_some(1)
            except trio.BrokenResourceError:
                return
            if data:
                outcome.append(None)
                nursery.cancel_scope.cancel()

        async def console() -> None:
            await machine.console.userspace.wait()
            outcome.append(None)
            nursery.cancel_scope.cancel()

        async def end() -> None:
            outcome.append((await machine.wait_exit()).detail)
            nursery.cancel_scope.cancel()

        for watch in (bulk, console, end):
            nursery.start_soon(watch)
    return outcome[0]


def _last_words(machine: Machine) -> str:
    lines = machine.console.tail(1) or machine.stderr_tail[-1:]
    return f"; last output: {lines[-1]}" if lines else "; it printed nothing"


def _place(release: str) -> Path:
    identity = msgspec.json.encode(host_identity(release), order="sorted")
    return cache_dir() / "accelerators" / f"{hashlib.sha256(identity).hexdigest()[:32]}.json"


def _load(place: Path) -> Verdict | None:
    try:
        verdict = msgspec.json.decode(place.read_bytes(), type=Verdict)
    except (OSError, msgspec.MsgspecError):
        return None
    return msgspec.structs.replace(verdict, remembered=True)


def _store(place: Path, verdict: Verdict) -> None:
    """Remember; a cache that cannot be written costs a probe next time, not the run."""
    with suppress(OSError):
        write_whole(place, msgspec.json.encode(verdict), lasting=False)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
