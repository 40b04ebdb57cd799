"""Memory of this process whose missing pages somebody else brings.

The kernel permits it to root, to everybody (``vm.unprivileged_userfaultfd``) or to who may open
``/dev/userfaultfd``. The variant for user mode alone, which all may use, is of no use here: a page that the kernel
itself needs, for a system call of QEMU or for KVM, would be an error.
"""

from __future__ import annotations

import errno
import os

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import HostError

FIX = "as root: sysctl vm.unprivileged_userfaultfd=1, or chmod 666 /dev/userfaultfd"


def open_uffd() -> int:
    """Make a userfaultfd for memory of this process; to be closed by the taker.

    Raises:
        HostError: This host does not permit it.
    """
    uffd = int(lib.ktp_open())
    if uffd < 0:
        why = "is not permitted" if ffi.errno == errno.EPERM else f"fails: {os.strerror(ffi.errno)}"
        raise HostError(f"userfaultfd {why} on this host", FIX)
    return uffd


def watch(uffd: int, base: int, size: int) -> None:
    """Register memory of this process.

    Args:
        uffd: From `open_uffd`.
        base: Its address.
        size: In bytes.

    Raises:
        HostError: It cannot be, or is registered with another one.
    """
    if lib.ktp_watch(uffd, base, size):
        raise HostError(f"memory cannot be registered with userfaultfd: {os.strerror(ffi.errno)}", FIX)
