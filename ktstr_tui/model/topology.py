"""The CPU topology of a guest, written ``NnNlNcNt``.

The four numbers are NUMA nodes, last-level caches in total, cores per LLC and threads per core, so ``2n4l2c2t``
is two nodes of two LLCs each, two cores in each LLC, two threads on each core: 16 CPUs.
"""

from __future__ import annotations

import re

import msgspec

from ktstr_tui.model.errors import UsageError

MAX_CPUS = 255
"""QEMU's q35 machine takes this many vCPUs without x2APIC set-up."""
MAX_NODES = 128
"""QEMU takes this many NUMA nodes (MAX_NODES)."""
_PATTERN = re.compile(r"(\d{1,4})n(\d{1,4})l(\d{1,4})c(\d{1,4})t")


class Topology(msgspec.Struct, frozen=True):
    """How many of each level there are. CPU numbers run thread-fastest, node-slowest."""

    nodes: int = 1
    llcs: int = 1
    cores_per_llc: int = 2
    threads_per_core: int = 1

    @classmethod
    def parse(cls, text: str) -> Topology:
        """Read the ``NnNlNcNt`` form.

        Raises:
            UsageError: The text has another form, a level is zero, the LLCs cannot be spread evenly over the
                nodes, or there are more than `MAX_CPUS` CPUs or `MAX_NODES` nodes.
        """
        match = _PATTERN.fullmatch(text.strip().lower())
        hint = "write NUMA nodes, LLCs in total, cores per LLC, threads per core: 1n1l2c1t"
        if match is None:
            raise UsageError(f"topology {text!r} is not of the form NnNlNcNt", hint)
        topology = cls(*(int(group) for group in match.groups()))
        if 0 in (topology.nodes, topology.llcs, topology.cores_per_llc, topology.threads_per_core):
            raise UsageError(f"topology {text!r} has a level of zero", hint)
        if topology.llcs % topology.nodes:
            raise UsageError(
                f"topology {text!r}: {topology.llcs} LLCs cannot be spread evenly over {topology.nodes} nodes",
                "make the LLCs a multiple of the nodes",
            )
        if topology.nodes > MAX_NODES:
            raise UsageError(f"topology {text!r} has {topology.nodes} NUMA nodes", f"use at most {MAX_NODES}")
        if topology.cpus > MAX_CPUS:
            raise UsageError(f"topology {text!r} has {topology.cpus} CPUs", f"use at most {MAX_CPUS}")
        return topology

    @classmethod
    def of_cpus(cls, cpus: int) -> Topology:
        """One node with one LLC that ``cpus`` cores of one thread each share.

        Raises:
            UsageError: There are none, or more than `MAX_CPUS`.
        """
        return cls.parse(f"1n1l{cpus}c1t")

    @property
    def cpus(self) -> int:
        """CPUs in total."""
        return self.llcs * self.cores_per_llc * self.threads_per_core

    def llc_of(self, cpu: int) -> int:
        """The LLC (numbered over the whole machine) that ``cpu`` belongs to."""
        return cpu // (self.cores_per_llc * self.threads_per_core)

    def node_of(self, cpu: int) -> int:
        """The NUMA node that ``cpu`` belongs to."""
        return self.llc_of(cpu) // (self.llcs // self.nodes)

    def __str__(self) -> str:
        return f"{self.nodes}n{self.llcs}l{self.cores_per_llc}c{self.threads_per_core}t"
