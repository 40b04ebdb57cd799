"""Periodic and early captures of real runs, and a scheduler program that serves its own statistics.

The program is small: it lets the guest program's loader attach a demo scheduler, and serves the socket at
which scx schedulers serve their statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.scenario import Scenario, Step
from ktstr_tui.model.diff import ReportDiff
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import DualReport, decode_report
from ktstr_tui.port.stats_port import (
    MAX_LINE_BYTES,
    NoScheduler,
    Refused,
    RelayError,
    StatsError,
    StatsPort,
    Timeout,
)
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from tests.guest.booting import open_booted, spec_of
from tests.guest.runs import call, call_json, private_environment

RUN_TIMEOUT_S = 240
"""Generous, because it only matters when something is broken."""
SERVES = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char big[300 << 10];

// Answer one request; a scheduler counts them, and does not answer every one.
static void answer(int fd, const char *request, int number)
{
	char text[256];

	if (number == 2) // a refusal
		snprintf(text, sizeof(text), "{\"errno\":22,\"args\":{\"resp\":\"not now\"}}\n");
	else
		snprintf(text, sizeof(text), "{\"errno\":0,\"args\":{\"resp\":{\"nr\":%d,\"stats\":%s}}}\n", number,
				strstr(request, "\"stats\"") ? "true" : "false");
	if (number == 3) // silence
		return;
	if (number == 4) { // too much
		memset(big, 'x', sizeof(big));
		send(fd, big, sizeof(big), MSG_NOSIGNAL);
	}
	send(fd, text, strlen(text), MSG_NOSIGNAL);
	if (number == 5) // and gone until the next connection
		close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/var/run/scx/root/stats" };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), number = 0;

	if (!fork()) {
		int pair[2]; // the loader attaches at a word that comes through its last argument (loader.h)
		char go = 'g', number[12];

		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		send(pair[0], &go, 1, 0);
		snprintf(number, sizeof(number), "%d", pair[1]);
		execl("/init", "ktstr-load", argv[1], number, (char *)NULL);
		return 1;
	}
	mkdir("/var/run/scx", 0755);
	mkdir("/var/run/scx/root", 0755);
	unlink(address.sun_path);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 4))
		return 2;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char request[4096];
		ssize_t n;

		while ((n = recv(fd, request, sizeof(request) - 1, 0)) > 0) {
			request[n] = 0;
			if (request[n - 1] == '\n')
				answer(fd, request, number++);
		}
		close(fd);
	}
}
"""
SCENARIO = """
name = "served"
[[workers]]
kind = "spin"
count = 3

[[steps]]
name = "served"
duration_ms = 5000
scheduler = {served}

[[steps]]
name = "demo"
duration_ms = 7000
scheduler = "demo:fifo"
"""
ASKED = 10
PATIENCE_S = 60
"""Longer than the relay waits, whatever the load of this host."""


def load(entry: dict[str, Any]) -> CaptureReport:
    report = decode_report(Path(entry["path"]).read_bytes())
    assert isinstance(report, CaptureReport)
    return report


@pytest.fixture
def served(compile_c: Callable[..., str]) -> str:
    """The serving program with its argument, as a scenario names it."""
    (loaded,) = resolve_scheduler("demo:fifo").argv
    return f"{compile_c('serves', SERVES, '-static')} {loaded}"


async def answer_of(port: StatsPort) -> object:
    """Statistics, or the class of the error."""
    try:
        return await port.stats(PATIENCE_S)
    except StatsError as error:
        return type(error)


async def test_the_relay_answers_every_request_whatever_the_scheduler_does(
    machine_spec: MachineSpec, served: str
) -> None:
    steps = (Step("served", 120_000, scheduler=served), Step("demo", 120_000, scheduler="demo:fifo"))
    scenario = Scenario("served", steps)
    up, begun = trio.Event(), trio.Event()

    async def listen(machine: Machine) -> None:
        assembler = FrameAssembler()
        async for data in machine.bulk:
            for frame in assembler.feed(bytes(data)):
                if frame.msg_type == MsgType.SysRdy:
                    up.set()
                if frame.msg_type == MsgType.Stimulus:
                    begun.set()

    async with open_booted(spec_of(machine_spec, scenario)) as machine, trio.open_nursery() as nursery:
        nursery.start_soon(listen, machine)
        port = StatsPort(machine.stats)
        with trio.fail_after(RUN_TIMEOUT_S):
            await up.wait()
            assert await answer_of(port) is NoScheduler, "the scenario has not begun"
            await machine.bulk.send_all(encode_frame(MsgType.AccessorReady, b""))
            await begun.wait()
            found = [await answer_of(port) for _ in range(7)]
            meaning = await port.meta(PATIENCE_S)
            largest = {"req": "x" * (MAX_LINE_BYTES - len('{"req":""}'))}
            exactly_the_cap = await port.request(largest, PATIENCE_S)
            await machine.stats.send_all(b"x" * (MAX_LINE_BYTES + 1) + b"\n")
            refusal = b""
            while not refusal.endswith(b"\n"):
                refusal += bytes(await machine.stats.receive_some(4096))
            after = await answer_of(port)
        nursery.cancel_scope.cancel()
    assert found == [
        *({"nr": number, "stats": True} for number in (0, 1)),
        Refused,
        Timeout,
        RelayError,
        {"nr": 5, "stats": True},
        {"nr": 6, "stats": True},  # it had hung up, so this is another connection
    ]
    assert meaning == {"nr": 7, "stats": False}
    assert exactly_the_cap == {"nr": 8, "stats": False}
    assert b'"ktstr_relay_error":"request too large"' in refusal
    assert after == {"nr": 9, "stats": True}
    assert port.statistics().discarded_lines == 0


def test_captures_come_when_due_with_what_the_scheduler_says(tmp_path: Path, served: str) -> None:
    path = tmp_path / "served.toml"
    path.write_text(SCENARIO.format(served=msgspec.json.encode(served).decode()))
    arguments = ("run", "--headless", "--no-seed", "--scenario", str(path), "--captures", str(ASKED))
    summary = call_json(*arguments, env=private_environment(tmp_path))
    assert summary["exit_code"] == 0, summary["end_reason"]
    reports = [load(entry) for entry in summary["captures"] if entry["trigger"] == "periodic"]
    assert [it.tag for it in reports] == [f"periodic_{index:03d}" for index in range(ASKED)]
    assert not any(it.is_placeholder for it in reports)
    due = [it.boundary_offset_ms or 0.0 for it in reports]
    assert due == pytest.approx([1200 + (index + 1) * 9600 / (ASKED + 1) for index in range(ASKED)])
    elapsed = [it.elapsed_ms or 0.0 for it in reports]
    assert all(late >= early for early, late in zip(due, elapsed, strict=True)), "never before it is due"
    assert all(later - earlier >= 100 for earlier, later in pairwise(elapsed))
    # The first may come before the first step, which begins when its scheduler is attached.
    steps = [-1 if it.step_index is None else it.step_index for it in reports]
    assert steps == sorted(steps)
    assert {it.step for it in reports} >= {"served", "demo"}
    for it in reports:
        assert (it.scheduler_stats is None) != (it.scheduler_stats_unavailable is None)
    # A capture does not wait long for an answer, so on a busy host some have none; the requests went all the same.
    answers = [it.scheduler_stats for it in reports if it.scheduler_stats is not None]
    assert answers
    numbers = [int(answer["nr"]) for answer in answers]
    assert answers[0] == {"nr": 0, "stats": True}
    assert answers == [{"nr": number, "stats": True} for number in numbers]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < ASKED
    # The socket is still there in the next step, but nobody serves it.
    reasons = {it.scheduler_stats_unavailable for it in reports if it.step == "demo"}
    assert reasons == {"no scheduler: no server at /var/run/scx/root/stats"}


def test_a_stall_is_captured_early_and_the_difference_names_who_starved(tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    summary = call_json(
        "run", "--headless", "--no-seed", "--scheduler", "demo:stall", "--duration", "200", env=env
    )
    entries = {entry["trigger"]: entry for entry in summary["captures"]}
    early, late = load(entries["early"]), load(entries["error"])
    assert late.early_tag == early.tag
    assert late.early_skipped_reason is None
    assert late.scheduler is not None
    assert late.scheduler.watchdog_timeout_ms is not None
    assert late.early_threshold_ms == late.scheduler.watchdog_timeout_ms / 2
    assert late.early_max_age_ms is not None
    assert late.early_max_age_ms > late.early_threshold_ms
    assert early.exit_kind == 0
    assert early.stalled is not None
    assert early.stalled.age_ms > late.early_threshold_ms
    done = call("capture-diff", early.tag, late.tag, "--json", env=env)
    diff = msgspec.json.decode(done.stdout, type=ReportDiff)
    starved = [it for it in diff.tasks if it.starved]
    # The kernel's own words name the task that waited for the whole timeout.
    named_pid = int((late.scheduler.message or "").split("[")[1].split("]")[0])
    assert named_pid in [it.pid for it in starved]
    (queue,) = (it for it in diff.queues if it.id == 7)
    assert queue.left == 0
    assert "did not run in between" in call("capture-diff", early.tag, late.tag, env=env).stdout
    # Both are in one file, with the same difference.
    (dual_path,) = {entry["dual_path"] for entry in entries.values()}
    assert Path(dual_path).name == Path(entries["error"]["path"]).name.replace(".json", ".dual.json")
    dual = decode_report(Path(dual_path).read_bytes())
    assert isinstance(dual, DualReport)
    assert (dual.outcome, dual.tag, dual.early, dual.late) == ("both", late.tag, early, late)
    assert (dual.early_max_age_ms, dual.early_threshold_ms) == (
        late.early_max_age_ms,
        late.early_threshold_ms,
    )
    assert dual.diff == diff
    done = call("capture-diff", dual_path, "--json", env=env)
    assert msgspec.json.decode(done.stdout, type=ReportDiff) == diff
    assert "did not run in between" in call("capture-diff", dual_path, env=env).stdout


def test_without_the_early_capture_the_report_says_why(tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    arguments = (
        "run",
        "--headless",
        "--no-seed",
        "--scheduler",
        "demo:stall",
        "--no-early-capture",
        "--duration",
        "200",
    )
    summary = call_json(*arguments, env=env)
    assert [(entry["trigger"], entry["dual_path"]) for entry in summary["captures"]] == [("error", None)]
    assert summary["captures"][0]["early_skipped_reason"] == "early captures are turned off"
