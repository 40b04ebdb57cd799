"""What --scheduler may name, and the libraries that programs take along (oracle: the dynamic linker)."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest import payload as payload_module
from ktstr_tui.guest.initramfs import GuestArtifacts
from ktstr_tui.guest.payload import _read_ld_cache, resolve_scheduler
from ktstr_tui.model.errors import UsageError

Compile = Callable[..., Path]


@pytest.fixture
def compile_c(tmp_path: Path) -> Compile:
    """Compiles a C text: ``compile_c(name, text, *flags)``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"

    def compile_one(name: str, text: str, *flags: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
        subprocess.run(command, input=text, text=True, check=True)
        return path

    return compile_one


def elf(machine: int, sections: dict[str, bytes]) -> bytes:
    """A little-endian 64-bit relocatable ELF file with these sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    body, headers = b"", bytes(64)
    for name, data in (*sections.items(), (".shstrtab", names)):
        kind = 3 if name == ".shstrtab" else 1
        at = names.index(b"\0" + name.encode() + b"\0") + 1
        headers += struct.pack("<IIQQQQIIQQ", at, kind, 0, 0, 64 + len(body), len(data), 0, 0, 1, 0)
        body += data
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    count = len(sections) + 2
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, count, count - 1
    )
    return header + body + headers


BPF = 247
SCHEDULER = {".struct_ops.link": b"ops", ".BTF": b"..sched_ext_ops.."}


def write(path: Path, data: bytes) -> str:
    """Write a file and give its path as text."""
    path.write_bytes(data)
    return str(path)


def test_none_needs_nothing() -> None:
    nothing = resolve_scheduler("none")
    assert (nothing.name, nothing.kind, nothing.files, nothing.argv) == ("none", "none", {}, ())


def test_demos_by_name(tmp_path: Path) -> None:
    path = tmp_path / "fifo.bpf.o"
    path.write_bytes(elf(BPF, SCHEDULER))
    artifacts = GuestArtifacts(tmp_path / "agent", {"fifo": path})
    found = resolve_scheduler("demo:fifo", artifacts)
    assert (found.name, found.kind) == ("demo:fifo", "object")
    assert list(found.files) == list(found.argv)
    assert found.files[found.argv[0]].read() == path.read_bytes()
    with pytest.raises(UsageError, match='Did you mean "demo:fifo"'):
        resolve_scheduler("demo:fife", artifacts)


def test_an_object_with_an_ops_struct(tmp_path: Path) -> None:
    found = resolve_scheduler(write(tmp_path / "mine.bpf.o", elf(BPF, SCHEDULER)))
    assert (found.name, found.kind) == ("mine.bpf.o", "object")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!/bin/sh\n", "is not an ELF file"),
        (b"", "is not an ELF file"),
        (elf(BPF, SCHEDULER)[:40], "damaged"),
        (elf(BPF, {".BTF": b"sched_ext_ops"}), "holds no struct sched_ext_ops"),
        (elf(BPF, {".struct_ops": b"", ".BTF": b"tcp_congestion_ops"}), "holds no struct sched_ext_ops"),
        (elf(BPF, {".struct_ops": b""}), "has no BTF"),
        (elf(183, {}), r"built for AArch64 \(64 bit\), and the guest is x86-64"),
        (elf(62, {}), "is not a program"),
    ],
)
def test_files_that_are_no_schedulers(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "file", content)
    with pytest.raises(UsageError, match=message) as error:
        resolve_scheduler(path)
    assert path in error.value.message
    assert error.value.hint


@given(st.data())
def test_a_damaged_object_never_does_worse_than_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(elf(BPF, SCHEDULER))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.bpf.o"
    path.write_bytes(content)
    with suppress(UsageError):
        assert resolve_scheduler(str(path)).kind == "object"


def test_missing_files_and_bad_quoting(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the .*: No such file"):
        resolve_scheduler(str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="No closing quotation"):
        resolve_scheduler("'x")
    with pytest.raises(UsageError, match="take no arguments"):
        resolve_scheduler(write(tmp_path / "a.bpf.o", elf(BPF, SCHEDULER)) + " -v")


def test_a_static_program_comes_alone(compile_c: Compile) -> None:
    program = compile_c("prog", "int main(void) { return 0; }", "-static")
    found = resolve_scheduler(f"{program} -v 'two words'")
    assert (found.name, found.kind) == ("prog", "program")
    assert found.argv[1:] == ("-v", "two words")
    assert list(found.files) == [found.argv[0]]
    assert found.files[found.argv[0]].mode == 0o755


def test_too_many_arguments(compile_c: Compile) -> None:
    program = compile_c("prog", "int main(void) { return 0; }", "-static")
    with pytest.raises(UsageError, match="more than 31 arguments"):
        resolve_scheduler(f"{program} {'x ' * 32}")


def chosen_by_the_linker(program: Path) -> dict[str, Path]:
    """What the dynamic linker would load, in its own words."""
    interpreter = Path("/lib64/ld-linux-x86-64.so.2")
    listing = subprocess.run(
        [interpreter, "--list", program], capture_output=True, text=True, check=True
    ).stdout
    return {name: Path(path).resolve() for name, path in re.findall(r"(\S+) => (\S+) \(", listing)}


def packed(program: Path) -> dict[str, Path]:
    """The libraries that we pack, by the name under which they are asked for."""
    files = resolve_scheduler(str(program)).files
    found = {Path(path).name: file.source for path, file in files.items() if "/lib/" in path}
    assert all(isinstance(source, Path) for source in found.values())
    return {name: Path(str(source)) for name, source in found.items()}


@pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"], ids=["RUNPATH", "RPATH"])
def test_libraries_are_those_that_the_linker_would_take(compile_c: Compile, tag: str) -> None:
    inner = compile_c(
        "deep/libinner.so", "int inner(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,libinner.so"
    )
    compile_c(
        "libs/libouter.so",
        "int inner(void); int outer(void) { return inner(); }",
        "-shared",
        "-fPIC",
        str(inner),
        "-Wl,-soname,libouter.so",
        f"-Wl,{tag},-rpath,$ORIGIN/../deep",
        "-lm",
    )
    program = compile_c(
        "bin/prog",
        "int outer(void); int main(void) { return outer(); }",
        str(inner.parent.parent / "libs/libouter.so"),
        f"-Wl,{tag},-rpath,${{ORIGIN}}/../libs",
        "-Wl,--no-as-needed",
        "-lm",
    )
    ours = packed(program)
    assert {"libouter.so", "libinner.so", "libm.so.6", "libc.so.6"} == ours.keys()
    assert chosen_by_the_linker(program) == ours
    interpreter = "/lib64/ld-linux-x86-64.so.2"
    assert resolve_scheduler(str(program)).files[interpreter].mode == 0o755


def test_a_library_linked_by_its_path_lies_there_in_the_guest(compile_c: Compile) -> None:
    library = compile_c("libplain.so", "int plain(void) { return 1; }", "-shared", "-fPIC")
    program = compile_c("prog", "int plain(void); int main(void) { return plain(); }", str(library))
    assert resolve_scheduler(str(program)).files[str(library)].source == library


def test_a_missing_library_is_named_with_who_needs_it(compile_c: Compile) -> None:
    library = compile_c(
        "libgone.so", "int gone(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,libgone.so"
    )
    program = compile_c("prog", "int gone(void); int main(void) { return gone(); }", str(library))
    library.unlink()
    with pytest.raises(UsageError, match=r"prog needs the library libgone\.so, which was not found"):
        resolve_scheduler(str(program))


def test_a_library_of_another_machine_is_passed_over(compile_c: Compile, tmp_path: Path) -> None:
    library = compile_c(
        "good/libx.so", "int x(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,libx.so"
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/libx.so").write_bytes(elf(183, {}))
    program = compile_c(
        "prog",
        "int x(void); int main(void) { return x(); }",
        str(library),
        f"-Wl,-rpath,{tmp_path}/bad:{tmp_path}/good",
    )
    assert packed(program)["libx.so"] == library.resolve()


def test_the_linkers_cache_is_read_as_ldconfig_prints_it() -> None:
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    assert ldconfig is not None
    printed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout
    theirs: dict[str, list[str]] = {}
    for name, path in re.findall(r"^\t(\S+) \(.*\) => (.*)$", printed, re.MULTILINE):
        theirs.setdefault(name, []).append(path)
    assert theirs
    assert _read_ld_cache() == theirs


@given(st.binary(max_size=200))
def test_a_broken_cache_is_no_cache(tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "cache"
    path.write_bytes(b"glibc-ld.so.cache1.1" + rest)
    cache = payload_module._read_ld_cache(path)
    assert all(isinstance(name, str) for name in cache)
