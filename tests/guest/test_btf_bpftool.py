"""Every type of a kernel as our BTF reader and as bpftool read it.

All other tests of typed memory go through our reader, drgn's too (`kernel.finders`), so a type that it misreads is
misread on both sides. bpftool shares no code with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from tests.guest.conftest import BootGuest

pytestmark = pytest.mark.guest

ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
REFERENCES = (
    Kind.PTR,
    Kind.TYPEDEF,
    Kind.VOLATILE,
    Kind.CONST,
    Kind.RESTRICT,
    Kind.TYPE_TAG,
    Kind.FUNC,
    Kind.VAR,
)


class Dump(msgspec.Struct):
    """What ``bpftool btf dump -j`` prints. Its types are decoded one by one: all at once take 200 MB."""

    types: list[msgspec.Raw]


def bpftool_types(blob: Path) -> Iterator[dict[str, Any]]:
    """The types of a blob in order of id, as bpftool names their properties."""
    # Debian has it in /usr/sbin, which is in root's PATH only.
    program = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None, "no bpftool: apt install bpftool (Ubuntu: linux-tools-common)"
    said = subprocess.run(
        [program, "btf", "dump", "file", blob, "-j"], capture_output=True, check=True, timeout=60
    ).stdout
    for raw in msgspec.json.decode(said, type=Dump).types:
        yield msgspec.json.decode(raw)


def named(text: str) -> str:
    """A name as bpftool prints it."""
    return text or "(anon)"


def ours(btf: Btf, type_id: int) -> dict[str, Any]:
    """A type in the words of bpftool, out of our reader."""
    record = btf.record(type_id)
    found: dict[str, Any] = {"id": type_id, "kind": record.kind.name, "name": named(record.name)}
    match record.kind:
        case Kind.INT:
            encoding, offset, bits = btf.int_encoding(type_id)
            found |= {"size": record.size_or_type, "bits_offset": offset, "nr_bits": bits}
            found["encoding"] = ENCODINGS[encoding]
        case Kind.ARRAY:
            element, count = btf.array_of(type_id)
            found |= {"type_id": element, "nr_elems": count}
        case Kind.STRUCT | Kind.UNION:
            members = [
                {"name": named(m.name), "type_id": m.type_id, "bits_offset": m.bit_offset}
                | ({"bitfield_size": m.bit_size} if m.bit_size else {})
                for m in btf.members(type_id)
            ]
            found |= {"size": record.size_or_type, "vlen": len(members), "members": members}
        case Kind.ENUM | Kind.ENUM64:
            values = [{"name": name, "val": value} for name, value in btf.enumerators(type_id)]
            found |= {"size": record.size_or_type, "vlen": len(values), "values": values}
            found["encoding"] = "SIGNED" if record.flag else "UNSIGNED"
        case Kind.FUNC_PROTO:
            params = [{"name": named(name), "type_id": inner} for name, inner in btf.parameters(type_id)]
            found |= {"ret_type_id": record.size_or_type, "vlen": len(params), "params": params}
        case Kind.DATASEC:
            variables = [{"type_id": v, "offset": at, "size": size} for v, at, size in btf.section(type_id)]
            found |= {"size": record.size_or_type, "vlen": len(variables), "vars": variables}
        case Kind.FLOAT:
            found["size"] = record.size_or_type
        case Kind.FWD:
            found["fwd_kind"] = "union" if record.flag else "struct"
        case Kind.DECL_TAG:
            found["type_id"] = record.size_or_type
        case kind if kind in REFERENCES:
            found["type_id"] = record.size_or_type
    return found


NOT_READ = {"linkage", "component_idx", "index_type_id", "type"}
"""What our reader has no use for and does not offer."""


def compare(btf: Btf, blob: Path) -> dict[str, int]:
    """Compare all types; how many there were of each kind."""
    seen: dict[str, int] = {}
    for theirs in bpftool_types(blob):
        kept = {key: value for key, value in theirs.items() if key not in NOT_READ}
        for variable in kept.get("vars", ()):
            variable.pop("type", None)
        if theirs["kind"] == "ENUM" and theirs["encoding"] == "UNSIGNED":
            # bpftool prints these sign-extended to 64 bits: it keeps them in an __s32.
            for value in kept["values"]:
                value["val"] &= 0xFFFFFFFF
        assert ours(btf, theirs["id"]) == kept
        seen[theirs["kind"]] = seen.get(theirs["kind"], 0) + 1
    return seen


async def test_every_type_of_the_kernel_is_read_as_bpftool_reads_it(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest:
        ram = GuestRam.from_fds(guest.machine.ram_parts())
        view = KernelView.open(ram)
        start, stop = view.symbols.address("__start_BTF"), view.symbols.address("__stop_BTF")
        blob = tmp_path / "vmlinux.btf"
        blob.write_bytes(view.space.read(start, stop - start))
        # The kernel's own account of how much there is.
        assert len(blob.read_bytes()) == int(await guest.ask("size /sys/kernel/btf/vmlinux"))
        ram.close()
    seen = compare(view.btf, blob)
    assert sum(seen.values()) == len(view.btf) > 50_000
    assert {"INT", "STRUCT", "UNION", "ENUM", "ARRAY", "FUNC_PROTO", "PTR", "TYPEDEF"} <= seen.keys()
