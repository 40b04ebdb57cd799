"""A directory with a scheduler to begin with: whole or not at all, and nothing is overwritten."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from ktstr_tui.cli.new import new_command
from ktstr_tui.guest.scenario import load_scenario
from ktstr_tui.model.errors import HostError, UsageError

FILES = {"Makefile", "demo.bpf.h", "mine.bpf.c", "mine.toml", "scx_min.bpf.h"}


def test_the_files_are_there_under_the_name_of_the_scheduler(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_command(tmp_path / "mine", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == {"directory": str(tmp_path / "mine"), "files": sorted(FILES)}
    assert {it.name for it in tmp_path.iterdir()} == {"mine"}
    texts = {it.name: it.read_text("utf-8") for it in (tmp_path / "mine").iterdir()}
    assert texts.keys() == FILES
    assert 'SEC("struct_ops/mine_enqueue")' in texts["mine.bpf.c"]
    assert f"KTSTR_PYTHON ?= {sys.executable}\n" in texts["Makefile"]
    for file, text in texts.items():
        assert not re.search(r"\bNAME|@[A-Z]+@", text), file
    for header in ("scx_min.bpf.h", "demo.bpf.h"):
        assert texts[header] == (checkout / "native/schedulers" / header).read_text("utf-8")
    scenario = load_scenario(str(tmp_path / "mine/mine.toml"))
    assert scenario.schedulers() == {"./mine.bpf.o"}


@pytest.mark.parametrize("what", ["directory", "file", "dangling link"])
def test_nothing_is_overwritten(what: str, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    if what == "directory":
        place.mkdir()
    elif what == "file":
        place.write_text("precious")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        new_command(place, as_json=False)
    assert list(tmp_path.iterdir()) == [place]
    assert what != "file" or place.read_text() == "precious"


@pytest.mark.parametrize("name", ["a-b", "1st", "x" * 33, "é", "..", ""])
def test_a_name_that_no_identifier_can_begin_with_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a scheduler"):
        new_command(tmp_path / name if name else Path(), as_json=False)


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot write .*No such file"):
        new_command(tmp_path / "nowhere" / "mine", as_json=False)


@pytest.mark.parametrize("header", ["demo.bpf.h", "scx_min.bpf.h"])
def test_the_headers_are_those_of_the_demo_schedulers(header: str, checkout: Path) -> None:
    ours = checkout / "ktstr_tui" / "templates" / header
    assert ours.read_text("utf-8") == (checkout / "native" / "schedulers" / header).read_text("utf-8")
