"""Where a kernel's build configuration is found, and what is known without one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ktstr_tui.guest import kernel_config
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.kernel_config import embedded_config, find_config

CONFIG = b"CONFIG_HZ=300\nCONFIG_SMP=y\n"


def image(path: Path) -> KernelImage:
    return KernelImage(path, "9.9.9", b"btf", True, None, "#1 SMP PREEMPT_DYNAMIC Debian 9.9.9-1")


@pytest.mark.parametrize(
    ("kernel", "config"),
    [
        ("boot/vmlinuz-9.9.9", "boot/config-9.9.9"),
        ("kernels/9.9.9/vmlinuz", "kernels/9.9.9/config"),
        ("tree/arch/x86/boot/bzImage", "tree/.config"),
        ("tree/vmlinux", "tree/.config"),
    ],
)
def test_a_configuration_is_found_where_kernels_are_kept(tmp_path: Path, kernel: str, config: str) -> None:
    for name, content in ((kernel, b"kernel"), (config, CONFIG)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = find_config(image(tmp_path / kernel))
    assert (found.text, found.origin, found.path) == (CONFIG, "file", tmp_path / config)


def test_a_configuration_inside_the_kernel_is_taken_out() -> None:
    vmlinux = b"\x7fELF" + bytes(100) + b"IKCFG_ST" + gzip.compress(CONFIG) + b"IKCFG_ED" + bytes(50)
    assert embedded_config(vmlinux) == CONFIG
    assert embedded_config(vmlinux[:130]) is None
    assert embedded_config(b"IKCFG_ST and nothing else") is None


def test_without_one_only_what_the_image_proves_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_config, "read_vmlinux", lambda path: b"no configuration in here")
    found = find_config(image(tmp_path / "vmlinuz"))
    assert found.origin == "partial"
    assert set(found.text.split()) >= {
        b"CONFIG_SMP=y",
        b"CONFIG_PREEMPT_DYNAMIC=y",
        b"CONFIG_SCHED_CLASS_EXT=y",
    }
    assert b"CONFIG_HZ" not in found.text


def test_a_file_that_is_no_configuration_or_too_large_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_config, "read_vmlinux", lambda path: b"")
    (tmp_path / "config-9.9.9").write_bytes(b"CONFIG_" + bytes(kernel_config.MAX_CONFIG_BYTES))
    (tmp_path / "config").write_bytes(b"a letter")
    assert find_config(image(tmp_path / "vmlinuz")).origin == "partial"
