"""The product needs no root: the same tour as an ordinary user.

When the tests run as root (as CI does) the program is started as uid 65534 with one capability left, reading any
file, because the checkout and the interpreter may lie in root's home; it can write, stop or trace nothing of others.
Any other user runs it as is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from ktstr_tui.guest.kernels import resolve_kernel
from ktstr_tui.guest.qemu_program import private_home
from tests.guest.runs import PROGRAM

NOBODY = 65534
READ_ONLY = "-all,+dac_read_search"


def _as_nobody() -> list[str]:
    if os.getuid() != 0:
        return []
    ids = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    caps = ["--inh-caps", READ_ONLY, "--ambient-caps", "+dac_read_search", "--bounding-set", READ_ONLY]
    return ["setpriv", *ids, *caps]


def test_the_tour_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    home = Path("/tmp") / f"ktstr-test-{os.getpid()}"
    home.mkdir(mode=0o700)
    try:
        if private_home().is_dir():
            # Where the system has no QEMU, the set-up fetched one into the cache of who ran it. A copy, because QEMU
            # looks for its firmware with access(), which knows no capability.
            shutil.copytree(private_home(), home / "cache/ktstr-tui/qemu", symlinks=True)
            subprocess.run(
                ["chown", "-R", str(NOBODY if os.getuid() == 0 else os.getuid()), home], check=True
            )
        if os.getuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        subprocess.run([*_as_nobody(), "mkdir", "-m", "700", home / "run"], check=True)
        env = {
            **os.environ,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        kernel = str(resolve_kernel(os.environ.get("KTSTR_TEST_KERNEL")).path_to_boot)
        command = [
            *_as_nobody(),
            *PROGRAM,
            "run",
            "--headless",
            "--no-seed",
            "--json",
            "--duration",
            "200",
            "--kernel",
            kernel,
        ]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400, check=False)
        assert done.stdout, done.stderr
        summary = json.loads(done.stdout)
        errors = [entry for entry in summary["captures"] if entry["trigger"] == "error"]
        assert [entry["exit_kind"] for entry in errors] == [1026]
        assert Path(summary["data_dir"]).stat().st_uid == (NOBODY if os.getuid() == 0 else os.getuid())
    finally:
        subprocess.run(["rm", "-rf", home], check=True)
