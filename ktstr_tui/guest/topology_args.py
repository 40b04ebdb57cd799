"""A topology as QEMU options, and where in guest-physical space each byte of each RAM file then lies.

Each LLC is a socket, because QEMU's x86 CPUs share their L3 per die and a socket of one die needs no CPUID
leaf 0x1f, over which QEMU 10.0 trips when a guest reads it under emulation. The guest sees one package per
LLC, one or more of them in a NUMA node, and SMT siblings sharing an L2. QEMU numbers the CPUs thread-fastest,
as `ktstr_tui.model.topology.Topology` does.

RAM is one file per node, because a file that is divided over several backends needs ``offset=``, which QEMU
has only since 8.1. QEMU puts the nodes one behind another and then cuts the row once, at the PCI hole of q35:
what is below stays at its address, the rest continues at 4 GiB.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.topology import Topology

MIB = 1 << 20
GIB = 1 << 30
MIN_MEMORY_BYTES = 128 * MIB
"""A distribution kernel does not reach userspace in less."""
_ABOVE_HOLE = 4 * GIB
_NODE_ALIGNMENT_BYTES = 2 * MIB


class RamSegment(NamedTuple):
    """A run of guest-physical addresses and the bytes of a RAM file behind it."""

    guest_phys: int
    """Guest-physical address of the first byte."""
    fd_index: int
    """Which RAM file (index into ``Machine.ram_fds``); always 0 when there is one NUMA node."""
    offset: int
    """Offset of the first byte in that file."""
    length: int
    """Length in bytes."""


def below_4g_bytes(memory_bytes: int) -> int:
    """RAM that q35 keeps below the PCI hole.

    QEMU (pc_q35_init): 2 GiB when the RAM reaches into 0xb0000000 and above, so that the upper part keeps
    gigabyte alignment; else everything.
    """
    return 2 * GIB if memory_bytes >= 0xB0000000 else memory_bytes


def node_bytes(topology: Topology, memory_bytes: int) -> tuple[int, ...]:
    """Memory of each node, in bytes; the sum is ``memory_bytes``.

    Raises:
        UsageError: The memory is too little or not in whole MiB.
    """
    if memory_bytes % MIB:
        raise UsageError(
            f"guest memory of {memory_bytes} bytes is not in whole MiB", "write it as 512M or 4G"
        )
    least = max(MIN_MEMORY_BYTES, topology.nodes * 64 * MIB)
    if memory_bytes < least:
        raise UsageError(
            f"guest memory of {memory_bytes // MIB} MiB is too little for {topology}",
            f"give {least // MIB} MiB or more",
        )
    share = memory_bytes // topology.nodes // _NODE_ALIGNMENT_BYTES * _NODE_ALIGNMENT_BYTES
    return (*(share for _ in range(topology.nodes - 1)), memory_bytes - share * (topology.nodes - 1))


def segments(nodes: tuple[int, ...]) -> tuple[RamSegment, ...]:
    """Where the RAM files of ``nodes`` (bytes each) appear in guest-physical space, in ascending order."""
    total = sum(nodes)
    low = below_4g_bytes(total)
    starts = [sum(nodes[:index]) for index in range(len(nodes))]
    cuts = sorted({0, low, total, *starts})
    found = []
    for start, end in pairwise(cuts):
        index = max(i for i, node_start in enumerate(starts) if node_start <= start)
        guest_phys = start if start < low else _ABOVE_HOLE + start - low
        found.append(RamSegment(guest_phys, index, start - starts[index], end - start))
    return tuple(found)


def smp_arguments(topology: Topology) -> list[str]:
    """The ``-smp`` option."""
    return [
        "-smp",
        f"cpus={topology.cpus},sockets={topology.llcs},cores={topology.cores_per_llc},"
        f"threads={topology.threads_per_core}",
    ]


def memory_arguments(topology: Topology, nodes: tuple[int, ...], files: tuple[str, ...]) -> list[str]:
    """The RAM backends, the machine's use of them, and the NUMA nodes.

    Args:
        topology: Gives the CPUs of each node.
        nodes: Bytes of each node.
        files: The path of each node's RAM file.
    """
    arguments = ["-m", f"{sum(nodes) // MIB}M"]
    for index, (size, path) in enumerate(zip(nodes, files, strict=True)):
        arguments += ["-object", f"memory-backend-file,id=ram{index},size={size},mem-path={path},share=on"]
    if len(nodes) == 1:
        return [*arguments, "-machine", "memory-backend=ram0"]
    per_node = topology.cpus // topology.nodes
    for index in range(len(nodes)):
        cpus = f"{index * per_node}-{(index + 1) * per_node - 1}"
        arguments += ["-numa", f"node,nodeid={index},cpus={cpus},memdev=ram{index}"]
    return arguments
