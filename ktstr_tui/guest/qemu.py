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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ktstr_tui.guest import topology_args
from ktstr_tui.guest.determinism import Determinism, machine_arguments, observer_file
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


@dataclass(frozen=True, slots=True)
class Process:
    """A started QEMU with our ends of its channels; all of them are to be closed by the taker."""

    popen: subprocess.Popen[bytes]
    qmp: socket.socket
    gdb: socket.socket
    """The gdb stub, or the observer in its place."""
    bulk: socket.socket
    stats: socket.socket
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
        channels: Inherited descriptors of ``qmp``, ``gdb``, ``bulk`` and ``stats``; ``page`` of an observed machine.
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
        *("-device", f"virtserialport,chardev=bulk,name={BULK_PORT_NAME}"),
        *("-chardev", f"socket,id=stats,fd={channels['stats']}"),
        *("-device", f"virtserialport,chardev=stats,name={STATS_PORT_NAME}"),
        *_looking(spec, channels),
        *("-chardev", f"socket,id=qmp,fd={channels['qmp']}", "-mon", "chardev=qmp,mode=control"),
        *("-qmp", f"unix:{escape(user_qmp_path(spec))},server=on,wait=off"),
    ]


def _looking(spec: MachineSpec, channels: dict[str, int]) -> list[str]:
    """Who stops and looks: the gdb stub, or the observer; and what makes the machine deterministic."""
    stub = ["-chardev", f"socket,id=gdb,fd={channels['gdb']}", "-gdb", "chardev:gdb"]
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
    return " ".join(filter(None, (KERNEL_COMMAND_LINE, isolation, spec.append)))


def user_qmp_path(spec: MachineSpec) -> Path:
    """Where the second QMP monitor listens."""
    return spec.socket_dir / "qmp.sock"


def spawn(spec: MachineSpec, ram_fds: tuple[int, ...], page_fd: int | None = None) -> Process:
    """Start QEMU. Blocks for the fork only; must run on the event loop's own thread (see the module's text).

    Args:
        spec: What to start.
        ram_fds: The RAM files, one per NUMA node.
        page_fd: The page that an observer shares; only for an observed machine.

    Raises:
        HostError: QEMU or setpriv is missing or cannot be started.
    """
    program = find_qemu()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HostError("setpriv is not installed", "apt install util-linux")
    pairs = {name: socket.socketpair() for name in ("qmp", "gdb", "bulk", "stats")}
    console_read, console_write = os.pipe()
    stderr_read, stderr_write = os.pipe()
    theirs = {name: far.fileno() for name, (_, far) in pairs.items()}
    if page_fd is not None:
        theirs["page"] = page_fd
    initrd_fd = _initrd_file(spec.initrd) if isinstance(spec.initrd, bytes) else None
    initrd = spec.initrd if initrd_fd is None else f"/proc/self/fd/{initrd_fd}"
    inherited = [*theirs.values(), *ram_fds, *([] if initrd_fd is None else [initrd_fd])]
    arguments = command(program, spec, str(initrd), tuple(f"/proc/self/fd/{fd}" for fd in ram_fds), theirs)
    try:
        popen = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _GUARD, str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=console_write,
            stderr=stderr_write,
            pass_fds=inherited,
            start_new_session=True,
            umask=0o077,
        )
    except OSError as error:
        for fd in (console_read, stderr_read):
            os.close(fd)
        for near, _ in pairs.values():
            near.close()
        raise HostError(f"QEMU cannot be started: {error}", "run ktstr-tui doctor") from error
    finally:
        for fd in (console_write, stderr_write, *([] if initrd_fd is None else [initrd_fd])):
            os.close(fd)
        for _, far in pairs.values():
            far.close()
    ours = {name: near for name, (near, _) in pairs.items()}
    return Process(popen, **ours, console_fd=console_read, stderr_fd=stderr_read)


def _initrd_file(content: bytes) -> int:
    descriptor = os.memfd_create("ktstr-initrd")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
