"""``ktstr-tui drgn`` on a real guest, against what the guest says in its own /proc.

Only ``run.json`` and the two sockets are made by hand; it names QEMU, which holds the RAM as the backend of a run does.
`test_run` asks the same of a whole run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.recorder import RecorderConfig, recorder_arguments
from tests.guest.conftest import BootGuest, Guest
from tests.guest.runs import PROGRAM, TIMEOUT_S
from tests.unit.cli.test_drgn_prompt import run_directory

pytestmark = pytest.mark.guest

ASK = """
import json
print(json.dumps({
    "first": prog["init_task"].comm.string_().decode(),
    "release": prog["init_uts_ns"].name.release.string_().decode(),
    "tasks": {t.pid.value_(): t.comm.string_().decode() for t in for_each_task()},
    "stack": list(stack_trace(find_task(2))),
}))
"""
MAX_PID = 300


async def exported(place: Path, form: str) -> Path:
    """The kernel's trace of a run, as ``recording export`` writes it."""
    out = place.parent / f"trace.{form}"
    words = ("recording", "export", str(place), "--format", form, "--out", str(out))
    await trio.run_process([*PROGRAM, *words], capture_stdout=True)
    return out


async def prompt(place: Path, *arguments: str, typed: str = "") -> str:
    """What ``ktstr-tui drgn`` prints on standard output."""
    done = await trio.run_process(
        [*PROGRAM, "drgn", str(place), *arguments],
        stdin=typed.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return bytes(done.stdout).decode()


async def tasks_of(guest: Guest) -> dict[int, str]:
    """Pid and name of the guest's processes, asked of its /proc."""
    found = {}
    for pid in range(1, MAX_PID):
        comm = await guest.ask(f"cat /proc/{pid}/comm")
        if comm.endswith("\n"):
            found[pid] = comm.strip()
    return found


async def test_the_prompt_says_what_the_guest_says(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    recorder = recorder_arguments(RecorderConfig(), 2, 512)
    async with boot_guest(replace(machine_spec, append=recorder)) as guest:
        record = {"name": "mine", "pid": guest.machine.pid}
        with run_directory(tmp_path / "r", record) as place, trio.fail_after(TIMEOUT_S):
            before = await tasks_of(guest)
            said = json.loads(await prompt(place, "-c", ASK))
            after = await tasks_of(guest)
            trace = Trace()
            trace.ParseFromString((await exported(place, "perfetto")).read_bytes())
            dat = await exported(place, "trace.dat")
            typed = await prompt(place, typed='prog["init_task"].comm\nfind_task(1).pid\n')
        assert said["first"] == "swapper/0"
        assert said["release"] == (await guest.ask("cat /proc/sys/kernel/osrelease")).strip()
        stack = [
            line.split("] ")[1].split("/")[0] for line in (await guest.ask("cat /proc/2/stack")).splitlines()
        ]
    switches = [it.sched_switch for one in trace.packet for it in one.ftrace_events.event if it.pid == 1]
    assert any(it.next_comm.startswith("swapper") for it in switches), "PID 1 slept now and then"
    reported = await trio.run_process(["trace-cmd", "report", "-i", str(dat)], capture_stdout=True)
    assert b"sched_switch" in bytes(reported.stdout)
    ours = {int(pid): comm for pid, comm in said["tasks"].items()}
    assert ours.keys() >= before.keys() & after.keys()
    assert ours.keys() <= before.keys() | after.keys()
    assert len(ours) > 20
    for pid, comm in ours.items():
        # Of kernel threads /proc knows more than the 15 characters of comm.
        assert (before | after)[pid].startswith(comm)
    # /proc/PID/stack leaves the scheduler's own functions out.
    assert [name for name in said["stack"] if not name.startswith(("__schedule+", "schedule+"))] == stack
    assert '(char [16])"swapper/0"' in typed
    assert "(pid_t)1" in typed
