"""A guest that attacks its host: ``hostile.c`` is PID 1 and throws everything at the port that a guest can say.

One run, looked at from all sides. Its first seconds are quiet, so that what the flood does to the rate of samples is
compared with the same machine under the same load of everybody else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.guest.accel import Verdict
from ktstr_tui.guest.initramfs import GUEST_DIR_VARIABLE, guest_artifacts
from ktstr_tui.link.recording import Damage, read_recording
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import MAX_LINE_CHARS, RunState
from tests.guest.runs import PROGRAM, HeadlessRun, call_json, headless_run

SCENARIO = """
name = "hostile"
[[steps]]
name = "quiet"
duration_ms = 6000
[[steps]]
name = "flood"
duration_ms = 20000
"""
MAX_GROWTH_KIB = 64 << 10
"""Of the backend's own memory, from the quiet guest to the worst moment of the flood."""
MAX_LATE_GROWTH_KIB = 16 << 10
"""The same from the middle of the flood on: nothing goes on growing."""
MAX_RECORDING_BYTES = 32 << 20
MAX_DATA_BYTES = 64 << 20


def own_memory_kib(pid: int) -> int:
    """What a process has allocated; the guest's RAM, which it maps, is not its own."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError("no RssAnon: a kernel before 4.5")


class Follower:
    """A viewer that comes in the middle of the flood, as a process of its own."""

    def __init__(self, run: HeadlessRun) -> None:
        self._process = subprocess.Popen(
            [*PROGRAM, "events", run.name, "--follow", "--json"],
            env=run.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: tuple[str, str] = ("", "")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        self._said = self._process.communicate()

    def end(self) -> tuple[list[int], str, int]:
        """The numbers of its events, what it said on standard error, and its exit code."""
        self._reader.join()
        out, err = self._said
        # Not splitlines(): the guest's text holds other characters that end lines.
        return [json.loads(line)["seq"] for line in out.split("\n") if line], err, self._process.returncode


class Attack:
    """The run and what was seen of it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.memory_kib: list[tuple[int, int]] = []
        """Host time in ns, and the backend's own memory."""
        self.status: dict[str, Any] = {}
        self.late: tuple[list[int], str, int] = ([], "", 0)
        self.summary: dict[str, Any] = {}
        self.exit_code = -1
        self.stderr = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Events of one type."""
        return [event for event in self.events if event["type"] == kind]

    def count(self, kind: str, **fields: object) -> int:
        """How many events of one type have these fields."""
        return sum(all(event[name] == value for name, value in fields.items()) for event in self.of(kind))

    @property
    def marks_ns(self) -> tuple[int, int, int]:
        """When the quiet time began, the flood began, and it ended."""
        quiet, flood = (step["mono_ns"] for step in self.of("step")[:2])
        ended = self.of("scenario")[-1]
        assert ended["state"] == "ended"
        return quiet, flood, ended["mono_ns"]

    def stood_ns(self, start_ns: int, end_ns: int) -> float:
        """How long the guest was frozen in a stretch of time, as far as the beats in it tell."""
        frozen_ms = [it["frozen_total_ms"] for it in self.of("beat") if start_ns <= it["mono_ns"] < end_ns]
        return 1e6 * float(frozen_ms[-1] - frozen_ms[0])

    def memory_between(self, start_ns: int, end_ns: int) -> list[int]:
        """The backend's memory in a stretch of time."""
        return [kib for at_ns, kib in self.memory_kib if start_ns <= at_ns <= end_ns]


def watch(run: HeadlessRun, attack: Attack) -> None:
    """Follow the run from its first event to its last."""
    late: Follower | None = None
    steps = 0
    for event in run.events():
        attack.events.append(event)
        kind = event["type"]
        steps += kind == "step"
        if kind == "beat" and run.process.poll() is None:
            attack.memory_kib.append((event["mono_ns"], own_memory_kib(run.process.pid)))
        if kind == "step" and steps == 1:
            assert call_json("capture", run.name, "--tag", "mine", env=run.env)["report"]["tag"] == "mine"
        if kind == "step" and steps == 2:
            late = Follower(run)
            attack.status = call_json("status", run.name, env=run.env)
        if kind == "run-ended":
            break
    assert late is not None
    attack.late = late.end()
    attack.exit_code, attack.summary, attack.stderr = run.end()


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory, checkout: Path, verdict: Verdict) -> Attack:
    """One run with the hostile program in the place of the guest program."""
    path = tmp_path_factory.mktemp("hostile")
    artifacts = guest_artifacts()
    programs = path / "guest"
    programs.mkdir()
    for demo in artifacts.demos.values():
        shutil.copy(demo, programs)
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    native = checkout / "native"
    sources = [
        *(native / "frames").glob("*.c"),
        native / "heartbeat/ktstr_vlp.c",
        *(checkout / "tests/guest/hostile").glob("*.c"),
    ]
    flags = ["-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror", f"-I{native}"]
    subprocess.run([compiler, *flags, "-o", programs / "ktstr-agent", *sources], check=True)
    scenario = path / "hostile.toml"
    scenario.write_text(SCENARIO)
    seen = Attack()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GUEST_DIR_VARIABLE, str(programs))
        with headless_run(
            path, "--no-seed", "--scenario", str(scenario), "--accel", verdict.accelerator, "--fresh-boot"
        ) as run:
            watch(run, seen)
    return seen


def test_the_run_ends_in_good_order(attack: Attack) -> None:
    assert attack.exit_code == attack.summary["exit_code"] == 0, attack.stderr
    assert attack.summary["end_reason"] == "scenario finished"
    assert "Traceback" not in attack.stderr


def test_the_counters_add_up_to_the_byte(attack: Attack) -> None:
    frames = attack.summary["frames"]
    sent = attack.summary["total_iterations"]
    assert sent > 1 << 20
    assert frames["bytes"] == sent, "what the guest says it sent"
    assert frames["bytes"] == (
        16 * frames["received"] + frames["payload_bytes"] + frames["skipped_bytes"] + frames["residual"]
    )
    assert frames["skipped_bytes"] == sum(frames["skipped"].values())
    assert frames["received"] == frames["unknown"] + sum(frames["by_type"].values())
    assert frames["residual"] == 0
    assert frames["oversized"] > 0
    assert frames["crc_bad"] > 100
    assert frames["unknown"] > 100


def test_the_backends_memory_is_bounded(attack: Attack) -> None:
    quiet_ns, flood_ns, end_ns = attack.marks_ns
    middle_ns = (flood_ns + end_ns) // 2
    before, early = attack.memory_between(quiet_ns, flood_ns), attack.memory_between(flood_ns, middle_ns)
    late = attack.memory_between(middle_ns, end_ns)
    assert min(map(len, (before, early, late))) >= 3
    assert max(early + late) - max(before) < MAX_GROWTH_KIB
    assert max(late) - max(early) < MAX_LATE_GROWTH_KIB


def test_live_samples_keep_their_rate(attack: Attack) -> None:
    quiet_ns, flood_ns, end_ns = attack.marks_ns

    def rate(start_ns: int, end_ns: int) -> float:
        samples = [it for it in attack.of("sample") if start_ns <= it["mono_ns"] < end_ns]
        return 1e9 * len(samples) / (end_ns - start_ns - attack.stood_ns(start_ns, end_ns))

    assert rate(flood_ns, end_ns) >= 0.9 * rate(quiet_ns, flood_ns)


def test_the_guest_cannot_make_itself_stand_still_for_long(attack: Attack) -> None:
    _, flood_ns, end_ns = attack.marks_ns
    assert attack.stood_ns(flood_ns, end_ns) < 0.2 * (end_ns - flood_ns)


def test_every_drop_has_its_reason(attack: Attack) -> None:
    frames, drops = attack.summary["frames"], attack.summary["drops"]
    reasons = set(frames["dropped"])
    assert reasons >= {
        "SnapshotReply: only the host may send it",
        "AccessorReady: only the host may send it",
        "Shutdown: only the host may send it",
        "KernelOpReply: only the host may send it",
        "SysRdy: repeated",
        "ScenarioStart: repeated",
        "SnapshotRequest: too many",
        "SnapshotRequest: bad shape",
        "SchedExit: too many",
        "SchedExit: bad CRC",
        "Stimulus: too many",
        "WorkerReport: too many",
        "Lifecycle: too many",
        "to guest: SnapshotReply: queue full",
    }
    assert "guest-kernel-ops.too-many" in drops
    assert any(reason.startswith("port.bytes-left-out: ") for reason in drops)


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [
        ("SchedExit", "scheduler", {"change": "process-exit"}),
        ("Stimulus", "step", {}),
        ("WorkerReport", "workers", {}),
        ("Lifecycle", "lifecycle", {}),
        ("ScenarioPause", "scenario", {"state": "paused"}),
    ],
)
def test_what_is_neither_told_nor_dropped_does_not_exist(
    attack: Attack, name: str, kind: str, fields: dict[str, object]
) -> None:
    frames = attack.summary["frames"]
    dropped: Counter[str] = Counter()
    for reason, count in frames["dropped"].items():
        dropped[reason.partition(":")[0]] += count
    assert frames["by_type"][name] == attack.count(kind, **fields) + dropped[name]


def test_viewers_miss_nothing(attack: Attack) -> None:
    numbers = [event["seq"] for event in attack.events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert attack.status["phase"] == "running"
    late, said, code = attack.late
    assert (code, late) == (0, list(range(late[0], late[-1] + 1)))
    assert late[-1] == numbers[-1], said


def test_the_guest_cannot_take_the_place_of_other_captures(attack: Attack) -> None:
    (mine,) = (entry for entry in attack.summary["captures"] if entry["tag"] == "mine")
    assert mine["trigger"] == "on-demand"
    host_names = [entry["tag"] for entry in attack.summary["captures"] if entry["trigger"] == "guest"]
    assert host_names
    assert not {"error-001", "periodic_000"} & set(host_names)


def test_nothing_grows_on_the_disk(attack: Attack) -> None:
    data = Path(attack.summary["data_dir"])
    files = [path for path in data.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_DATA_BYTES
    assert (data / "recording.ktstr").stat().st_size < MAX_RECORDING_BYTES
    for entry in attack.summary["captures"]:
        assert Path(entry["path"]).parent == data / "captures"


def test_the_recording_has_it_all_and_its_fold_is_small(attack: Attack) -> None:
    state, damages = RunState(), list[Damage]()
    for event in read_recording(Path(attack.summary["data_dir"]) / "recording.ktstr", damages.append):
        fold(state, event)
    assert damages == []
    assert state.seq == len(attack.events)
    assert state.frames.bytes == attack.summary["frames"]["bytes"]
    assert max(len(line.text) for line in [*state.output, *state.log]) <= MAX_LINE_CHARS + 40
    assert not any("\x1b" in line.text for line in [*state.output, *state.log])
