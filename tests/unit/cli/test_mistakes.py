"""Mistakes of the user and limits of the host become a sentence and an exit code, never the report of a bug."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ktstr_tui.cli import main as program
from ktstr_tui.model.errors import EXIT_BUG, EXIT_HOST, EXIT_USAGE
from ktstr_tui.text.output import EXIT_BROKEN_PIPE, guarded

NINES = "9" * 5000
"""More digits than Python converts."""
PROGRAM = (sys.executable, "-m", "ktstr_tui.cli.main")


@pytest.mark.parametrize(
    "arguments",
    [
        ("op", "read", f"a:{NINES}"),
        ("op", "write", f"a:{NINES}=1"),
        ("op", "write", f"a={NINES}"),
        ("op", "write", "a:u64=0x1ffffffffffffffff"),
        ("op", "read", f"task:{NINES}.x"),
        ("op", "read", f"rq@{NINES}.x"),
        ("beat", "--udp", "127.0.0.1:99999"),
        ("beat", "--udp", f"127.0.0.1:{NINES}"),
        ("beat", "--udp", "127.0.0.1:x"),
        ("beat", "--udp", "127.0.0.1:77", "--interval", "inf"),
        ("beat", "--udp", "127.0.0.1:77", "--interval", "1e308"),
        ("status", "a/" * 3000),
        ("status", "a" * 300),
        ("run", "--headless", "--topology", f"{NINES}n1l1c1t"),
        ("run", "--headless", "--topology", "1n1l2c1t", "--cpus", "2"),
        ("run", "--headless", "--cpus", NINES),
        ("run", "--headless", "--memory", f"{NINES}G"),
        ("run", "--headless", "--duration", "inf"),
        ("run", "--headless", "--boot-deadline", "inf"),
        ("run", "--headless", "--freeze-limit", "inf"),
        ("run", "--headless", "--silent-ms", "inf"),
        ("run", "--headless", "--observer-watchdog", "inf"),
        ("run", "--headless", "--beats-udp", "127.0.0.1:99999"),
        ("run", "--headless", "--scheduler", "it's"),
        ("run", "--headless", "--scheduler", 'a"b', "--", "it's"),
        ("watch", "remove", NINES),
        *(
            (*command, name)
            for name in ("a" * 300, "a" * 5000, "a" * 300 + ".snap", "a" * 300 + "/x")
            for command in (
                ("drgn",),
                ("gdb",),
                ("replay",),
                ("rerun",),
                ("restore",),
                ("snapshot", "show"),
                ("snapshot", "list"),
                ("snapshot", "rm"),
                ("runs", "show"),
                ("recording", "export"),
                ("audit", "show"),
                ("capture-diff",),
            )
        ),
        ("rerun",),
        ("restore",),
        ("restore", "x", "--scheduler", __file__),
        ("restore", "x", "--scheduler", "demo:none"),
        ("restore", "x", "--scheduler", "none"),
        ("restore", "x", "--scheduler", sys.executable),
        ("scheduler", "replace", __file__),
        ("scheduler", "replace", "none"),
    ],
)
def test_a_mistake_of_the_user_is_named_as_one(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
    with pytest.raises(SystemExit) as left:
        program.main()
    told = capsys.readouterr()
    assert left.value.code == EXIT_USAGE
    assert told.out == ""
    assert told.err
    assert "bug in ktstr-tui" not in told.err


@pytest.mark.parametrize(
    ("arguments", "what", "then"),
    [
        (
            ("events", "/no/such"),
            "there is no file or directory /no/such",
            "name a run, its recording.ktstr,",
        ),
        (
            ("events", "/dev/zero"),
            "cannot read the recording /dev/zero: it is a device",
            "name a regular file",
        ),
        (("attach", "no-such"), "no run named no-such", "start one with"),
        (("drgn", "nobody"), "neither a run in progress nor a snapshot is called nobody", "snapshot list"),
        (("gdb", "nobody"), "neither a run in progress nor a snapshot is called nobody", "snapshot list"),
        (("status", "/no/such"), "there is no file or directory /no/such", "name a run (ktstr-tui status"),
        (("capture", "--tag", "  "), "--tag: a tag without anything to see", "letters"),
        (("capture", "--tag", ""), "--tag: a tag without anything to see", "letters"),
        (
            ("capture", "--tag", "a\x1b[1mb"),
            "--tag: a tag with control characters, or with spaces",
            "letters",
        ),
        (
            ("capture", "--tag", "x" * 500),
            "--tag: a tag of 500 characters; at most 256 are allowed",
            "letters",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    arguments: tuple[str, ...],
    what: str,
    then: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Runs in progress on this host would be named as well.
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
    with pytest.raises(SystemExit) as left:
        program.main()
    error, following = capsys.readouterr().err.splitlines()
    assert left.value.code == EXIT_USAGE
    assert error.startswith(f"error (usage): {what}")
    assert following.startswith("next: ")
    assert then in following


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("rnu",), "run"),
        (("kernl", "fetch"), "kernel"),
        (("confg",), "config"),
        (("kernel", "fecth"), "fetch"),
        (("run", "--memroy", "1G"), "there is no option '--memroy'. Did you mean \"--memory\"?"),
        (("run", "--no-headles"), "there is no option '--no-headles'. Did you mean \"--no-headless\"?"),
        (("kernel", "fetch", "--jsno"), "there is no option '--jsno'. Did you mean \"--json\"?"),
        (("--verison",), "there is no option '--verison'. Did you mean \"--version\"?"),
        (("status", "--zzz"), "there is no option '--zzz'"),
        (("run", "--accel", "kmv"), "kvm"),
        (("config", "chekc"), "check"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(
    arguments: tuple[str, ...], near: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
    monkeypatch.setattr(program.app, "registered_groups", [])
    with pytest.raises(SystemExit) as left:
        program.main()
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert left.value.code == EXIT_USAGE
    assert near in said
    assert "Possible options" not in said
    assert ("Did you mean" in said or "is not one of" in said) is ("--zzz" not in arguments)
    assert "Value error" not in said


def test_a_scheduler_with_a_quote_in_its_file_name_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "it's.bpf.o"
    path.write_text("no ELF")
    done = subprocess.run(
        [*PROGRAM, "run", "--headless", "--scheduler", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_USAGE
    assert "is not an ELF file" in done.stderr or "quote it as for a shell" in done.stderr


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ENOMEM, errno.EFBIG])
def test_a_limit_of_the_host_is_named_as_one(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def limited() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit) as left:
        guarded(limited)
    assert left.value.code == EXIT_HOST
    assert os.strerror(number) in capsys.readouterr().err


def test_a_defect_is_still_reported_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def defective() -> None:
        raise KeyError("x")

    with pytest.raises(SystemExit) as left:
        guarded(defective)
    assert left.value.code == EXIT_BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ('"$@" >/dev/full', EXIT_HOST),
        ('"$@" >/dev/full 2>/dev/full', EXIT_HOST),
        ('"$@" >&-', 0),
        ('"$@" >&- 2>&- <&-', 0),
        ('"$@" | true; exit ${PIPESTATUS[0]}', EXIT_BROKEN_PIPE),
    ],
)
def test_standard_output_that_takes_nothing_is_not_a_defect(shell: str, code: int) -> None:
    check(shell, code, "locate")


@pytest.mark.parametrize(
    "shell",
    [
        '"$@" 2>/dev/full',
        '"$@" >/dev/full 2>/dev/full',
        '"$@" 2>&-',
        # The reader is gone before the first word.
        'exec 3> >(exec 0<&-); wait $!; "$@" 2>&3',
    ],
)
def test_standard_error_that_takes_nothing_changes_no_exit_code(shell: str) -> None:
    check(shell, EXIT_USAGE, "status", "there/is/none")


def check(shell: str, code: int, *arguments: str) -> None:
    """Run the program within a line of bash."""
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("limit", "value", "arguments"),
    [
        (resource.RLIMIT_AS, 100 << 20, ("drgn", "-c", "1")),
        (resource.RLIMIT_NOFILE, 8, ("doctor", "--json")),
        (resource.RLIMIT_FSIZE, 0, ("doctor", "--json")),
        (resource.RLIMIT_NOFILE, 32, ("run", "--headless", "--accel", "tcg")),
    ],
)
def test_small_limits_of_resources_are_named(limit: int, value: int, arguments: tuple[str, ...]) -> None:
    # Measuring what the tests run writes a file, too.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )
    assert done.returncode == EXIT_HOST, done.stderr
    assert "error (this host): " in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr
