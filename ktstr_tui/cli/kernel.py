"""``ktstr-tui kernel``: fetch, list and choose the kernels that guests boot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import print_json, print_line, say

app = Commands(no_args_is_help=True, help="Fetch, list and choose kernels.")


@app.command()
def fetch(
    release: Annotated[
        str | None,
        typer.Option("--release", help="Only this release or series, such as 6.19; the newest if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the newest packaged kernel that has sched_ext. Needs no root."""
    from ktstr_tui.guest.kernels import fetch_kernel

    kernel = fetch_kernel(say, release)
    if as_json:
        print_json(_as_data(kernel))
    else:
        print_line(f"{kernel.release}{'  (current)' if kernel.current else ''}  {kernel.path}")


@app.command("list")
def list_kernels(
    available: Annotated[
        bool, typer.Option("--available", help="List the archive's kernels instead of the cached ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List kernels, newest first; * marks the current one."""
    from ktstr_tui.guest.kernels import available_kernels, cached_kernels

    cached = cached_kernels()
    if available:
        _, offers = available_kernels(say)
        have = {kernel.release for kernel in cached}
        if as_json:
            print_json(
                [{"release": o.release, "packages": o.packages, "cached": o.release in have} for o in offers]
            )
            return
        for offer in offers:
            print_line(f"{offer.release}{'  (cached)' if offer.release in have else ''}")
        return
    if as_json:
        print_json([_as_data(kernel) for kernel in cached])
        return
    for kernel in cached:
        mark = "*" if kernel.current else " "
        print_line(f"{mark} {kernel.release}  {kernel.package} {kernel.version}  {kernel.path}")
    if not cached:
        say("no kernel is cached; next: ktstr-tui kernel fetch")


@app.command()
def use(
    release: Annotated[str, typer.Argument(help="A cached release, or the beginning of one.")],
    as_json: AsJson = False,
) -> None:
    """Make a cached kernel the current one."""
    from ktstr_tui.guest.kernels import use_kernel

    kernel = use_kernel(release)
    if as_json:
        print_json(_as_data(kernel))
    else:
        print_line(f"* {kernel.release}")


@app.command()
def boots(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove all of them; the next run of each machine boots again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the saved boots that runs under emulation start from, the one used last first."""
    from ktstr_tui.guest.saved_boots import SavedBoots

    saved = SavedBoots()
    found = saved.all()
    if remove:
        for boot in found:
            saved.remove(boot.directory.name)
    if as_json:
        print_json([_as_data(boot.about) for boot in found])
        return
    for boot in found:
        about = boot.about
        machine = f"{about.kernel}  {counted(about.cpus, 'CPU')}, {about.memory_bytes >> 20} MiB"
        size = f"{about.data_bytes >> 20} MiB of disk{', removed' if remove else ''}"
        print_line(f"{machine}; booted in {about.boot_ms / 1e3:.1f} s; {size}")
    if not found:
        say("no boot is saved; a run under emulation saves one")


@app.command()
def btf(
    out: Annotated[Path, typer.Argument(help="File to write.")],
    kernel: Annotated[
        str | None, typer.Option("--kernel", "-k", help="As for run. [default: the current kernel]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the types of a kernel (BTF) to a file: bpftool makes a vmlinux.h of it."""
    from ktstr_tui.guest.image import require_sched_ext
    from ktstr_tui.guest.kernels import resolve_kernel
    from ktstr_tui.model.errors import HostError

    image = require_sched_ext(resolve_kernel(kernel))
    assert image.btf is not None
    try:
        out.write_bytes(image.btf)
    except OSError as error:
        raise HostError(f"cannot write {out}: {error.strerror}", "choose another file") from error
    if as_json:
        print_json({"path": str(out.absolute()), "release": image.release, "bytes": len(image.btf)})
    else:
        print_line(f"types of {image.release}: {out}; next: bpftool btf dump file {out} format c > vmlinux.h")


def _as_data(kernel: object) -> object:
    import msgspec

    return msgspec.to_builtins(kernel, enc_hook=str)
