"""What this host has, one row per thing; each check looks at the thing itself, not at a version list.

A row is *missing* when nothing can run without it (only rows marked as needed count for the exit code),
*degraded* when something is slower or left out, and says what to do in either case. Nothing is installed or
fetched here, and the only thing that is started is the probe guest.
"""

from __future__ import annotations

import ctypes
import fcntl
import locale
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import trio

from ktstr_tui.guest import libbpf, qemu, ram
from ktstr_tui.guest.accel import decide_accelerator, kvm_obstacle
from ktstr_tui.guest.determinism import why_no_observer
from ktstr_tui.guest.image import KernelImage, open_image
from ktstr_tui.guest.initramfs import build_initramfs, guest_artifacts
from ktstr_tui.guest.kernel_config import find_config
from ktstr_tui.guest.kernels import default_kernel
from ktstr_tui.guest.paths import cache_dir, runtime_dir
from ktstr_tui.guest.qemu_program import FETCH_HINT, SINGLE_UP_TO
from ktstr_tui.guest.saved_boots import SavedBoots
from ktstr_tui.kernel.btf_traps import find_traps
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.text.output import DUMB

Status = Literal["ok", "degraded", "missing"]
WANTED_MEMORY_BYTES = 512 << 20
_EMULATION = (
    f"emulates up to {SINGLE_UP_TO} CPUs on one host thread, more with a thread each if the host has as many"
)
_QEMU_SOURCES = {
    "KTSTR_QEMU": "named by KTSTR_QEMU",
    "system": "the system's",
    "private": "fetched for this user",
}
_SETUP = "only a checkout needs one: run ./scripts/setup there"
_SYS_USERFAULTFD = 323
_USERFAULTFD_IOC_NEW = 0xAA00
_USERFAULTFD_DEVICE = Path("/dev/userfaultfd")


class Row(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    next_step: str = ""
    needed: bool = False
    """Whether nothing can run when it is missing."""


def all_rows() -> Iterator[Row]:
    """Look at everything, quick things first."""
    yield _checked("qemu", _qemu)
    yield _checked("setpriv", _setpriv)
    kernel, rows = _kernel()
    yield from rows
    yield _clang()
    yield _libbpf()
    yield _checked("guest program", _guest_program)
    yield _checked("runs with a seed", _observer)
    yield _memory()
    yield _checked("runtime directory", _runtime_dir)
    yield _checked("cache directory", _cache_dir)
    yield _checked("saved boots", _saved_boots)
    yield _kvm_device()
    yield _userfaultfd()
    yield _terminal()
    yield _tmux()
    yield _accelerator(kernel)


def _checked(name: str, check: Callable[[], Row]) -> Row:
    """A needed row: its errors make it missing."""
    try:
        return check()
    except KtstrError as error:
        return Row(name, "missing", error.message, error.hint, needed=True)


def _qemu() -> Row:
    chosen = qemu.choose_qemu()
    found = f"{chosen.version}, {_QEMU_SOURCES[chosen.source]}: {chosen.program}"
    if chosen.threads == "multi":
        return Row("qemu", "ok", f"{found}; {_EMULATION}", needed=True)
    why = "older than 8.1, so emulation uses one host thread for all CPUs in turn"
    return Row("qemu", "degraded", f"{found}; {why}", FETCH_HINT, needed=True)


def _setpriv() -> Row:
    found = shutil.which("setpriv")
    if found is None:
        return Row("setpriv", "missing", "not installed", "apt install util-linux", needed=True)
    return Row("setpriv", "ok", found, needed=True)


def _kernel() -> tuple[KernelImage | None, list[Row]]:
    try:
        image = open_image(default_kernel().path)
    except KtstrError as error:
        return None, [Row("kernel", "missing", error.message, error.hint, needed=True)]
    hint = "run ktstr-tui kernel fetch"
    btf = "no type information" if image.btf is None else f"{len(image.btf) / 1e6:.1f} MB of types"
    scx = (
        "struct sched_ext_ops and task_struct.scx are present" if image.has_sched_ext else "not in its types"
    )
    traps = [] if image.btf is None else find_traps(image.btf)
    return image, [
        Row("kernel", "ok", f"{image.release}, {image.path_to_boot}", needed=True),
        Row("BTF", "ok" if image.btf else "missing", btf, "" if image.btf else hint, needed=True),
        *(Row("BTF", "degraded", trap.detail, trap.remedy) for trap in traps),
        _kernel_config(image),
        Row(
            "sched_ext",
            "ok" if image.has_sched_ext else "missing",
            scx,
            "" if image.has_sched_ext else hint,
            needed=True,
        ),
    ]


def _kernel_config(image: KernelImage) -> Row:
    """Schedulers that ask for CONFIG_… of the kernel load only where it is known."""
    config = find_config(image)
    if config.origin == "partial":
        detail = "not found: only what the image proves and the measured CONFIG_HZ are known in guests"
        return Row("kernel config", "degraded", detail, f"put it at {image.path_to_boot.with_name('config')}")
    return Row("kernel config", "ok", str(config.path or "embedded in the kernel"))


def _accelerator(kernel: KernelImage | None) -> Row:
    """Boots the kernel, also when a verdict is remembered, and so renews what is remembered."""
    if kernel is None:
        return Row("accelerator", "missing", "needs a kernel to probe with", "run ktstr-tui kernel fetch")
    try:
        initrd = build_initramfs(guest_artifacts().agent, b"", ())
        verdict = trio.run(lambda: decide_accelerator("auto", kernel, initrd, fresh=True))
    except KtstrError as error:
        return Row("accelerator", "missing", error.message, error.hint, needed=True)
    if verdict.accelerator == "kvm":
        return Row("accelerator", "ok", verdict.reason)
    detail = f"TCG: {verdict.detail}" if verdict.detail else verdict.reason
    return Row("accelerator", "degraded", detail, "guests run, about ten times slower than with KVM")


def _clang() -> Row:
    names = ["clang", *(f"clang-{version}" for version in range(30, 13, -1))]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is not None:
        return Row("clang", "ok", found)
    return Row("clang", "degraded", "not installed; needed to build schedulers", "apt install clang")


def _libbpf() -> Row:
    found = libbpf.available()
    if found is not None:
        return Row("libbpf", "ok", f"{'.'.join(map(str, libbpf.version_of(found)))}, {found}")
    detail = "no static libbpf of 1.4 or newer; needed to build the guest program"
    return Row("libbpf", "degraded", detail, _SETUP)


def _guest_program() -> Row:
    artifacts = guest_artifacts()
    return Row("guest program", "ok", f"{artifacts.agent}; demos: {', '.join(artifacts.demos)}", needed=True)


def _observer() -> Row:
    chosen = qemu.choose_qemu()
    obstacle = why_no_observer(chosen.program, chosen.version)
    if obstacle is None:
        return Row("runs with a seed", "ok", "the observer plugin loads: they are held without a trace")
    detail = f"without holds: {obstacle}; the first stop changes what comes after it"
    return Row("runs with a seed", "degraded", detail, FETCH_HINT)


def _memory() -> Row:
    free = ram.available_bytes()
    if free is None:
        return Row("memory", "degraded", "this host does not report its free memory")
    needed = WANTED_MEMORY_BYTES + ram.OVERHEAD_BYTES
    detail = f"{free >> 20} MiB free; the default guest takes up to {needed >> 20} MiB"
    if free < needed:
        return Row("memory", "missing", detail, "end other programs, or use --memory 256M", needed=True)
    return Row("memory", "ok", detail, needed=True)


def _runtime_dir() -> Row:
    return Row("runtime directory", "ok", f"{runtime_dir()} (private)", needed=True)


def _cache_dir() -> Row:
    directory = cache_dir()
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return Row("cache directory", "degraded", f"{directory}: {error.strerror}", "set XDG_CACHE_HOME")
    return Row("cache directory", "ok", f"{directory}, {shutil.disk_usage(directory).free >> 20} MiB free")


def _saved_boots() -> Row:
    found = SavedBoots().all()
    if not found:
        return Row("saved boots", "ok", "none yet; the first run under emulation saves its boot")
    taken = sum(boot.about.data_bytes for boot in found) >> 20
    return Row(
        "saved boots", "ok", f"{len(found)}, {taken} MiB; remove them with: ktstr-tui kernel boots --remove"
    )


def _kvm_device() -> Row:
    obstacle = kvm_obstacle()
    if obstacle is None:
        return Row("/dev/kvm", "ok", "can be opened; whether it boots a kernel, see accelerator")
    return Row("/dev/kvm", "degraded", obstacle, "guests run under emulation without it")


def _userfaultfd() -> Row:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor >= 0:
        os.close(descriptor)
        return Row("userfaultfd", "ok", "by system call")
    reason = os.strerror(ctypes.get_errno())
    try:
        device = os.open(_USERFAULTFD_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return Row(
            "userfaultfd",
            "degraded",
            f"not allowed ({reason}); lazy snapshots are not available",
            f"sysctl vm.unprivileged_userfaultfd=1, or give yourself {_USERFAULTFD_DEVICE}",
        )
    try:
        os.close(fcntl.ioctl(device, _USERFAULTFD_IOC_NEW, os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return Row("userfaultfd", "degraded", f"{_USERFAULTFD_DEVICE}: {error.strerror}")
    finally:
        os.close(device)
    return Row("userfaultfd", "ok", f"by {_USERFAULTFD_DEVICE}")


def _terminal() -> Row:
    if not sys.stdout.isatty() and not sys.stderr.isatty():
        return Row(
            "terminal",
            "degraded",
            "standard output is not a terminal",
            "needed for the TUI; use --headless without one",
        )
    columns, lines = shutil.get_terminal_size()
    term = os.environ.get("TERM", "")
    colour = "no colour"
    if term not in ("", "dumb") and "NO_COLOR" not in os.environ:
        colour = "16 or 256 colours"
        if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
            colour = "true colour"
    utf8 = locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
    detail = f"{columns}x{lines}, TERM={term or 'unset'}, {colour}, {'UTF-8' if utf8 else 'no UTF-8'}"
    if term.lower() in DUMB:
        return Row("terminal", "degraded", detail, "it shows no screen; if it can: TERM=xterm-256color")
    if not utf8:
        return Row("terminal", "degraded", detail, "set LANG=C.UTF-8")
    if columns < 80 or lines < 24:
        return Row("terminal", "degraded", detail, "make it 80x24 or larger")
    return Row("terminal", "ok" if colour != "no colour" else "degraded", detail)


def _tmux() -> Row:
    if not os.environ.get("TMUX"):
        return Row("tmux", "ok", "not inside tmux")
    try:
        done = subprocess.run(
            ["tmux", "show-options", "-gqv", "allow-passthrough"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Row("tmux", "degraded", f"does not answer: {error}")
    if done.stdout.strip() in ("on", "all"):
        return Row("tmux", "ok", "passes sequences through")
    detail = "does not pass sequences through: copying to the clipboard may not work"
    return Row("tmux", "degraded", detail, "tmux set -g allow-passthrough on")
