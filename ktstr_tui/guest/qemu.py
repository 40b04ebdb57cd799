"""The QEMU command line and its process.

The control channels (QMP, gdb remote protocol, bulk port) are socket pairs whose far ends QEMU inherits, and
the guest's serial console is a pipe. So there is nothing to poll for, nothing that another user could connect
to, no path that may be too long, and a channel that ends means that QEMU ended.

**QEMU never outlives us**, also when this process is killed with SIGKILL. It is started through ``setpriv
--pdeathsig KILL``. The kernel sends that signal when the *thread* that forked ends, so the fork must happen
on the thread that runs the event loop, not on a pool thread that retires after some idle seconds. A parent
that dies between fork and prctl would be missed; the shell in between compares its parent's id afterwards and
gives up when it has changed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ktstr_tui.guest import topology_args
from ktstr_tui.guest.determinism import Determinism, machine_arguments, observer_file
from ktstr_tui.guest.origin import Origin, Paging
from ktstr_tui.guest.qemu_program import PROGRAM, Qemu, choose_qemu, find_qemu, qemu_version, threads_for
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.topology import Topology

__all__ = [
    "BULK_PORT_NAME",
    "KERNEL_COMMAND_LINE",
    "PROGRAM",
    "STATS_PORT_NAME",
    "MachineSpec",
    "Process",
    "Qemu",
    "choose_qemu",
    "command",
    "cpu_model",
    "escape",
    "find_qemu",
    "host_cpu_field",
    "qemu_version",
    "spawn",
    "threads_for",
    "user_qmp_path",
]

BULK_PORT_NAME = "ktstr-bulk"
"""Name of the virtio-serial port, ``/sys/class/virtio-ports/*/name`` in the guest."""
STATS_PORT_NAME = "ktstr-stats"
"""Name of a second one, over which a scheduler's own statistics are asked for."""
SAVED_BOOT_PORT_NAME = "ktstr-saved-boot"
"""Name of the one on which a guest waits where its boot may be saved. It is made before the others."""
RUN_FILES_NAME = "opt/ktstr/files"
"""Name of the archive of a run's files among QEMU's ``-fw_cfg``."""
SEED_VARIABLE = "ktstr_seed"
KERNEL_COMMAND_LINE = (
    # panic=-1 reboots at once, which -no-reboot turns into an exit. tsc=reliable skips the clocksource
    # watchdog, which under emulation and after freezes would call the TSC unstable.
    "console=ttyS0 panic=-1 quiet tsc=reliable no_timer_check cryptomgr.notests "
    "8250.nr_uarts=1 i8042.noaux i8042.nokbd random.trust_cpu=on"
)
_AMD_VENDORS = ("AuthenticAMD", "HygonGenuine")
_GUARD = 'test "$PPID" = "$0" || exit 125; exec "$@"'


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """All that decides how a machine is started."""

    kernel: Path
    """bzImage, or a vmlinux with a PVH note."""
    initrd: bytes | Path
    topology: Topology
    memory_bytes: int
    accelerator: Literal["kvm", "tcg"]
    socket_dir: Path
    """Private directory that gets ``qmp.sock``, a second QMP monitor for the user's own tools."""
    console_log: Path
    """Receives everything the guest's console prints, unaltered."""
    append: str = ""
    """Added to the kernel command line, so it can override what stands there."""
    determinism: Determinism | None = None
    """Given for a machine whose history follows from a seed; needs ``tcg``."""
    observed: bool = False
    """Whether the observer is loaded, in place of the gdb stub; only with ``determinism``."""
    run_files: bytes | None = None
    """A cpio archive of the files of the run, given to the guest after its boot, so that the boot can be saved and used
    again (`ktstr_tui.guest.boot`); None for a guest that boots with all its files in the initramfs."""
    restored: Origin | None = None
    """The instant that the machine starts from, stopped; None for one that boots."""


@dataclass(frozen=True, slots=True)
class Process:
    """A started QEMU with our ends of its channels; all of them are to be closed by the taker."""

    popen: subprocess.Popen[bytes]
    qmp: socket.socket
    gdb: socket.socket
    """The gdb stub, or the observer in its place."""
    bulk: socket.socket
    stats: socket.socket
    saved_boot: socket.socket | None
    """Of a machine whose boot can be saved."""
    console_fd: int
    """Read end of the serial console."""
    stderr_fd: int
    """Read end of QEMU's own messages."""


def escape(path: Path | str) -> str:
    """A path as the value of a QEMU option, where a comma would end it."""
    return str(path).replace(",", ",,")


def cpu_model(accelerator: str, host_vendor: str) -> str:
    """The ``-cpu`` value.

    TCG's ``max`` calls itself AMD but lacks TOPOEXT, without which an AMD guest sees no SMT; as Intel it
    describes threads, L2 and L3 by CPUID leaves 4 and 0xb. AMD hosts have TOPOEXT but ``-cpu host``
    leaves it off.
    """
    if accelerator == "tcg":
        return "max,vendor=GenuineIntel,l3-cache=on"
    return "host,l3-cache=on,topoext=on" if host_vendor in _AMD_VENDORS else "host,l3-cache=on"


def host_cpu_field(field: str) -> str:
    """A field of the first CPU of ``/proc/cpuinfo``, such as ``vendor_id``; empty when absent."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _accelerator(program: Path, spec: MachineSpec) -> str:
    if spec.accelerator == "kvm":
        return "kvm"
    if spec.determinism is not None:
        return "tcg,thread=single"
    return f"tcg,thread={threads_for(qemu_version(program), spec.topology.cpus)}"


def command(
    program: Path, spec: MachineSpec, initrd: str, ram: tuple[str, ...], channels: dict[str, int]
) -> list[str]:
    """The QEMU command.

    Args:
        program: The QEMU program.
        spec: What to start.
        initrd: Path under which QEMU reads the initramfs.
        ram: Paths of the RAM files, one per NUMA node.
        channels: Inherited descriptors of ``qmp``, ``gdb``, ``bulk`` and ``stats``; ``page`` of an observed machine;
            ``saved_boot`` and ``run_files`` of one whose boot can be saved.
    """
    nodes = topology_args.node_bytes(spec.topology, spec.memory_bytes)
    return [
        *(str(program), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-name", "ktstr,debug-threads=on"),
        *("-machine", "q35,smm=off,vmport=off,sata=off,smbus=off"),
        *(
            "-accel",
            _accelerator(program, spec),
            "-cpu",
            cpu_model(spec.accelerator, host_cpu_field("vendor_id")),
        ),
        *topology_args.smp_arguments(spec.topology),
        *topology_args.memory_arguments(spec.topology, nodes, ram),
        *("-kernel", str(spec.kernel), "-initrd", initrd, "-append", kernel_command_line(spec)),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=bulk,fd={channels['bulk']}"),
        *("-device", f"virtio-serial-pci{',ioeventfd=off' if spec.determinism else ''}"),
        *_saved_boot(channels),
        *("-device", f"virtserialport,chardev=bulk,name={BULK_PORT_NAME}"),
        *("-chardev", f"socket,id=stats,fd={channels['stats']}"),
        *("-device", f"virtserialport,chardev=stats,name={STATS_PORT_NAME}"),
        *_looking(spec, channels),
        *("-chardev", f"socket,id=qmp,fd={channels['qmp']}", "-mon", "chardev=qmp,mode=control"),
        *("-qmp", f"unix:{escape(user_qmp_path(spec))},server=on,wait=off"),
    ]


def _saved_boot(channels: dict[str, int]) -> list[str]:
    """Where the guest waits for its boot to be saved, and what it reads afterwards."""
    if "saved_boot" not in channels:
        return []
    return [
        *("-chardev", f"socket,id=saved-boot,fd={channels['saved_boot']}"),
        *("-device", f"virtserialport,chardev=saved-boot,name={SAVED_BOOT_PORT_NAME}"),
        *("-fw_cfg", f"name={RUN_FILES_NAME},file=/proc/self/fd/{channels['run_files']}"),
    ]


def _looking(spec: MachineSpec, channels: dict[str, int]) -> list[str]:
    """Who stops and looks: the gdb stub, or the observer; and what makes the machine deterministic."""
    stub = [
        *("-chardev", f"socket,id=gdb,fd={channels['gdb']}", "-gdb", "chardev:gdb"),
        # Why a machine stands is no part of its state: one that was saved at a watchpoint could not be loaded, as QEMU
        # refuses to go from waiting for a state to that ("invalid runstate transition: 'inmigrate' -> 'debug'").
        *("-global", "migration.store-global-state=off"),
    ]
    if spec.determinism is None:
        return stub
    arguments = machine_arguments(spec.determinism)
    if not spec.observed:
        # The stub's handshake must not meet a guest that runs: it would stop it, at a moment of the host's clock.
        return [*arguments, *stub, "-S"]
    observer = f"{escape(observer_file())},page={channels['page']},link={channels['gdb']}"
    return [*arguments, "-plugin", observer]


def kernel_command_line(spec: MachineSpec) -> str:
    """The command line of the guest's kernel."""
    # Under emulation, switching page tables on each system call costs time and isolates nothing.
    isolation = "pti=off" if spec.accelerator == "tcg" else ""
    # The kernel hands it on to the guest program, whose workers draw their start offsets and bursts from it.
    # One that goes on from a saved boot is told later (`ktstr_tui.guest.boot`).
    told_here = spec.determinism is not None and spec.run_files is None
    seed = f"{SEED_VARIABLE}={spec.determinism.seed}" if spec.determinism and told_here else ""
    return " ".join(filter(None, (KERNEL_COMMAND_LINE, isolation, seed, spec.append)))


def user_qmp_path(spec: MachineSpec) -> Path:
    """Where the second QMP monitor listens."""
    return spec.socket_dir / "qmp.sock"


def spawn(
    spec: MachineSpec,
    ram_fds: tuple[int, ...],
    page_fd: int | None = None,
    origin: Origin | None = None,
) -> Process:
    """Start QEMU. Blocks for the fork only; must run on the event loop's own thread (see the module's text).

    Args:
        spec: What to start.
        ram_fds: The RAM files, one per NUMA node.
        page_fd: The page that an observer shares; only for an observed machine.
        origin: What it starts from: it waits, stopped, for the state to load (`ktstr_tui.guest.machine_state`). None
            for a machine that boots.

    Raises:
        HostError: QEMU or setpriv is missing or cannot be started.
    """
    program = find_qemu()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HostError("setpriv is not installed", "apt install util-linux")
    with ExitStack() as theirs, ExitStack() as ours:
        channels, near, pipes = _channels(spec, theirs, ours)
        if page_fd is not None:
            channels["page"] = page_fd
        initrd = f"/proc/self/fd/{channels['initrd']}" if "initrd" in channels else str(spec.initrd)
        ram = tuple(f"/proc/self/fd/{fd}" for fd in ram_fds)
        arguments = command(program, spec, initrd, ram, channels)
        if origin is not None:
            arguments += ["-S", "-incoming", "defer"]
        if origin is not None and (paging := origin.paging) is not None:
            arguments = [*_paged(paging, ram_fds), *arguments]
            channels["paging"] = paging.link
        try:
            popen = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _GUARD, str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=pipes["console"][1],
                stderr=pipes["stderr"][1],
                pass_fds=[*channels.values(), *ram_fds],
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise HostError(f"QEMU cannot be started: {error}", "run ktstr-tui doctor") from error
        ours.pop_all()
    saved_boot = near.pop("saved_boot", None)
    return Process(
        popen, **near, saved_boot=saved_boot, console_fd=pipes["console"][0], stderr_fd=pipes["stderr"][0]
    )


def _paged(paging: Paging, ram_fds: tuple[int, ...]) -> list[str]:
    """What starts a program with the shim (``native/pager/shim.c``)."""
    files = ",".join(map(str, ram_fds))
    return [
        "env",
        f"LD_PRELOAD={paging.shim}",
        f"KTSTR_PAGER_FD={paging.link}",
        f"KTSTR_PAGER_RAM={files}",
    ]


def _channels(
    spec: MachineSpec, theirs: ExitStack, ours: ExitStack
) -> tuple[dict[str, int], dict[str, socket.socket], dict[str, tuple[int, int]]]:
    """Make what QEMU inherits: its descriptors by name, our ends of the sockets, and its pipes (read, write)."""
    names = ["qmp", "gdb", "bulk", "stats", *([] if spec.run_files is None else ["saved_boot"])]
    channels: dict[str, int] = {}
    near: dict[str, socket.socket] = {}
    for name in names:
        near[name], far = socket.socketpair()
        ours.callback(near[name].close)
        theirs.callback(far.close)
        channels[name] = far.fileno()
    for name, content in (("initrd", spec.initrd), ("run_files", spec.run_files)):
        if isinstance(content, bytes):
            channels[name] = _file_of(name, content)
            theirs.callback(os.close, channels[name])
    pipes = {name: os.pipe() for name in ("console", "stderr")}
    for read, write in pipes.values():
        ours.callback(os.close, read)
        theirs.callback(os.close, write)
    return channels, near, pipes


def _file_of(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(f"ktstr-{name}")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
