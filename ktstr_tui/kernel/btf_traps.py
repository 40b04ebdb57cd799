"""Find the defects that old versions of pahole leave in a kernel's BTF, which schedulers then stumble over.

BTF is made by pahole when a kernel is built. Two defects show only when a scheduler loads, as an error that names
something else:

* before 1.24, or with ``--skip_encoding_btf_enum64``, the values of 64-bit enums are cut to 32 bits: a scheduler
  reads 2 for ``SCX_DSQ_LOCAL``, and its tasks go to a DSQ that does not exist.
* before 1.26, kfuncs carry no ``bpf_kfunc`` tag, and those with implicit arguments have a malformed prototype:
  the load fails with ``EINVAL``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.kernel.btf import Btf, Kind

DSQ_FLAGS_ENUM = "scx_dsq_id_flags"
"""The enum of include/linux/sched/ext.h whose values need 64 bits."""
_FLAG_BUILTIN = "SCX_DSQ_FLAG_BUILTIN"
_KFUNC_TAG = b"\0bpf_kfunc\0"
TrapKind: TypeAlias = Literal["truncated-enums", "malformed-kfuncs"]


class BtfTrap(msgspec.Struct, frozen=True):
    """A defect of a kernel's BTF."""

    kind: TrapKind
    detail: str
    """What is wrong and what follows from it."""
    remedy: str


def find_traps(btf: bytes) -> list[BtfTrap]:
    """Look for the known defects in the BTF of a kernel with sched_ext.

    Args:
        btf: The raw ``.BTF`` section.

    Returns:
        The defects, those that hurt most first.

    Raises:
        BtfError: The bytes are not BTF.
    """
    traps = []
    if _has_truncated_enums(Btf(btf)):
        traps.append(
            BtfTrap(
                "truncated-enums",
                "64-bit enums are cut to 32 bits: schedulers read a wrong SCX_DSQ_LOCAL and lose their tasks",
                "build the kernel with pahole 1.24 or newer, without --skip_encoding_btf_enum64",
            )
        )
    if _KFUNC_TAG not in btf:
        traps.append(
            BtfTrap(
                "malformed-kfuncs",
                "kfuncs carry no bpf_kfunc tag: schedulers that call those with implicit arguments do not load",
                "build the kernel with pahole 1.26 or newer",
            )
        )
    return traps


def _has_truncated_enums(btf: Btf) -> bool:
    found = btf.find(DSQ_FLAGS_ENUM, Kind.ENUM, Kind.ENUM64)
    if found is None:
        return False
    values = dict(btf.enumerators(found))
    return _FLAG_BUILTIN in values and values[_FLAG_BUILTIN] & ((1 << 64) - 1) != 1 << 63
