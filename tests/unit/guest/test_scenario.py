"""Scenarios from TOML, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ktstr_tui.guest.scenario import Scenario, Workers, load_scenario, parse_scenario
from ktstr_tui.model.errors import UsageError

GOOD = """\
name = "good"

[[workers]]
kind = "spin"

[[steps]]
name = "one"
duration_ms = 100

[[steps]]
name = "two"
duration_ms = 200
until = "ejected"
scheduler = "demo:stall"
[[steps.workers]]
kind = "pipe"
count = 3
affinity = [0, 1]
[[steps.workers]]
kind = "fork"
"""


def test_the_tour_goes_from_the_kernels_scheduler_to_an_ejection() -> None:
    tour = load_scenario("tour")
    assert [step.scheduler for step in tour.steps] == ["none", "demo:fifo", "demo:stall"]
    assert tour.steps[0].fixed
    assert tour.steps[-1].until == "ejected"
    assert any(group.affinity == (1,) for group in tour.steps[-1].workers or ())


def test_steps_without_workers_get_the_scenarios() -> None:
    scenario = parse_scenario(GOOD, "good.toml")
    assert scenario.steps[0].workers == (Workers("spin"),)
    assert scenario.steps[1].workers == (Workers("pipe", 3, (0, 1)), Workers("fork"))
    assert scenario.duration_ms == 300
    assert scenario.schedulers() == {"none", "demo:stall"}


def test_with_scheduler_spares_fixed_steps() -> None:
    other = load_scenario("tour").with_scheduler("mine")
    assert [step.scheduler for step in other.steps] == ["none", "mine", "mine"]


def mistake(source: str) -> str:
    """What is said about a scenario."""
    with pytest.raises(UsageError) as error:
        parse_scenario(source, "bad.toml")
    return error.value.message


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('kind = "pipe"', 'kind = "pip"', "bad.toml:16: steps.2.workers.1.kind: there is no kind 'pip'"),
        ('kind = "fork"', 'knd = "fork"', "bad.toml:20: steps.2.workers.2.knd: there is no such key"),
        ('kind = "fork"', 'kind = "fork"\nx = 1', "bad.toml:21: steps.2.workers.2.x: there is no such key"),
        ('kind = "fork"', "count = 1", "bad.toml:19: steps.2.workers.2: the key kind is missing"),
        ("duration_ms = 200", "duration_ms = 0", "bad.toml:12: steps.2.duration_ms: Expected `int` >= 1"),
        ("duration_ms = 100", "", "bad.toml:6: steps.1: the key duration_ms is missing"),
        (
            "affinity = [0, 1]",
            "affinity = [0, -1]",
            "bad.toml:18: steps.2.workers.1.affinity.2: Expected `int` >= 0",
        ),
        ("count = 3", "count = 129", "bad.toml:10: steps.2: more than 256 worker processes"),
        ('name = "good"', 'nme = "good"', "bad.toml:1: nme: there is no such key"),
        ('name = "two"', "name = two", "bad.toml:11: Invalid value"),
        ('name = "one"', 'name = "one\\u0007"', "bad.toml:7: steps.1.name: Expected `str` matching regex"),
        ("count = 3", "panic = 3", "bad.toml:17: steps.2.workers.1.panic: there is no such key"),
        (
            "duration_ms = 100",
            "duration_ms = 1\npanic = true\nhang = true",
            "bad.toml:6: steps.1: at most one of",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(before: str, after: str, expected: str) -> None:
    assert before in GOOD
    assert mistake(GOOD.replace(before, after, 1)).startswith(expected)


def test_the_hint_lists_what_is_possible() -> None:
    with pytest.raises(UsageError) as error:
        parse_scenario(GOOD.replace('"fork"', '"frok"'), "bad.toml")
    assert error.value.hint == "kind is one of spin, yield, bursty, pipe, futex, fork, mixed, sleep"
    assert error.value.message.endswith("""there is no kind 'frok'. Did you mean "fork"?""")
    with pytest.raises(UsageError) as error:
        parse_scenario(GOOD.replace("count = 3", "cuont = 3"), "bad.toml")
    assert error.value.hint == "keys here are kind, count, affinity, nice, policy, cgroup"
    assert error.value.message.endswith('there is no such key. Did you mean "count"?')


def test_a_mistake_in_inline_tables_is_found_at_its_outermost_key() -> None:
    step = 'name = "x"\n[[steps]]\nname = "a"\nduration_ms = 1\n'
    source = step + 'workers = [\n  { kind = "spin" },\n  { kind = "spun" },\n]\n'
    assert mistake(source).startswith("bad.toml:5: steps.1.workers.2.kind")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("duration_sm", "duration_ms"), ("duration-ms", "duration_ms"), ("Scheduler", "scheduler"), ("zzz", "")],
)
def test_a_misspelt_key_of_a_step_gets_a_suggestion(wrong: str, right: str) -> None:
    source = f'name = "x"\n[[steps]]\nname = "a"\nduration_ms = 1\n{wrong} = 1\n'
    said = mistake(source)
    assert said.startswith(f"bad.toml:5: steps.1.{wrong}: there is no such key")
    assert said.endswith(f'. Did you mean "{right}"?' if right else "no such key")


def test_lines_in_multiline_text_are_no_keys() -> None:
    source = 'name = "x"\ndescription = """\n[[steps]]\nname = 1\n"""\n[[steps]]\nname = 1\nduration_ms = 1\n'
    assert mistake(source).startswith("bad.toml:7: steps.1.name")


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='Did you mean "tour"') as error:
        load_scenario("tuor")
    assert "tour" in error.value.hint
    with pytest.raises(UsageError, match="cannot read the"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="cannot read the"):
        load_scenario(tmp_path / "latin.toml")


def test_a_scheduler_path_is_relative_to_the_scenarios_file(tmp_path: Path) -> None:
    (tmp_path / "mine.bpf.o").touch()
    source = GOOD.replace('"demo:stall"', '"mine.bpf.o -v"')
    (tmp_path / "s.toml").write_text(source)
    scenario = load_scenario(str(tmp_path / "s.toml"))
    assert scenario.steps[1].scheduler == f"{tmp_path}/mine.bpf.o -v"


def test_too_few_cpus() -> None:
    with pytest.raises(UsageError, match="CPU 1, and the guest has CPUs 0 to 0"):
        load_scenario("tour").require_cpus(1)


def test_too_many_schedulers() -> None:
    source = 'name = "x"\n' + "".join(
        f'[[steps]]\nname = "s"\nduration_ms = 1\nscheduler = "s{i}"\n' for i in range(17)
    )
    assert "more than 16 different schedulers" in mistake(source)


def test_scenarios_are_values() -> None:
    scenario = parse_scenario(GOOD, "good.toml")
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
