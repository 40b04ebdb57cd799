"""Resolve what ``--scheduler`` names, and collect all the files that it needs in the guest.

Four forms: ``none``; ``demo:NAME``; a BPF object (``.bpf.o``) that the guest program loads; any scheduler
program, with arguments after it as in a shell. A program that is linked dynamically takes its interpreter
and libraries along.

The hard thing is to find these libraries without running anything of the user's (ldd runs the program's
interpreter). The ELF headers name them; `_Libraries` looks where the dynamic linker would: DT_RPATH of the
file and of those that needed it, DT_RUNPATH, ld.so.cache, the standard directories. In the guest they lie
together in ``lib`` beside the program, and the guest program points LD_LIBRARY_PATH there. Libraries that a
program opens only while it runs (dlopen) are not named anywhere and do not come along.
"""

from __future__ import annotations

import shlex
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from ktstr_tui.guest.guest_files import MAX_FILE_BYTES, NO_SCHEDULER, GuestFile, SchedulerPayload
from ktstr_tui.guest.initramfs import GuestArtifacts, guest_artifacts
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.user_file import open_user_file

OPS_TYPE = b"sched_ext_ops"
GUEST_ROOT = "/ktstr/sched"
"""Below this, each scheduler has a directory of its own in the guest."""
MAX_ARGUMENTS = 32
"""Of a program, its path included; the guest program takes no more."""
LD_CACHE = Path("/etc/ld.so.cache")
_STANDARD = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MACHINE = "EM_X86_64"


def resolve_scheduler(spec: str, artifacts: GuestArtifacts | None = None) -> SchedulerPayload:
    """Find out what ``spec`` names and collect its files.

    Args:
        spec: ``none``, ``demo:NAME``, a path to a BPF object, or a path to a program with arguments.
        artifacts: Where the demos are; looked up when a demo is asked for.

    Raises:
        UsageError: There is no such scheduler, or it cannot run in the guest.
        HostError: A demo is asked for and the demos were not built.
    """
    if spec == NO_SCHEDULER:
        return SchedulerPayload(NO_SCHEDULER, "none", {}, ())
    if spec.startswith("demo:"):
        demos = (artifacts or guest_artifacts()).demos
        if spec not in (known := [f"demo:{name}" for name in demos]):
            raise UsageError(
                f"there is no {spec}{did_you_mean(spec, known)}",
                f"demo schedulers are {', '.join(known)}",
            )
        return _object(spec, demos[spec.removeprefix("demo:")])
    try:
        first, *arguments = shlex.split(spec)
    except ValueError as error:
        raise UsageError(f"scheduler {spec!r}: {error}", "quote it as for a shell") from error
    path = Path(first).expanduser()
    with _open_elf(path) as elf:
        machine = elf.header["e_machine"]
    if machine != "EM_BPF":
        return _program(path, arguments)
    if arguments:
        raise UsageError(f"{path} is a BPF object, and those take no arguments", "leave out what follows it")
    return _object(path.name, path)


@contextmanager
def _open_elf(path: Path) -> Iterator[ELFFile]:
    # An ELF file open for reading; every way of not being one becomes a UsageError.
    hint = "name none, demo:fifo, demo:race, demo:stall, demo:starve, a .bpf.o or a scheduler program"
    with open_user_file(path, "scheduler", hint, MAX_FILE_BYTES) as stream:
        try:
            yield ELFFile(stream)
        except UsageError:
            raise
        except (
            Exception
        ) as error:  # pyelftools raises what it stumbles over in a damaged file: OSError, KeyError…
            raise UsageError(f"{path} is not an ELF file, or a damaged one ({error})", hint) from error


def _guest_directory(path: Path) -> str:
    # Two files of one name in different places must not meet.
    return f"{GUEST_ROOT}/{path.name}-{zlib.crc32(str(path.resolve()).encode()):08x}"


def _object(name: str, path: Path) -> SchedulerPayload:
    with _open_elf(path) as elf:
        sections = {section.name: section for section in elf.iter_sections()}
        if elf.header["e_machine"] != "EM_BPF":
            raise UsageError(f"{path} is not a BPF object", "build it with clang -target bpf")
        if ".BTF" not in sections:
            raise UsageError(f"{path} has no BTF, so its types are unknown", "build it with clang -g")
        struct_ops = {".struct_ops", ".struct_ops.link"} & sections.keys()
        if not struct_ops or OPS_TYPE not in sections[".BTF"].data():
            raise UsageError(
                f"{path} holds no struct sched_ext_ops, so there is no scheduler in it",
                'define one in SEC(".struct_ops.link")',
            )
    guest_path = f"{_guest_directory(path)}/{path.name}"
    return SchedulerPayload(name, "object", {guest_path: GuestFile(path.resolve())}, (guest_path,))


def _program(path: Path, arguments: list[str]) -> SchedulerPayload:
    if len(arguments) + 1 > MAX_ARGUMENTS:
        raise UsageError(f"scheduler {path.name}: more than {MAX_ARGUMENTS - 1} arguments")
    with _open_elf(path) as elf:
        if elf.header["e_machine"] != _MACHINE or elf.elfclass != 64:
            raise UsageError(
                f"{path} is built for {elf.get_machine_arch()} ({elf.elfclass} bit), and the guest is x86-64",
                "build it for x86_64",
            )
        if elf.header["e_type"] not in ("ET_EXEC", "ET_DYN"):
            raise UsageError(f"{path} is not a program", "name the linked program, or a .bpf.o")
        segments = (s for s in elf.iter_segments() if isinstance(s, InterpSegment))
        interpreter = next((segment.get_interp_name() for segment in segments), None)
    directory = _guest_directory(path)
    guest_path = f"{directory}/{path.name}"
    files = {guest_path: GuestFile(path.resolve(), 0o755)}
    if interpreter:
        if not Path(interpreter).is_file():
            raise UsageError(
                f"{path} needs the dynamic linker {interpreter}, which this host does not have",
                "build it here, or link it statically",
            )
        files[interpreter] = GuestFile(Path(interpreter).resolve(), 0o755)
        libraries = _Libraries()
        libraries.add_needed(path.resolve(), ())
        for name, library in libraries.found.items():
            if name != Path(interpreter).name:
                # One linked by its path is asked for by its path.
                files[name if name.startswith("/") else f"{directory}/lib/{name}"] = GuestFile(library, 0o755)
    return SchedulerPayload(path.name, "program", files, (guest_path, *arguments))


class _Libraries:
    # Collects the libraries that a program needs, directly and through others.
    def __init__(self) -> None:
        self.found: dict[str, Path] = {}
        self._cache = _read_ld_cache()

    def add_needed(self, path: Path, inherited: tuple[str, ...]) -> None:
        needed, rpath, runpath = _dynamic(path)
        # DT_RPATH counts for what is needed further down as well, and only where there is no DT_RUNPATH.
        rpaths = inherited if runpath else (*rpath, *inherited)
        for name in needed:
            if name in self.found:
                continue
            self.found[name] = self._find(name, path, (*(() if runpath else rpaths), *runpath))
            self.add_needed(self.found[name], rpaths)

    def _find(self, name: str, user: Path, directories: tuple[str, ...]) -> Path:
        if name.startswith("/"):
            candidates = [Path(name)]
        else:
            candidates = [Path(directory) / name for directory in directories]
            candidates += [Path(cached) for cached in self._cache.get(name, ())]
            candidates += [Path(directory) / name for directory in _STANDARD]
        for candidate in candidates:
            if _is_library(candidate):
                return candidate.resolve()
        raise UsageError(
            f"{user} needs the library {name}, which was not found",
            "install it, or link the scheduler statically",
        )


def _dynamic(path: Path) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    # DT_NEEDED, DT_RPATH, DT_RUNPATH of a file, with $ORIGIN filled in.
    needed: list[str] = []
    paths: dict[str, tuple[str, ...]] = {"DT_RPATH": (), "DT_RUNPATH": ()}
    with _open_elf(path) as elf:
        dynamic = next((s for s in elf.iter_segments() if isinstance(s, DynamicSegment)), None)
        for tag in dynamic.iter_tags() if dynamic else ():
            # pyelftools gives a tag with a string an attribute of the tag's name.
            name = tag.entry.d_tag
            if name not in ("DT_NEEDED", *paths):
                continue
            text: str = getattr(tag, name.removeprefix("DT_").lower())
            if name == "DT_NEEDED":
                needed.append(text)
            else:
                for token in ("$ORIGIN", "${ORIGIN}"):
                    text = text.replace(token, str(path.parent))
                paths[name] = tuple(filter(None, text.split(":")))
    return needed, paths["DT_RPATH"], paths["DT_RUNPATH"]


def _is_library(path: Path) -> bool:
    # A shared object for the guest; the linker passes over those of other machines.
    try:
        with _open_elf(path) as elf:
            return bool(elf.header["e_machine"] == _MACHINE and elf.elfclass == 64)
    except UsageError:
        return False


def _read_ld_cache(path: Path = LD_CACHE) -> dict[str, list[str]]:
    # The glibc 2.2 format: a header of 48 bytes at the magic, entries of 24 bytes, strings by offset.
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    start = data.find(b"glibc-ld.so.cache1.1")
    if start < 0 or len(data) < start + 48:
        return {}
    data = data[start:]
    (count,) = struct.unpack_from("<I", data, 20)
    entries: dict[str, list[str]] = {}
    for i in range(min(count, (len(data) - 48) // 24)):
        key, value = struct.unpack_from("<II", data, 48 + 24 * i + 4)
        names = [data[at : data.find(b"\0", at)].decode("utf-8", "replace") for at in (key, value)]
        entries.setdefault(names[0], []).append(names[1])
    return entries
