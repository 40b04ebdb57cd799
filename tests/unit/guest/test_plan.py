"""Plans of scenarios, as the guest program itself reads them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest.guest_files import SchedulerPayload
from ktstr_tui.guest.scenario import (
    MAX_PROCESSES,
    Scenario,
    Step,
    Workers,
    encode_plan,
    load_scenario,
    packaged,
)
from ktstr_tui.guest.scenario_ops import OP_CLASSES, Cgroup, Op, SetAffinity, WriteKernel
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import tag_problem
from ktstr_tui.wire.kernel_ops import Entry, Int, KernelOp, KernelOpRequest, Symbol

POLICIES = {"normal": 0, "batch": 3, "idle": 5, "fifo": 1, "rr": 2, "ext": 7}
"""The kernel's numbers."""
Describe = Callable[[bytes], str]


@pytest.fixture(scope="session")
def describe(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Describe:
    """Parses a plan with the guest program's reader; a refused plan raises ValueError."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    library = tmp_path_factory.mktemp("plan") / "plan.so"
    agent = checkout / "native/agent"
    parts = [agent / f"{name}.c" for name in ("plan", "plan_ops", "plan_text")]
    sources = [*parts, Path(__file__).parent / "plan_shim.c"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", f"-I{agent}"]
    subprocess.run([compiler, *flags, *sources, "-o", library], check=True)
    native = ctypes.CDLL(str(library))

    def call(plan: bytes) -> str:
        out = ctypes.create_string_buffer(1 << 20)
        status = native.describe(ctypes.create_string_buffer(plan), out, ctypes.c_size_t(len(out)))
        text = out.value.decode()
        if status:
            raise ValueError(text)
        return text

    return call


def test_every_packaged_scenario_is_sound(describe: Describe) -> None:
    assert {"tour", "steady", "starve", "idle"} <= set(packaged())
    for name in packaged():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.description
        scenario.require_cpus(2)
        assert describe(encode_plan(scenario, table(scenario))).count("step|") == len(scenario.steps)


def table(scenario: Scenario) -> dict[str, SchedulerPayload]:
    """A payload per scheduler, whose second argument is the scheduler's name."""
    return {
        name: SchedulerPayload(name[:40], "program", {}, ("/ktstr/x", name))
        for name in scenario.schedulers() - {"none"}
    }


text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), min_size=1, max_size=15
)
tags = text.filter(lambda tag: not tag_problem(tag, 64))
CGROUP = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,31}\Z")
CPUS = st.lists(st.integers(0, 254), max_size=6).map(tuple)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "cgroup": CGROUP,
    "cpus": CPUS,
    "weight": st.integers(1, 10_000),
    "max_us": st.none() | st.integers(1000, 1_000_000_000),
    "period_us": st.integers(1000, 1_000_000),
    "workers": st.sampled_from(["", "spin", "spin-12"]),
    "scheduler": st.sampled_from(["a b", "demo:fifo", "ü/%41=x\\"]),
    "tag": tags,
    "expression": text,
    "symbol": st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.]{0,63}\Z"),
    "value": st.integers(-(1 << 63), (1 << 63) - 1),
    "cold": st.booleans(),
    "memory": st.booleans(),
    "cpu": st.integers(1, 254),
}


@st.composite
def an_op(draw: st.DrawFn) -> Op:
    """Any operation, with every key that it has."""
    made: type[Any] = draw(st.sampled_from(OP_CLASSES))
    given = {name: draw(SETTINGS[name]) for name in made.__struct_fields__ if name != "at_ms"}
    if made is SetAffinity and not given["cpus"]:
        given["cpus"] = (0,)
    return cast("Op", made(at_ms=draw(st.none() | st.integers(0, 10**7)), **given))


@st.composite
def timed_ops(draw: st.DrawFn) -> tuple[Op, ...]:
    """Operations in the order of their time."""
    made = draw(st.lists(an_op(), max_size=5))
    times = sorted(op.at_ms for op in made if op.at_ms is not None)
    return tuple(op if op.at_ms is None else msgspec.structs.replace(op, at_ms=times.pop(0)) for op in made)


groups = st.builds(
    Workers,
    kind=st.sampled_from(["spin", "yield", "bursty", "pipe", "futex", "fork", "mixed", "sleep"]),
    count=st.integers(1, 9),
    affinity=st.lists(st.integers(0, 254), max_size=6).map(tuple),
    nice=st.integers(-20, 19),
    policy=st.sampled_from(sorted(POLICIES)),
    cgroup=st.none() | CGROUP,
)
steps = st.builds(
    Step,
    name=text,
    duration_ms=st.integers(1, 86_400_000),
    until=st.sampled_from(["duration", "ejected"]),
    scheduler=st.sampled_from(["none", "a b", "demo:fifo", "ü/%41=x\\"]),
    workers=st.lists(groups, max_size=5).map(tuple),
    capture=st.none() | tags,
    watch=st.none() | text,
    panic=st.booleans(),
    ops=timed_ops(),
)
cgroups = st.builds(
    Cgroup,
    name=CGROUP,
    cpus=CPUS,
    weight=st.none() | SETTINGS["weight"],
    max_us=SETTINGS["max_us"],
    period_us=SETTINGS["period_us"],
)
scenarios = st.builds(
    Scenario,
    name=text,
    steps=st.lists(steps, min_size=1, max_size=6).map(tuple),
    cgroups=st.lists(cgroups, max_size=3).map(tuple),
)


def op_line(word: str, op: Op, at_ms: int) -> str:
    """What the reader must have understood of an operation."""
    of: dict[str, Any] = msgspec.structs.asdict(op)
    cpus = ",".join(map(str, sorted(set(of.get("cpus") or ()))))
    numbers = (of.get(name) or 0 for name in ("weight", "max_us", "period_us"))
    body = ""
    if isinstance(op, WriteKernel):
        entry = Entry(Symbol(op.symbol), Int(op.value))
        asked = KernelOp("cold" if op.cold else "hot", "write", (entry,), "scenario")
        body = KernelOpRequest(1, asked).pack()[4:].hex()
    parts = (
        *(word, op.kind, at_ms, of.get("cgroup", ""), of.get("workers", ""), cpus, *numbers),
        *(of.get("scheduler", ""), of.get("cpu", 0), of.get("tag", of.get("expression", "")), body),
    )
    return "|".join(map(str, parts))


def expected(scenario: Scenario) -> str:
    """What the reader must have understood."""
    lines = [op_line("cgroup", cgroup.making, 0) for cgroup in scenario.cgroups]
    for step in scenario.steps:
        lines.append(
            f"step|{step.name}|{step.duration_ms}|{int(step.until == 'ejected')}|{step.scheduler}"
            f"|{step.capture or ''}|{step.watch or ''}|{step.failure or ''}"
        )
        for group in step.workers or ():
            cpus = ",".join(map(str, sorted(set(group.affinity))))
            policy = POLICIES[group.policy]
            lines.append(
                f"worker|{group.kind}|{group.count}|{group.processes}|{policy}|{group.nice}|{cpus}|{group.cgroup or ''}"
            )
        at_ms = 0
        for op in step.ops:
            at_ms = at_ms if op.at_ms is None else op.at_ms
            lines.append(op_line("op", op, at_ms))
    return "".join(line + "\n" for line in lines)


@given(scenarios)
def test_the_guest_understands_every_plan(describe: Describe, scenario: Scenario) -> None:
    assert describe(encode_plan(scenario, table(scenario))) == expected(scenario)


@given(scenarios, st.data())
def test_the_guest_notices_a_cut_plan(describe: Describe, scenario: Scenario, data: st.DataObject) -> None:
    plan = encode_plan(scenario, table(scenario))
    kept = data.draw(st.integers(0, len(plan) - 2))
    with pytest.raises(ValueError, match="plan: "):
        describe(plan[:kept])


@given(scenarios, st.data())
def test_a_damaged_plan_is_refused_or_understood_but_never_crashes(
    describe: Describe, scenario: Scenario, data: st.DataObject
) -> None:
    plan = bytearray(encode_plan(scenario, table(scenario)))
    at = data.draw(st.integers(0, len(plan) - 1))
    plan[at] = data.draw(st.integers(1, 126))
    with suppress(ValueError):  # the shim raises nothing else
        assert describe(bytes(plan)).startswith(("step|", "cgroup|"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sched name=a kind=object", "lacks a key"),
        ("sched name=a kind=object arg=relative", "not absolute"),
        ("step name=a duration_ms=1 until=duration sched=0", "no such sched"),
        ("step name=a duration_ms=0 until=duration", "bad duration_ms"),
        ("step name=a%00 duration_ms=1", "bad %XX"),
        ("step name=a duration_ms=1 fail=explode", "unknown fail"),
        ("worker kind=spin count=1", "worker before step"),
        ("step duration_ms=1  name=a", "not a key=value pair"),
        ("reboot now=1", "unknown word"),
        ("op kind=capture at_ms=0 tag=x", "op before step"),
        ("cgroup kind=remove-cgroup at_ms=0 cgroup=x", "a cgroup that is not added"),
        ("cgroup kind=add-cgroup at_ms=0 cgroup=../x", "bad cgroup"),
        ("cgroup kind=add-cgroup at_ms=0 cgroup=/", "bad cgroup"),
    ],
)
def test_the_guest_says_what_is_wrong_with_a_line(describe: Describe, line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"plan: line 2: .*{reason}"):
        describe(f"ktstr-plan 2\n{line}\nend steps=1\n".encode())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("op at_ms=1 cgroup=x", "lacks its kind"),
        ("op kind=dance at_ms=1", "unknown kind"),
        ("op kind=capture tag=x", "lacks a key"),
        ("op kind=capture at_ms=1", "lacks a key"),
        ("op kind=capture at_ms=1 tag=x cpu=1", "a key of another kind"),
        ("op kind=capture at_ms=1 tag=x tag=y", "a key twice"),
        ("op kind=offline-cpu at_ms=1 cpu=0", "number out of range"),
        ("op kind=set-weight at_ms=1 cgroup=x weight=0", "number out of range"),
        ("op kind=freeze-cgroup at_ms=1 cgroup=..", "bad cgroup"),
        ("op kind=freeze-cgroup at_ms=1 cgroup=/", "bad cgroup"),
        ("op kind=write-kernel at_ms=1 body=0g", "bad body"),
        ("op kind=write-kernel at_ms=1 body=123", "bad body"),
        ("op kind=replace-scheduler at_ms=1 sched=0", "no such sched"),
        ("op kind=capture at_ms=1 tag=x\nop kind=capture at_ms=0 tag=x", "before the one above it"),
        ("worker kind=spin count=1 cgroup=a/b", "bad cgroup"),
    ],
)
def test_the_guest_says_what_is_wrong_with_an_operation(describe: Describe, line: str, reason: str) -> None:
    step = "step name=a duration_ms=1 until=duration"
    with pytest.raises(ValueError, match=rf"plan: line [34]: .*{reason}"):
        describe(f"ktstr-plan 2\n{step}\n{line}\nend steps=1\n".encode())


def test_the_guest_refuses_more_processes_than_it_has_slots(describe: Describe) -> None:
    line = f"worker kind=pipe count={MAX_PROCESSES // 2} policy=normal nice=0\n"
    step = "ktstr-plan 2\nstep name=a duration_ms=1\n"
    assert "worker|pipe" in describe(f"{step}{line}end steps=1\n".encode())
    with pytest.raises(ValueError, match="line 4: too many processes"):
        describe(f"{step}{line}worker kind=spin count=1\nend steps=1\n".encode())


def test_a_plan_that_is_too_large_is_the_users_to_change() -> None:
    step = Step("x", 1, scheduler="a")
    payload = SchedulerPayload("a", "program", {}, ("/x", "y" * 70_000))
    with pytest.raises(UsageError, match="too large"):
        encode_plan(Scenario("x", (step,)), {"a": payload})
