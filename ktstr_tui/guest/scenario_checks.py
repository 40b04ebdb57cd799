"""What is wrong with operations in their place: found before anything boots, and named with file, line and key.

`check_course` follows a scenario as it will go, with the cgroups that exist and the CPUs that are online at each
moment, as far as that is certain: a step that an ejection ends does not reach its last operations, and then the guest
itself says what could not be done. `check_available` compares with what a run offers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from ktstr_tui.guest import scenario_ops as ops
from ktstr_tui.guest.guest_files import NO_SCHEDULER
from ktstr_tui.guest.scenario_source import ScenarioSource
from ktstr_tui.guest.scenario_steps import Scenario, Step, Workers
from ktstr_tui.model.text import did_you_mean, tag_problem
from ktstr_tui.wire.toml_file import Place

MAX_TAG_BYTES: Final = 64
_CGROUPS = ("CGROUPS",)
_CPUSETS = ("CPUSETS",)
_WEIGHTS = ("GROUP_SCHED_WEIGHT", "FAIR_GROUP_SCHED")
_LIMITS = ("GROUP_SCHED_BANDWIDTH", "CFS_BANDWIDTH")
_HOTPLUG = ("HOTPLUG_CPU",)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has for a scenario."""

    cpus: int
    allow_writes: bool
    config: bytes | None
    """The kernel's build configuration; None where it is not known in full."""

    def lacks(self, options: Iterable[str]) -> bool:
        """Whether the kernel was built without every one of some options."""
        config = self.config
        if config is None:
            return False
        return not any(re.search(rb"^CONFIG_%s=y$" % name.encode(), config, re.MULTILINE) for name in options)


class _Course:
    """A scenario as it goes."""

    def __init__(self, scenario: Scenario, source: ScenarioSource) -> None:
        self._source = source
        self._cgroups: set[str] = set()
        self._offline: set[int] = set()
        for at, cgroup in enumerate(scenario.cgroups):
            self._add(cgroup.name, ("cgroups", at, "name"))

    def step(self, at: int, step: Step) -> None:
        """Follow one step."""
        own = "workers" in self._source.table["steps"][at]
        for number, group in enumerate(step.workers or ()):
            place: Place = ("steps", at, "workers", number) if own else ("workers", number)
            self._workers(group, place)
        names = frozenset(_names_of(step.workers or ()))
        before_ms = 0
        for number, (at_ms, op) in enumerate(step.timed_ops()):
            place = ("steps", at, "ops", number)
            if at_ms >= step.duration_ms:
                raise self._source.mistake(
                    (*place, "at_ms"), f"the step ends after {step.duration_ms} ms", "name an earlier time"
                )
            if at_ms < before_ms:
                raise self._source.mistake(
                    (*place, "at_ms"),
                    f"the operation before it comes after {before_ms} ms",
                    "write operations down in the order of their times",
                )
            before_ms = at_ms
            self._op(op, place, step, names)

    def _workers(self, group: Workers, place: Place) -> None:
        if group.cgroup is not None:
            self._known(group.cgroup, (*place, "cgroup"))
        if group.affinity:
            self._one_online(group.affinity, (*place, "affinity"))

    def _op(self, op: ops.Op, place: Place, step: Step, names: frozenset[str]) -> None:
        match op:
            case ops.AddCgroup():
                self._add(op.cgroup, (*place, "cgroup"))
            case ops.RemoveCgroup():
                self._known(op.cgroup, (*place, "cgroup"))
                self._cgroups.discard(op.cgroup)
            case ops.SetCpuset() | ops.SetWeight() | ops.SetCpuMax() | ops.FreezeCgroup() | ops.ThawCgroup():
                self._known(op.cgroup, (*place, "cgroup"))
            case ops.MoveWorkers():
                if op.cgroup != ops.ROOT_CGROUP:
                    self._known(op.cgroup, (*place, "cgroup"))
                self._some(op.workers, names, (*place, "workers"))
            case ops.SetAffinity():
                self._some(op.workers, names, (*place, "workers"))
                self._one_online(op.cpus, (*place, "cpus"))
            case ops.AttachSchedulerOp() | ops.ReplaceSchedulerOp():
                self._scheduler(op.scheduler, step, place)
            case ops.CaptureOp():
                self._short(op.tag, (*place, "tag"))
                problem = tag_problem(op.tag, MAX_TAG_BYTES)
                if problem:
                    raise self._source.mistake((*place, "tag"), problem, "choose a name to find it by")
            case ops.WatchOp():
                self._short(op.expression, (*place, "expression"))
            case ops.OfflineCpu() | ops.OnlineCpu():
                self._hotplug(op, (*place, "cpu"))

    def _add(self, name: str, place: Place) -> None:
        if name in self._cgroups:
            raise self._source.mistake(place, f"there is a cgroup {name!r} already", "choose another name")
        self._cgroups.add(name)

    def _known(self, name: str, place: Place) -> None:
        if name not in self._cgroups:
            what = f"there is no cgroup {name!r} at that moment{did_you_mean(name, self._cgroups)}"
            raise self._source.mistake(place, what, "make it in [[cgroups]], or by add-cgroup before")

    def _some(self, wanted: str, names: frozenset[str], place: Place) -> None:
        if not any(is_meant(wanted, name) for name in names):
            what = f"this step has no worker {wanted!r}" if wanted else "this step has no workers"
            hint = f"workers of this step are {', '.join(sorted(names))}" if names else ""
            raise self._source.mistake(place, what, hint)

    def _one_online(self, cpus: Iterable[int], place: Place) -> None:
        if set(cpus) <= self._offline:
            raise self._source.mistake(
                place, "all of these CPUs are offline at that moment", "bring one online before"
            )

    def _scheduler(self, name: str, step: Step, place: Place) -> None:
        if not name and step.scheduler == NO_SCHEDULER:
            raise self._source.mistake(
                place, "this step has no scheduler of its own", "name one: scheduler = "
            )
        if name == NO_SCHEDULER:
            raise self._source.mistake(
                (*place, "scheduler"), "the kernel's own scheduler cannot be attached", "use detach-scheduler"
            )

    def _short(self, text: str, place: Place) -> None:
        if len(text.encode()) > MAX_TAG_BYTES:
            raise self._source.mistake(place, f"it has more than {MAX_TAG_BYTES} bytes", "make it shorter")

    def _hotplug(self, op: ops.OfflineCpu | ops.OnlineCpu, place: Place) -> None:
        is_offline = op.cpu in self._offline
        if isinstance(op, ops.OfflineCpu) is is_offline:
            state = "offline" if is_offline else "online"
            raise self._source.mistake(place, f"CPU {op.cpu} is {state} already at that moment")
        self._offline ^= {op.cpu}


def is_meant(wanted: str, worker: str) -> bool:
    """Whether an operation on workers (``spin-0``, ``spin`` or empty for all) is about the one of a name."""
    return wanted in ("", worker, worker.partition("-")[0])


def check_course(scenario: Scenario, source: ScenarioSource) -> None:
    """Follow a scenario step by step.

    Raises:
        UsageError: An operation cannot be done where it stands.
    """
    course = _Course(scenario, source)
    for at, step in enumerate(scenario.steps):
        course.step(at, step)


def check_available(scenario: Scenario, source: ScenarioSource, offer: Offer) -> None:
    """Compare what a scenario does with what a run has.

    Raises:
        UsageError: The guest lacks a CPU, the kernel an option, or the run the permission.
    """
    for place, op in _all_ops(scenario):
        _check_cpus(op, place, source, offer.cpus)
        if isinstance(op, ops.WriteKernel) and not offer.allow_writes:
            raise source.mistake(
                (*place, "op"),
                "this run does not allow writes to the guest's kernel",
                "start it with: ktstr-tui run --allow-writes",
            )
        for key, options in _needs(op):
            if offer.lacks(options):
                wanted = " or ".join(f"CONFIG_{name}" for name in options)
                raise source.mistake(
                    (*place, key), f"this kernel was built without {wanted}", "take another one with --kernel"
                )


def _all_ops(scenario: Scenario) -> Iterator[tuple[Place, ops.Op]]:
    for at, cgroup in enumerate(scenario.cgroups):
        yield ("cgroups", at), cgroup.making
    for at, step in enumerate(scenario.steps):
        for number, op in enumerate(step.ops):
            yield ("steps", at, "ops", number), op


def _check_cpus(op: ops.Op, place: Place, source: ScenarioSource, cpus: int) -> None:
    named: Mapping[str, tuple[int, ...]] = {}
    match op:
        case ops.AddCgroup() | ops.SetCpuset() | ops.SetAffinity():
            named = {"cpus": op.cpus}
        case ops.OfflineCpu() | ops.OnlineCpu():
            named = {"cpu": (op.cpu,)}
    for key, numbers in named.items():
        if numbers and max(numbers) >= cpus:
            raise source.mistake(
                (*place, key),
                f"it names CPU {max(numbers)}, and the guest has CPUs 0 to {cpus - 1}",
                "ask for more CPUs with --topology, or change the scenario",
            )


def _needs(op: ops.Op) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What an operation asks of the kernel: a key of it, and options of which one is enough."""
    match op:
        case ops.AddCgroup():
            yield "op", _CGROUPS
            if op.cpus:
                yield "cpus", _CPUSETS
            if op.weight is not None:
                yield "weight", _WEIGHTS
            if op.max_us is not None:
                yield "max_us", _LIMITS
        case ops.SetCpuset():
            yield "op", _CPUSETS
        case ops.SetWeight():
            yield "op", _WEIGHTS
        case ops.SetCpuMax():
            yield "op", _LIMITS
        case ops.OfflineCpu() | ops.OnlineCpu():
            yield "op", _HOTPLUG


def _names_of(groups: Iterable[Workers]) -> Iterator[str]:
    """The names of workers as the guest program gives them."""
    numbers: dict[str, int] = {}
    for group in groups:
        for _ in range(group.processes):
            number = numbers.setdefault(group.kind, 0)
            numbers[group.kind] += 1
            yield f"{group.kind}-{number}"
