"""What schedulers print, kept as a file of the run."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.port.scheduler_log import SchedulerLog


def test_all_text_is_kept_and_nothing_that_a_terminal_would_obey(tmp_path: Path) -> None:
    log = SchedulerLog(tmp_path / "scheduler.log")
    assert not log.path.exists()
    log.write("0: R1=ctx()\n")
    log.write("\x1b[2Jgone \u202e?\n")
    log.close()
    assert log.path.read_text() == "0: R1=ctx()\ngone ?\n"
    assert log.drops() == {"scheduler-log-bytes": 0}


def test_the_beginning_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    log = SchedulerLog(tmp_path / "scheduler.log", max_bytes=10)
    log.write("the first refusal")
    log.write("more")
    log.close()
    assert log.path.read_text() == "the first "
    assert log.drops() == {"scheduler-log-bytes": 11}


def test_a_file_that_cannot_be_written_is_counted_and_ends_nothing(tmp_path: Path) -> None:
    log = SchedulerLog(tmp_path / "missing" / "scheduler.log")
    log.write("text")
    log.close()
    assert log.drops() == {"scheduler-log-bytes": 4}


def test_a_full_disk_is_counted() -> None:
    log = SchedulerLog(Path("/dev/full"))
    log.write("text")
    log.close()
    assert log.drops() == {"scheduler-log-bytes": 4}
