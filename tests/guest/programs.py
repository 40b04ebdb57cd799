"""Compiles the scheduler programs of the tests around a BPF object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest import libbpf

SOURCES = Path(__file__).parent / "failures"


@pytest.fixture
def program(compile_c: Callable[..., str]) -> Callable[..., str]:
    """Compiles a program around a BPF object, under a name (or that of its act), and gives its command line."""

    def compiled(object_path: str, act: str, source: str = "program.c", name: str = "") -> str:
        prefix = libbpf.find(lambda message: None)
        library = next(prefix.glob("lib*/**/libbpf.a"))
        flags = (f"-I{prefix / 'include'}", f'-DOBJECT="{object_path}"', str(library), "-lelf", "-lz")
        return f"{compile_c(name or act, (SOURCES / source).read_text(), *flags)} {act}"

    return compiled
