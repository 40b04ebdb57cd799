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

    [[steps]]
    name = "first"
    duration_ms = 5000           # from the moment that the scheduler is attached and the workers run
    until = "duration"           # or "ejected": ends when the scheduler is thrown out, at the latest then
    scheduler = "demo:fifo"      # "none" (the kernel's own), demo:NAME, a path with arguments
    fixed = false                # true: `--scheduler` leaves this step alone
    capture = "middle"           # optional: ask the host for a capture under this tag, half way through
    watch = "scx_root"           # optional: ask the host to capture at every write to this, from the step on
    about = "What to look at"    # optional: the screen explains the step and waits for a key before it

``[[steps.workers]]`` after a step gives it its own load. A scheduler path is relative to the scenario's
file. When consecutive steps name the same scheduler, it stays loaded between them. Test aids, to see a run
cope with a broken guest: ``panic = true``, ``hang = true`` or ``reboot = true`` in a step does that to the
guest once the workers run.

The guest's Exit frame: 0 the scenario ended (or was shut down), 1 it ended and a scheduler was ejected or
died on the way, 2 a scheduler did not attach and the scenario ended there, 3 the plan or the machine was
unusable. Exit codes of the loader of BPF objects (SchedExit frame): 0 detached on request, 1 ejected by the
kernel, 2 rejected; those of a scheduler program are its own, or 128 and the signal that ended it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from ktstr_tui.guest.guest_files import NO_SCHEDULER, SchedulerPayload
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.toml_file import Lines, Place, parse_toml
from ktstr_tui.wire.user_file import read_user_text

MAX_STEPS = 64
MAX_ABOUT = 1000
"""Characters of a step's explanation."""
MAX_GROUPS = 32
"""Worker tables of one step."""
MAX_PROCESSES = 256
"""Worker processes of one step."""
MAX_SCHEDULERS = 16
"""Different ones in a scenario, ``none`` not counted."""
MAX_DURATION_MS = 86_400_000
MAX_PLAN_BYTES = 65_535
MAX_SCENARIO_BYTES = 1 << 20
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"

WorkerKind = Literal["spin", "yield", "bursty", "pipe", "futex", "fork", "mixed", "sleep"]
WorkerPolicy = Literal["normal", "batch", "idle", "fifo", "rr", "ext"]
Until = Literal["duration", "ejected"]
Failure = Literal["panic", "hang", "reboot"]
Cpu = Annotated[int, msgspec.Meta(ge=0, le=254)]
Name = Annotated[str, msgspec.Meta(max_length=40, pattern=_PRINTABLE)]


class Workers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some processes of one kind."""

    kind: WorkerKind
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROCESSES)] = 1
    affinity: tuple[Cpu, ...] = ()
    """CPUs they may run on; empty for all."""
    nice: Annotated[int, msgspec.Meta(ge=-20, le=19)] = 0
    policy: WorkerPolicy = "normal"

    @property
    def processes(self) -> int:
        """Processes that these make: pipe and futex workers come in pairs."""
        return self.count * (2 if self.kind in ("pipe", "futex") else 1)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of time under one scheduler and one load."""

    name: Name
    duration_ms: Annotated[int, msgspec.Meta(ge=1, le=MAX_DURATION_MS)]
    until: Until = "duration"
    scheduler: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] = NO_SCHEDULER
    fixed: bool = False
    workers: Annotated[tuple[Workers, ...], msgspec.Meta(max_length=MAX_GROUPS)] | None = None
    """None when the step has no table of its own; resolved by `load_scenario`."""
    capture: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] | None = None
    watch: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] | None = None
    about: Annotated[str, msgspec.Meta(max_length=MAX_ABOUT)] = ""
    panic: bool = False
    hang: bool = False
    reboot: bool = False

    def __post_init__(self) -> None:
        if sum(group.processes for group in self.workers or ()) > MAX_PROCESSES:
            raise ValueError(f"more than {MAX_PROCESSES} worker processes")
        if self.panic + self.hang + self.reboot > 1:
            raise ValueError("at most one of panic, hang and reboot")
        if len((self.capture or "").encode()) > 64:
            raise ValueError("capture: a tag has at most 64 bytes")
        if len((self.watch or "").encode()) > 64:
            raise ValueError("watch: a symbol has at most 64 bytes here")

    @property
    def failure(self) -> Failure | None:
        """The test aid that this step asks for."""
        chosen: tuple[tuple[bool, Failure], ...] = (
            (self.panic, "panic"),
            (self.hang, "hang"),
            (self.reboot, "reboot"),
        )
        return next((name for wanted, name in chosen if wanted), None)


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Named steps, run one after the other."""

    name: Name
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    description: str = ""
    workers: Annotated[tuple[Workers, ...], msgspec.Meta(max_length=MAX_GROUPS)] = ()
    """The load of steps that have no table of their own."""

    def __post_init__(self) -> None:
        if len(self.schedulers() - {NO_SCHEDULER}) > MAX_SCHEDULERS:
            raise ValueError(f"more than {MAX_SCHEDULERS} different schedulers")

    @property
    def duration_ms(self) -> int:
        """The longest that all steps together take, without the time to attach schedulers."""
        return sum(step.duration_ms for step in self.steps)

    def schedulers(self) -> set[str]:
        """Names of all schedulers that steps ask for, ``none`` included."""
        return {step.scheduler for step in self.steps}

    def with_scheduler(self, name: str) -> Scenario:
        """This scenario with every step under scheduler ``name``, except steps marked ``fixed``.

        What is said about a step is about the scheduler that it had, so the other steps lose it.
        """
        steps = (s if s.fixed else msgspec.structs.replace(s, scheduler=name, about="") for s in self.steps)
        return msgspec.structs.replace(self, steps=tuple(steps))

    def require_cpus(self, cpus: int) -> None:
        """Check that the guest has the CPUs that workers are pinned to.

        Raises:
            UsageError: A worker names a CPU that a guest of ``cpus`` CPUs lacks.
        """
        for step in self.steps:
            for group in step.workers or ():
                if group.affinity and max(group.affinity) >= cpus:
                    raise UsageError(
                        f"scenario {self.name}, step {step.name}: a {group.kind} worker is pinned to CPU"
                        f" {max(group.affinity)}, and the guest has CPUs 0 to {cpus - 1}",
                        "ask for more CPUs with --topology, or change the scenario's affinity",
                    )


def packaged() -> list[str]:
    """Names of the scenarios that come with the program."""
    files = resources.files("ktstr_tui.scenarios").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a packaged scenario by name, or a file by path (anything with a slash or a ``.toml`` ending).

    Raises:
        UsageError: No such scenario, or a mistake in it: the message names file, line and key.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        path = Path(name_or_path)
        source = read_user_text(path, "scenario", max_bytes=MAX_SCENARIO_BYTES)
        return _beside(parse_scenario(source, str(path)), path.parent)
    if text not in packaged():
        raise UsageError(
            f"no packaged scenario {text!r}{did_you_mean(text, packaged())}",
            f"packaged are {', '.join(packaged())}; name a file of your own by its path, ending in .toml",
        )
    source = (resources.files("ktstr_tui.scenarios") / f"{text}.toml").read_text("utf-8")
    return parse_scenario(source, f"{text}.toml")


def parse_scenario(source: str, filename: str) -> Scenario:
    """Read a scenario from TOML text; ``filename`` is for messages.

    Raises:
        UsageError: See `load_scenario`.
    """
    table = parse_toml(source, filename)
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise _mistake(str(error), source, filename) from error
    steps = tuple(
        step if step.workers is not None else msgspec.structs.replace(step, workers=scenario.workers)
        for step in scenario.steps
    )
    return msgspec.structs.replace(scenario, steps=steps)


def _beside(scenario: Scenario, directory: Path) -> Scenario:
    # Scheduler paths in a file are relative to the file.
    def anchored(step: Step) -> Step:
        if step.scheduler == NO_SCHEDULER or step.scheduler.startswith("demo:"):
            return step
        first, *rest = shlex.split(step.scheduler) or [""]
        if not (directory / first).exists():
            return step
        return msgspec.structs.replace(step, scheduler=shlex.join([str(directory / first), *rest]))

    return msgspec.structs.replace(scenario, steps=tuple(anchored(step) for step in scenario.steps))


def _mistake(message: str, source: str, filename: str) -> UsageError:
    # msgspec says: what is wrong - at `$.steps[0].workers[1].kind`
    what, _, at = message.partition(" - at `$")
    place: Place = tuple(
        int(number) if number else name for number, name in re.findall(r"\[(\d+)\]|\.(\w+)", at)
    )
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    key = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in place)
    if unknown:
        what = f"there is no such key{did_you_mean(unknown[1], _keys_of(place))}"
        place = (*place, unknown[1])
        key = ".".join(filter(None, (key, unknown[1])))
    if missing:
        what = f"the key {missing[1]} is missing"
    names = [part for part in place if isinstance(part, str)]
    choices = _CHOICES.get(names[-1], ()) if names else ()
    if value := re.fullmatch(r"Invalid enum value '(.*)'", what):
        what = f"there is no {names[-1]} {value[1]!r}{did_you_mean(value[1], choices)}"
    line = Lines(source).find(place)
    hint = f"{names[-1]} is one of {', '.join(choices)}" if choices else ""
    if unknown:
        hint = f"keys here are {', '.join(_keys_of(place[:-1]))}"
    return UsageError(f"{filename}:{line}: {key or 'scenario'}: {what}", hint)


_CHOICES = {"kind": get_args(WorkerKind), "policy": get_args(WorkerPolicy), "until": get_args(Until)}


def _keys_of(place: Place) -> tuple[str, ...]:
    """The keys of the table at ``place``."""
    names = tuple(part for part in place if isinstance(part, str))
    tables = {(): Scenario.__struct_fields__, ("steps",): Step.__struct_fields__}
    return tables.get(names, Workers.__struct_fields__)


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-,+")


def _escape(value: str) -> str:
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in value.encode())


def _line(word: str, pairs: list[tuple[str, str | int]]) -> str:
    return " ".join([word, *(f"{key}={_escape(str(value))}" for key, value in pairs)])


def encode_plan(scenario: Scenario, scheduler_table: Mapping[str, SchedulerPayload]) -> bytes:
    """Write the plan that the guest program reads. The format is defined in native/agent/plan.h.

    Args:
        scenario: What to run.
        scheduler_table: The payload of every name in ``scenario.schedulers()`` except ``none``.

    Raises:
        KeyError: A scheduler of the scenario is not in the table.
        UsageError: The plan is larger than the guest program takes.
    """
    lines = ["ktstr-plan 1"]
    names = sorted(scenario.schedulers() - {NO_SCHEDULER})
    for name in names:
        payload = scheduler_table[name]
        pairs: list[tuple[str, str | int]] = [("name", payload.name), ("kind", payload.kind)]
        lines.append(_line("sched", [*pairs, *(("arg", argument) for argument in payload.argv)]))
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
        lines.append(_line("step", pairs))
        lines.extend(_worker_line(group) for group in step.workers or ())
    lines.append(_line("end", [("steps", len(scenario.steps))]))
    plan = ("\n".join(lines) + "\n").encode("ascii")
    if len(plan) > MAX_PLAN_BYTES:
        raise UsageError(f"scenario {scenario.name} is too large", "give it fewer steps or shorter arguments")
    return plan


def _worker_line(group: Workers) -> str:
    pairs: list[tuple[str, str | int]] = [
        ("kind", group.kind),
        ("count", group.count),
        ("policy", group.policy),
        ("nice", group.nice),
    ]
    if group.affinity:
        pairs.append(("cpus", ",".join(str(cpu) for cpu in sorted(set(group.affinity)))))
    return _line("worker", pairs)
