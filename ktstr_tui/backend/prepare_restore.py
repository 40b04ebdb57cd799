"""What must be known before a guest is restored: the snapshot, its kernel, and that this host can load its state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from ktstr_tui.backend.again import config_again, read_kept
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.guest.accel import Verdict
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.initramfs import GuestFiles
from ktstr_tui.guest.kernels import kernel_of_content
from ktstr_tui.guest.qemu_program import choose_qemu
from ktstr_tui.guest.scenario import Scenario
from ktstr_tui.memory.explore import blob_bytes
from ktstr_tui.memory.find import Found
from ktstr_tui.memory.pages import DamagedError, PageFile, Pages
from ktstr_tui.memory.remote import RemoteStore
from ktstr_tui.memory.remote_pages import RemotePages, open_pages
from ktstr_tui.memory.snapshot import Snapshot, SnapshotMachine, read_snapshot
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.stored import IDENTITY_FILE

_T = TypeVar("_T")
NOT_THE_SAME = "a restored guest does not repeat history exactly: what the host does decides, too"


class Restorable(NamedTuple):
    """A snapshot with everything looked up."""

    kernel: KernelImage
    scenario: Scenario
    files: GuestFiles
    verdict: Verdict
    machine: SnapshotMachine
    has_run_files: bool
    """Whether its machine has the devices of one whose boot may be saved."""


def again_of(found: Found) -> RunConfig | None:
    """What is asked for to have the run of a snapshot again up to its instant; None when its machine is kept.

    Raises:
        UsageError: What its run kept is not beside it.
        KtstrError: The snapshot is damaged, or of another version.
    """
    info = found.store.read(found.name).info
    at_ns = info.again_at_ns
    if at_ns is None:
        return None
    if isinstance(found.store, RemoteStore):
        raise UsageError(
            "a snapshot of a run with a seed is restored by running that again, where it was",
            f"on that machine: ktstr-tui restore {found.run}/{found.name}",
        )
    directory = found.store.directory.parent.absolute()
    if not (directory / IDENTITY_FILE).is_file():
        raise UsageError(
            f"snapshot {found.name} is restored by running its run again, and what that run kept is not in {directory}",
            "name it where its run is, RUN/NAME; ktstr-tui snapshot open, drgn and gdb need the snapshot alone",
        )
    return msgspec.structs.replace(
        config_again(read_kept(directory)),
        again=str(directory),
        freeze_at_ns=at_ns,
        restores_again=True,
        restored_from=f"{info.run}/{info.name}",
        memory_on_ejection=False,
    )


def config_of(path: Path) -> RunConfig:
    """What the run of a snapshot had been asked to be, for a run that starts from it.

    Raises:
        KtstrError: The snapshot is damaged, or of another version.
    """
    snapshot = read_snapshot(path)
    with _pages(path) as pages:
        config = _decoded(blob_bytes(pages, snapshot.config), RunConfig, path)
    return msgspec.structs.replace(
        config.of_no_run(),
        kernel=snapshot.info.machine.kernel_path,
        accelerator=snapshot.info.machine.accelerator,
        restore=str(path.absolute()),
        sets=(),
        stay_frozen=False,
        replace_scheduler=None,
        captures=0,
    )


def look_up_restore(path: Path, note: Callable[[str], None]) -> Restorable:
    """Look up what is needed to restore a snapshot. Blocks.

    Raises:
        UsageError: This host has not its kernel.
        HostError: This host's QEMU or CPUs cannot load its state.
        DamagedError: It is not what was stored.
    """
    snapshot = read_snapshot(path)
    machine = snapshot.info.machine
    kernel = _kernel(machine)
    qemu = choose_qemu().version
    if qemu != machine.qemu:
        raise HostError(
            f"the snapshot was taken with QEMU {machine.qemu}, and this host has {qemu}, which cannot load its state",
            "set KTSTR_QEMU to that version; ktstr-tui snapshot open and drgn need no QEMU",
        )
    with _pages(path) as pages:
        scenario = _decoded(blob_bytes(pages, snapshot.plan), Scenario, path)
        files = _files(pages, snapshot)
    note(
        f"snapshot {snapshot.info.run}/{snapshot.info.name}, taken {snapshot.info.taken_wall}; {NOT_THE_SAME}"
    )
    verdict = Verdict(machine.accelerator, f"{machine.accelerator.upper()} (the snapshot's)", None, False, "")
    return Restorable(kernel, scenario, files, verdict, machine, snapshot.run_files is not None)


def _kernel(machine: SnapshotMachine) -> KernelImage:
    try:
        return kernel_of_content(machine.kernel_path, machine.kernel_sha256, machine.kernel)
    except UsageError as error:
        hint = f"{error.hint}; ktstr-tui snapshot open and drgn need no kernel file"
        raise UsageError(error.message, hint) from error


def _pages(path: Path) -> closing[PageFile | RemotePages]:
    return closing(open_pages(path.parent))


def _files(pages: Pages, snapshot: Snapshot) -> GuestFiles:
    initrd = blob_bytes(pages, snapshot.initrd)
    run = b"" if snapshot.run_files is None else blob_bytes(pages, snapshot.run_files)
    return GuestFiles(whole=initrd, base=initrd, run=run)


def _decoded(data: bytes, kind: type[_T], path: Path) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise DamagedError(
            f"{path} is not understood: {error}", "use the version of ktstr-tui that wrote it"
        ) from error
