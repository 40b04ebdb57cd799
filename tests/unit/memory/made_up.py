"""Made-up snapshots."""

from __future__ import annotations

import random

import msgspec

from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.snapshot import Snapshot, SnapshotInfo, SnapshotMachine
from ktstr_tui.memory.store import SnapshotStore

MACHINE = SnapshotMachine(
    kernel_path="/boot/vmlinuz",
    kernel_sha256="00" * 32,
    kernel="7.2.12",
    topology="1n1l2c1t",
    memory_bytes=64 * PAGE_BYTES,
    accelerator="tcg",
    append="",
    qemu="10.0.2",
)


def page(seed: int) -> bytes:
    """A page that does not compress to nothing."""
    return random.Random(seed).randbytes(64) * (PAGE_BYTES // 64)


def noise(seed: int) -> bytes:
    """A page that does not compress at all."""
    return random.Random(seed).randbytes(PAGE_BYTES)


def ram(*seeds: int) -> bytes:
    """Memory of some pages; 0 stands for a page of zeros."""
    return b"".join(page(seed) if seed else bytes(PAGE_BYTES) for seed in seeds)


def info(name: str, new_pages: int = 0) -> SnapshotInfo:
    """What is said of a snapshot."""
    return SnapshotInfo(
        name=name,
        run="tour",
        run_id="r1",
        tag=name,
        taken_wall="2026-11-29T06:00:00+00:00",
        mono_ns=1,
        reason="made up",
        machine=MACHINE,
        scenario="tour",
        scheduler="demo:stall",
        pause_us=1000.0,
        new_pages=new_pages,
    )


def store_one(
    store: SnapshotStore,
    name: str,
    memory: bytes,
    about: SnapshotInfo | None = None,
    report: bytes = b"{}",
) -> Snapshot:
    """Store a snapshot of that memory, with another description or capture if given."""
    with store.writing() as writer:
        memory_blob, new = writer.blob(memory)
        state, _ = writer.blob(b"state of " + name.encode())
        initrd, _ = writer.blob(b"initrd" * 1000)
        report_blob, _ = writer.blob(report)
        plan, _ = writer.blob(b"")
        snapshot = Snapshot(
            info=msgspec.structs.replace(about or info(name), name=name, new_pages=new),
            memory=(memory_blob,),
            state=state,
            initrd=initrd,
            report=report_blob,
            plan=plan,
            config=plan,
        )
        writer.commit(snapshot)
    return snapshot
