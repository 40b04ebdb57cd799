"""Operations of a scenario's steps: what is refused before anything boots, with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktstr_tui.guest.scenario import load_scenario, parse_scenario, read_scenario
from ktstr_tui.guest.scenario_checks import Offer, check_available, is_meant
from ktstr_tui.guest.scenario_ops import (
    OP_CLASSES,
    AttachSchedulerOp,
    CaptureOp,
    FreezeCgroup,
    MoveWorkers,
    OfflineCpu,
    ReplaceSchedulerOp,
    SetCpuMax,
    SetCpuset,
)
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.stimulus import MAX_STIMULI, STIMULUS_KINDS

GOOD = """\
name = "good"

[[cgroups]]
name = "batch"
cpus = [1]
weight = 50

[[workers]]
kind = "pipe"
cgroup = "batch"

[[steps]]
name = "one"
duration_ms = 1000
scheduler = "demo:fifo"
[[steps.ops]]
op = "freeze-cgroup"
at_ms = 100
cgroup = "batch"
[[steps.ops]]
op = "thaw-cgroup"
cgroup = "batch"
[[steps.ops]]
op = "offline-cpu"
at_ms = 200
cpu = 1
"""
CONFIG = b"CONFIG_CGROUPS=y\nCONFIG_CPUSETS=y\nCONFIG_FAIR_GROUP_SCHED=y\nCONFIG_HOTPLUG_CPU=y\n"
OFFER = Offer(cpus=2, allow_writes=False, config=CONFIG)


def refusal(source: str) -> UsageError:
    """What is said about a scenario."""
    with pytest.raises(UsageError) as error:
        parse_scenario(source, "bad.toml")
    return error.value


def with_op(*lines: str) -> str:
    """The good scenario with one more operation, in lines 28 and following."""
    return GOOD + "[[steps.ops]]\n" + "\n".join(lines) + "\n"


def test_kinds_are_the_same_everywhere() -> None:
    assert tuple(op.__struct_config__.tag for op in OP_CLASSES) == STIMULUS_KINDS
    assert MAX_STIMULI == 256


def test_operations_keep_their_order_and_their_time() -> None:
    (step,) = parse_scenario(GOOD, "good.toml").steps
    assert [(at_ms, op.kind) for at_ms, op in step.timed_ops()] == [
        (100, "freeze-cgroup"),
        (100, "thaw-cgroup"),
        (200, "offline-cpu"),
    ]
    assert [op.text for op in step.ops][-1] == "take CPU 1 offline"
    assert [op.hotplug_cpu for op in step.ops] == [None, None, 1]


def test_what_operations_do_is_said_in_words() -> None:
    assert SetCpuset(cgroup="a").text == "set cpuset of cgroup a to all CPUs"
    assert SetCpuset(cgroup="a", cpus=(3, 1)).text == "set cpuset of cgroup a to CPUs 1,3"
    assert SetCpuMax(cgroup="a").text == "set cpu.max of cgroup a to max in 100000 µs"
    assert MoveWorkers(cgroup="/").text == "move all workers to cgroup /"
    assert CaptureOp(tag="x").text == "capture x"
    assert FreezeCgroup(cgroup="a").text == "freeze cgroup a"
    assert OfflineCpu(cpu=2).text == "take CPU 2 offline"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['op = "freze-cgroup"'], "28: steps.1.ops.4.op: there is no op 'freze-cgroup'. Did you mean"),
        (["at_ms = 300"], "27: steps.1.ops.4: the key op is missing"),
        (['op = "capture"', 'tga = "x"'], '29: steps.1.ops.4.tga: there is no such key. Did you mean "tag"?'),
        (['op = "capture"'], "27: steps.1.ops.4: the key tag is missing"),
        (['op = "offline-cpu"', "cpu = 0"], "29: steps.1.ops.4.cpu: Expected `int` >= 1"),
        (['op = "offline-cpu"', "cpu = 1"], "29: steps.1.ops.4.cpu: CPU 1 is offline already"),
        (
            ['op = "capture"', 'tag = "x"', "at_ms = 100"],
            "30: steps.1.ops.4.at_ms: the operation before it comes after 200 ms",
        ),
        (
            ['op = "capture"', 'tag = "x"', "at_ms = 1000"],
            "30: steps.1.ops.4.at_ms: the step ends after 1000 ms",
        ),
        (['op = "capture"', f'tag = "{"ü" * 33}"'], "29: steps.1.ops.4.tag: it has more than 64 bytes"),
        (
            ['op = "freeze-cgroup"', 'cgroup = "bach"'],
            """29: steps.1.ops.4.cgroup: there is no cgroup 'bach' at that moment. Did you mean "batch"?""",
        ),
        (
            ['op = "add-cgroup"', 'cgroup = "batch"'],
            "29: steps.1.ops.4.cgroup: there is a cgroup 'batch' already",
        ),
        (['op = "add-cgroup"', 'cgroup = "a/b"'], "29: steps.1.ops.4.cgroup: Expected `str` matching regex"),
        (
            ['op = "set-affinity"', "cpus = [0]", 'workers = "pipe-2"'],
            "30: steps.1.ops.4.workers: this step has no worker 'pipe-2'",
        ),
        (
            ['op = "set-affinity"', "cpus = [1]"],
            "29: steps.1.ops.4.cpus: all of these CPUs are offline",
        ),
        (
            ['op = "replace-scheduler"', 'scheduler = "none"'],
            "29: steps.1.ops.4.scheduler: the kernel's own scheduler cannot be attached",
        ),
        (
            ['op = "write-kernel"', 'symbol = "x"', f"value = {1 << 63}"],
            "30: steps.1.ops.4.value: Expected `int` <= 9223372036854775807",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(lines: list[str], expected: str) -> None:
    assert refusal(with_op(*lines)).message.startswith(f"bad.toml:{expected}")


def test_the_hint_lists_what_is_possible() -> None:
    error = refusal(with_op('op = "capture"', "x = 1"))
    assert error.hint == "keys here are op, at_ms, tag, memory"
    assert "op is one of add-cgroup, remove-cgroup," in refusal(with_op('op = "x"')).hint
    error = refusal(with_op('op = "set-affinity"', "cpus = [0]", 'workers = "spin"'))
    assert error.hint == "workers of this step are pipe-0, pipe-1"


def test_a_worker_must_be_put_into_a_cgroup_that_exists() -> None:
    error = refusal(GOOD.replace('cgroup = "batch"', 'cgroup = "other"', 1))
    assert error.message.startswith("bad.toml:10: workers.1.cgroup: there is no cgroup 'other'")
    twice = GOOD.replace("[[workers]]", '[[cgroups]]\nname = "batch"\n[[workers]]', 1)
    assert refusal(twice).message.startswith("bad.toml:9: cgroups.2.name: there is a cgroup 'batch' already")


def test_what_a_step_leaves_behind_is_there_in_the_next() -> None:
    later = with_op('op = "remove-cgroup"', 'cgroup = "batch"')
    later += '[[steps]]\nname = "two"\nduration_ms = 1\n[[steps.workers]]\nkind = "spin"\n'
    assert parse_scenario(later, "x.toml").has_ops
    assert "all of these CPUs are offline" in refusal(later + "affinity = [1]\n").message
    assert "there is no cgroup 'batch'" in refusal(later + 'cgroup = "batch"\n').message
    assert (
        "this step has no scheduler of its own"
        in refusal(later + '[[steps.ops]]\nop = "attach-scheduler"\n').message
    )


def test_there_is_a_limit_of_operations() -> None:
    step = '[[steps]]\nname = "s"\nduration_ms = 9\n' + '[[steps.ops]]\nop = "detach-scheduler"\n' * 129
    assert "more than 256 operations" in refusal('name = "x"\n' + step * 2).message


@pytest.mark.parametrize(
    ("lines", "offer", "expected"),
    [
        ((), Offer(cpus=1, allow_writes=False, config=CONFIG), "5: cgroups.1.cpus: it names CPU 1, and"),
        (
            ('op = "write-kernel"', 'symbol = "x"', "value = 1"),
            OFFER,
            "28: steps.1.ops.4.op: this run does not allow writes to the guest's kernel",
        ),
        (
            ('op = "set-cpu-max"', 'cgroup = "batch"'),
            OFFER,
            "28: steps.1.ops.4.op: this kernel was built without CONFIG_GROUP_SCHED_BANDWIDTH or",
        ),
        (
            (),
            Offer(cpus=2, allow_writes=True, config=CONFIG.replace(b"CONFIG_HOTPLUG_CPU=y", b"")),
            "24: steps.1.ops.3.op: this kernel was built without CONFIG_HOTPLUG_CPU",
        ),
        (
            (),
            Offer(cpus=2, allow_writes=True, config=CONFIG.replace(b"CPUSETS=y", b"CPUSETS=n")),
            "5: cgroups.1.cpus: this kernel was built without CONFIG_CPUSETS",
        ),
    ],
)
def test_what_a_run_lacks_is_refused(
    tmp_path: Path, lines: tuple[str, ...], offer: Offer, expected: str
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(with_op(*lines) if lines else GOOD)
    scenario, source = read_scenario(path)
    with pytest.raises(UsageError) as error:
        check_available(scenario, source, offer)
    assert error.value.message.startswith(f"{path}:{expected}")


def test_what_a_run_has_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(with_op('op = "write-kernel"', 'symbol = "x"', "value = 1"))
    check_available(*read_scenario(path), Offer(cpus=2, allow_writes=True, config=CONFIG))
    check_available(*read_scenario(path), Offer(cpus=2, allow_writes=True, config=None))


def test_schedulers_of_operations_are_loaded_and_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.bpf.o").touch()
    lines = 'op = "replace-scheduler"', 'scheduler = "mine.bpf.o"'
    path = tmp_path / "s.toml"
    path.write_text(with_op(*lines) + '[[steps.ops]]\nop = "attach-scheduler"\n')
    scenario = load_scenario(path)
    assert scenario.schedulers() == {"demo:fifo", f"{tmp_path}/mine.bpf.o"}
    assert scenario.steps[0].ops[-1] == AttachSchedulerOp()
    other = scenario.with_scheduler("demo:stall")
    assert other.schedulers() == {"demo:stall", f"{tmp_path}/mine.bpf.o"}
    assert other.steps[0].ops[-2] == ReplaceSchedulerOp(scheduler=f"{tmp_path}/mine.bpf.o")


@pytest.mark.parametrize(
    ("wanted", "worker", "is_it"),
    [
        ("", "spin-0", True),
        ("spin", "spin-0", True),
        ("spin-0", "spin-0", True),
        ("spin-1", "spin-10", False),
        ("spi", "spin-0", False),
        ("pipe", "spin-0", False),
    ],
)
def test_which_workers_are_meant(wanted: str, worker: str, is_it: bool) -> None:
    assert is_meant(wanted, worker) is is_it
