"""The file of symbols, read back by pyelftools."""

from __future__ import annotations

import io
from typing import Any

from elftools.elf.elffile import ELFFile

from ktstr_tui.kernel.scheduler_values import VariablePlace
from ktstr_tui.kernel.symbol_file import Name, Section, encode_elf, variable_names

TEXT = Section(".text", 0xFFFFFFFF81000000, 0xFFFFFFFF82000000, True)
DATA = Section(".data", 0xFFFFFFFF82000000, 0xFFFFFFFF83000000, False)
NAMES = [
    Name("scx_root", 0xFFFFFFFF82001000, 8, False),
    Name("scx_exit", 0xFFFFFFFF81001230, 64, True),
    Name("gs_base", 0x1000, 0, None),
    Name("static_one", 0xFFFFFFFF81000010, 16, True),
    Name("static_one", 0xFFFFFFFF81000020, 16, True),
]


def test_sections_without_content_and_symbols_in_them() -> None:
    elf: Any = ELFFile(io.BytesIO(encode_elf([TEXT, DATA], NAMES)))
    assert (elf.elfclass, elf.get_machine_arch(), elf.header["e_type"]) == (64, "x64", "ET_EXEC")
    for section in (TEXT, DATA):
        found = elf.get_section_by_name(section.name)
        assert found["sh_type"] == "SHT_NOBITS"
        assert (found["sh_addr"], found["sh_size"]) == (section.start, section.end - section.start)
    table = elf.get_section_by_name(".symtab")
    read = {(it.name, it["st_value"], it["st_size"]) for it in table.iter_symbols() if it.name}
    assert read == {(it.name, it.address, it.size) for it in NAMES}
    (exit_,) = table.get_symbol_by_name("scx_exit")
    assert exit_["st_info"]["type"] == "STT_FUNC"
    assert elf.get_section(exit_["st_shndx"]).name == ".text"
    (absolute,) = table.get_symbol_by_name("gs_base")
    assert absolute["st_shndx"] == "SHN_ABS"


def test_without_symbols_it_is_a_file_still() -> None:
    elf: Any = ELFFile(io.BytesIO(encode_elf([], [])))
    assert elf.get_section_by_name(".symtab").num_symbols() == 1


def test_variables_of_a_scheduler_do_not_hide_what_the_kernel_has() -> None:
    places = [VariablePlace("nr_stalled", 0xFF10, 8), VariablePlace("scx_root", 0xFF18, 4)]
    assert variable_names(places, [it.name for it in NAMES]) == [
        Name("nr_stalled", 0xFF10, 8, False),
        Name("scx_root.bpf", 0xFF18, 4, False),
    ]
