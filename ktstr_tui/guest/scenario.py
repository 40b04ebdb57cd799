"""Scenarios: what the guest does, as TOML for people and as a plan for the guest program.

A scenario is a list of named steps. A step has a duration, a scheduler and workers::

    name = "example"
    description = "What this shows, in one line"

    [[workers]]                  # optional: the load of every step that has no workers of its own
    kind = "spin"                # spin yield bursty pipe futex fork mixed sleep
    count = 2                    # processes; for pipe and futex: pairs
    affinity = [1]               # CPU numbers; without it any CPU
    nice = 0
    policy = "normal"            # normal batch idle fifo rr ext
    cgroup = "batch"             # of the scenario's; without it in the root

    [[steps]]
    name = "first"
    duration_ms = 5000           # from the moment that the scheduler is attached and the workers run
    until = "duration"           # or "ejected": ends when the scheduler is thrown out, at the latest then
    scheduler = "demo:fifo"      # "none" (the kernel's own), demo:NAME, a path with arguments
    fixed = false                # true: `--scheduler` leaves this step alone
    capture = "middle"           # optional: ask the host for a capture under this tag, half way through
    watch = "scx_root"           # optional: ask the host to capture at every write to this, from the step on
    about = "What to look at"    # optional: the screen explains the step and waits for a key before it

``[alarms]`` says how many milliseconds something may last before it is an early alarm: ``idle_ms``, ``dsq_ms``,
``wait_ms``, ``kthread_ms``. ``[[steps.workers]]`` after a step gives it its own load. ``[[steps.ops]]`` are what is
done to the guest in the middle of the step, and ``[[cgroups]]`` what workers are put into: see
`ktstr_tui.guest.scenario_ops`. A scheduler path is relative to the scenario's file. When consecutive steps name the
same scheduler, it stays loaded between them. Test aids, to see a run cope with a broken guest: ``panic = true``,
``hang = true`` or ``reboot = true`` in a step does that to the guest once the workers run.

The guest's Exit frame: 0 the scenario ended (or was shut down), 1 it ended and a scheduler was ejected or
died on the way, 2 a scheduler did not attach and the scenario ended there, 3 the plan or the machine was
unusable. Exit codes of the loader of BPF objects (SchedExit frame): 0 detached on request, 1 ejected by the
kernel, 2 rejected; those of a scheduler program are its own, or 128 and the signal that ended it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import msgspec

from ktstr_tui.guest.guest_files import NO_SCHEDULER, SchedulerPayload
from ktstr_tui.guest.plan_lines import Pair, cpu_list, plan_line
from ktstr_tui.guest.scenario_checks import check_course
from ktstr_tui.guest.scenario_ops import (
    OP_CLASSES,
    AttachSchedulerOp,
    Cgroup,
    Op,
    ReplaceSchedulerOp,
    op_pairs,
)
from ktstr_tui.guest.scenario_source import ScenarioSource
from ktstr_tui.guest.scenario_steps import (
    MAX_PROCESSES,
    MAX_STEPS,
    Scenario,
    Step,
    Until,
    WorkerKind,
    WorkerPolicy,
    Workers,
)
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.stimulus import STIMULUS_KINDS
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.toml_file import Place
from ktstr_tui.wire.user_file import read_user_text

__all__ = [
    "MAX_PROCESSES",
    "MAX_STEPS",
    "Scenario",
    "Step",
    "Workers",
    "encode_plan",
    "load_scenario",
    "packaged",
    "parse_scenario",
    "read_scenario",
]
MAX_PLAN_BYTES = 65_535
MAX_SCENARIO_BYTES = 1 << 20


def packaged() -> list[str]:
    """Names of the scenarios that come with the program."""
    files = resources.files("ktstr_tui.scenarios").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def read_scenario(name_or_path: str | Path) -> tuple[Scenario, ScenarioSource]:
    """Read a packaged scenario by name, or a file by path (anything with a slash or a ``.toml`` ending).

    Returns:
        The scenario, and its text for what may be found wrong with it later.

    Raises:
        UsageError: No such scenario, or a mistake in it: the message names file, line and key.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        path = Path(name_or_path)
        source = ScenarioSource(read_user_text(path, "scenario", max_bytes=MAX_SCENARIO_BYTES), str(path))
        return _beside(_convert(source), path.parent), source
    if text not in packaged():
        raise UsageError(
            f"no packaged scenario {text!r}{did_you_mean(text, packaged())}",
            f"packaged are {', '.join(packaged())}; name a file of your own by its path, ending in .toml",
        )
    file = resources.files("ktstr_tui.scenarios") / f"{text}.toml"
    source = ScenarioSource(file.read_text("utf-8"), f"{text}.toml")
    return _convert(source), source


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a scenario without its text.

    Raises:
        UsageError: See `read_scenario`.
    """
    return read_scenario(name_or_path)[0]


def parse_scenario(source: str, filename: str) -> Scenario:
    """Read a scenario from TOML text; ``filename`` is for messages.

    Raises:
        UsageError: See `read_scenario`.
    """
    return _convert(ScenarioSource(source, filename))


def _convert(source: ScenarioSource) -> Scenario:
    try:
        scenario = msgspec.convert(source.table, Scenario)
    except msgspec.ValidationError as error:
        raise source.mistyped(str(error), _CHOICES, _keys_of) from error
    steps = tuple(
        step if step.workers is not None else msgspec.structs.replace(step, workers=scenario.workers)
        for step in scenario.steps
    )
    scenario = msgspec.structs.replace(scenario, steps=steps)
    check_course(scenario, source)
    return scenario


def _beside(scenario: Scenario, directory: Path) -> Scenario:
    # Scheduler paths in a file are relative to the file.
    def anchored(name: str) -> str:
        if name in ("", NO_SCHEDULER) or name.startswith("demo:"):
            return name
        first, *rest = shlex.split(name) or [""]
        return shlex.join([str(directory / first), *rest]) if (directory / first).exists() else name

    def op_anchored(op: Op) -> Op:
        if isinstance(op, AttachSchedulerOp | ReplaceSchedulerOp):
            return msgspec.structs.replace(op, scheduler=anchored(op.scheduler))
        return op

    def step_anchored(step: Step) -> Step:
        ops = tuple(op_anchored(op) for op in step.ops)
        return msgspec.structs.replace(step, scheduler=anchored(step.scheduler), ops=ops)

    return msgspec.structs.replace(scenario, steps=tuple(step_anchored(step) for step in scenario.steps))


_CHOICES = {
    "kind": get_args(WorkerKind),
    "policy": get_args(WorkerPolicy),
    "until": get_args(Until),
    "op": STIMULUS_KINDS,
}


def _keys_of(place: Place, table: dict[str, Any]) -> tuple[str, ...]:
    """The keys of the table at ``place`` of a parsed scenario."""
    names = tuple(part for part in place if isinstance(part, str))
    if names == ("steps", "ops"):
        found: Any = table
        for part in place:
            found = found[part]
        return next(
            ("op", *op.__struct_fields__) for op in OP_CLASSES if op.__struct_config__.tag == found.get("op")
        )
    tables: dict[tuple[str, ...], tuple[str, ...]] = {
        (): Scenario.__struct_fields__,
        ("steps",): Step.__struct_fields__,
        ("cgroups",): Cgroup.__struct_fields__,
        ("alarms",): AlarmLimits.__struct_fields__,
    }
    return tables.get(names, Workers.__struct_fields__)


def encode_plan(scenario: Scenario, scheduler_table: Mapping[str, SchedulerPayload]) -> bytes:
    """Write the plan that the guest program reads. The format is defined in native/agent/plan.h.

    Args:
        scenario: What to run.
        scheduler_table: The payload of every name in ``scenario.schedulers()`` except ``none``.

    Raises:
        KeyError: A scheduler of the scenario is not in the table.
        UsageError: The plan is larger than the guest program takes.
    """
    lines = ["ktstr-plan 2"]
    names = sorted(scenario.schedulers() - {NO_SCHEDULER})
    for name in names:
        payload = scheduler_table[name]
        pairs: list[Pair] = [("name", payload.name), ("kind", payload.kind)]
        lines.append(plan_line("sched", [*pairs, *(("arg", argument) for argument in payload.argv)]))
    lines.extend(plan_line("cgroup", op_pairs(it.making, 0, names.index)) for it in scenario.cgroups)
    for step in scenario.steps:
        pairs = [("name", step.name), ("duration_ms", step.duration_ms), ("until", step.until)]
        if step.scheduler != NO_SCHEDULER:
            pairs.append(("sched", names.index(step.scheduler)))
        if step.capture:
            pairs.append(("capture", step.capture))
        if step.watch:
            pairs.append(("watch", step.watch))
        if step.failure:
            pairs.append(("fail", step.failure))
        lines.append(plan_line("step", pairs))
        lines.extend(_worker_line(group) for group in step.workers or ())
        lines.extend(plan_line("op", op_pairs(op, at_ms, names.index)) for at_ms, op in step.timed_ops())
    lines.append(plan_line("end", [("steps", len(scenario.steps))]))
    plan = ("\n".join(lines) + "\n").encode("ascii")
    if len(plan) > MAX_PLAN_BYTES:
        raise UsageError(f"scenario {scenario.name} is too large", "give it fewer steps or shorter arguments")
    return plan


def _worker_line(group: Workers) -> str:
    pairs: list[Pair] = [
        ("kind", group.kind),
        ("count", group.count),
        ("policy", group.policy),
        ("nice", group.nice),
    ]
    if group.affinity:
        pairs.append(("cpus", cpu_list(group.affinity)))
    if group.cgroup:
        pairs.append(("cgroup", group.cgroup))
    return plan_line("worker", pairs)
