"""Builds the C code of the host into ``ktstr_tui/_native``, cffi's out-of-line API mode.

setup.py takes `wheel_builder` for the wheel. In a checkout, ``python native/build.py`` builds in place; it does
nothing when the module is newer than all that it is made of. The work is done in a temporary directory and the
result renamed into place, so a build that fails or is stopped leaves the module of before.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

import cffi

NATIVE = Path(__file__).resolve().parent
PACKAGE = NATIVE.parent / "ktstr_tui"

SOURCES = [
    "frames/ktstr_assembler.c",
    "frames/ktstr_frames.c",
    "heartbeat/ktstr_gate.c",
    "heartbeat/ktstr_probe.c",
    "heartbeat/ktstr_recv.c",
    "heartbeat/ktstr_send.c",
    "heartbeat/ktstr_tracker.c",
    "heartbeat/ktstr_vlp.c",
    "kernel/ktstr_btf.c",
    "kernel/ktstr_kallsyms.c",
    "memory/ktstr_copy.c",
    "memory/ktstr_memory.c",
    "memory/ktstr_records.c",
    "pager/ktstr_blake2b.c",
    "pager/ktstr_uffd.c",
    "trace/ktstr_block.c",
    "trace/ktstr_count.c",
    "trace/ktstr_stretch.c",
    "trace/ktstr_trace.c",
]
"""C files of the module, relative to this directory."""
HEADERS = [
    "frames/ktstr_frames.h",
    "heartbeat/ktstr_vlp.h",
    "heartbeat/ktstr_probe.h",
    "heartbeat/ktstr_tracker.h",
    "heartbeat/ktstr_recv.h",
    "heartbeat/ktstr_gate.h",
    "heartbeat/ktstr_send.h",
    "kernel/ktstr_btf.h",
    "kernel/ktstr_kallsyms.h",
    "memory/ktstr_copy.h",
    "memory/ktstr_memory.h",
    "memory/ktstr_records.h",
    "pager/ktstr_blake2b.h",
    "pager/ktstr_page.h",
    "pager/ktstr_uffd.h",
    "trace/ktstr_trace.h",
    "trace/ktstr_block.h",
    "trace/ktstr_count.h",
]
"""What the glue includes, each after those that it needs. Python sees what is between their markers."""
OTHER_INPUTS = [
    "frames/ktstr_bytes.h",
    "frames/ktstr_crc.h",
    "heartbeat/ktstr_slot.h",
    "trace/ktstr_known.h",
    "build.py",
]
"""Further files whose change makes the module stale."""
# Warnings are errors in CI only: a user's compiler may warn of what ours do not.
C_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", *(["-Werror"] if os.environ.get("CI") else [])]
LIBRARIES: list[str] = []

_MARKED = re.compile(r"^// cffi: begin\n(.*?)^// cffi: end$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INLINE = re.compile(r"^static inline ([^{;]*?)\n\{.*?^\}", re.DOTALL | re.MULTILINE)
_MACRO = re.compile(r"^#define (\w+) (.+?)\s*$", re.MULTILINE)
_NUMBER = re.compile(r"(?:0x[0-9A-Fa-f]+|\d+)[uUlL]*")


def module_path() -> Path:
    """Name the file of the module for this interpreter."""
    return PACKAGE / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def is_fresh() -> bool:
    """Check that the module exists and is newer than each of its inputs."""
    try:
        built = module_path().stat().st_mtime_ns
    except FileNotFoundError:
        return False
    inputs = [*SOURCES, *HEADERS, *OTHER_INPUTS]
    return all((NATIVE / name).stat().st_mtime_ns < built for name in inputs)


def declarations(header: str) -> str:
    """Extract what Python sees of a header, in cffi's dialect.

    That is the text between the lines ``// cffi: begin`` and ``// cffi: end``. Comments are left out, a function
    with a body becomes its prototype, and a macro that is no plain number is left for the C compiler to evaluate.
    """
    text = "\n".join(_MARKED.findall(header))
    text = _COMMENT.sub("", text)
    text = _INLINE.sub(r"\1;", text)
    return _MACRO.sub(
        lambda found: found[0] if _NUMBER.fullmatch(found[2]) else f"#define {found[1]} ...", text
    )


def builder(native: Path = NATIVE) -> cffi.FFI:
    """Make the cffi builder.

    Args:
        native: This directory as the compiler is to find it; absolute when it runs somewhere else.
    """
    ffi = cffi.FFI()
    for name in HEADERS:
        ffi.cdef(declarations((NATIVE / name).read_text()))
    ffi.set_source(
        "ktstr_tui._native",
        "\n".join(f'#include "{name}"' for name in HEADERS),
        sources=[str(native / name) for name in SOURCES],
        include_dirs=[str(native)],
        extra_compile_args=C_FLAGS,
        libraries=LIBRARIES,
        # One module per interpreter: its name then says for which, and a stale one is never picked up.
        py_limited_api=False,
    )
    return ffi


def wheel_builder() -> cffi.FFI:
    """Make the builder for setup.py, which runs at the top of the source and wants paths relative to it."""
    return builder(Path(NATIVE.name))


def build(verbose: bool = False) -> Path:
    """Compile and put the module in place.

    Returns:
        The path of the module.
    """
    target = module_path()
    with tempfile.TemporaryDirectory(prefix="ktstr-native-") as scratch:
        built = Path(builder().compile(tmpdir=scratch, verbose=verbose))
        landing = target.with_name(f".{target.name}.{os.getpid()}")
        landing.write_bytes(built.read_bytes())
        landing.chmod(0o755)
        landing.replace(target)
    return target


def main() -> int:
    """Build when needed; ``--force`` builds anyway."""
    parser = argparse.ArgumentParser(description="Build ktstr_tui._native.")
    parser.add_argument("--force", action="store_true", help="build even when nothing changed")
    parser.add_argument("--verbose", action="store_true", help="show the compiler's command lines")
    options = parser.parse_args()
    if options.force or not is_fresh():
        print(f"built {build(options.verbose)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
