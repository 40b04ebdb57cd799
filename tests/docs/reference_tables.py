"""Make the tables of docs/reference.md: scenario keys, exit codes, the command line, metrics."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import typer.main

from ktstr_tui.cli import main as program
from ktstr_tui.cli.groups import GROUPS, add_group
from ktstr_tui.guest import scenario, scenario_ops
from ktstr_tui.heartbeat.metric_table import all_metrics
from ktstr_tui.kernel import scx_helpers
from ktstr_tui.model import errors
from ktstr_tui.model.alarms import AlarmLimits
from tests.docs.config_tables import config_blocks
from tests.docs.gallery import gallery
from tests.docs.markdown import code, table
from tests.docs.outcomes import outcomes
from tests.docs.source import class_doc, constant_docs, one_line

SCENARIO_NOTES: Final = {
    ("Scenario", "name"): "Name of the scenario, and of the run unless `--name` gives another.",
    ("Scenario", "description"): "What it shows, in one line.",
    ("Scenario", "steps"): f"`[[steps]]`, one table for each step, at most {scenario.MAX_STEPS}.",
    ("Scenario", "workers"): "`[[workers]]`: the load of every step that has no workers of its own.",
    (
        "Scenario",
        "cgroups",
    ): f"`[[cgroups]]`: made before the first step, at most {scenario_ops.MAX_CGROUPS}.",
    ("Scenario", "alarms"): "`[alarms]`: when something is an early alarm; the options of `run` come first.",
    ("AlarmLimits", "idle_ms"): "A task waits that long beside an idle CPU that it may use.",
    ("AlarmLimits", "dsq_ms"): "A DSQ has tasks and no CPU takes one for that long.",
    ("AlarmLimits", "wait_ms"): "A task waits that long, whatever the CPUs do; without it no such alarm.",
    ("AlarmLimits", "kthread_ms"): "A kernel thread waits that long while rt or dl tasks have its CPUs.",
    ("Cgroup", "name"): "Name of the cgroup, in the root: letters, digits, `_` and `-`.",
    ("Cgroup", "cpus"): "`cpuset.cpus`: CPUs that its tasks may use; without it all.",
    ("Cgroup", "weight"): "`cpu.weight`; without it the kernel's own, 100.",
    ("Cgroup", "max_us"): "`cpu.max`: µs of CPU time that its tasks get in each period; without it no limit.",
    ("Cgroup", "period_us"): "Length of that period in µs.",
    (
        "Step",
        "ops",
    ): f"`[[steps.ops]]`: what is done in the middle of the step; at most {scenario_ops.MAX_OPS} in all.",
    ("Workers", "cgroup"): "The cgroup that they are in from their start; without it the root.",
    ("Step", "name"): "Name of the step.",
    ("Step", "duration_ms"): "From the moment that the scheduler is attached and the workers run.",
    (
        "Step",
        "until",
    ): "`ejected` ends the step when the scheduler is ejected, at the latest after `duration_ms`.",
    (
        "Step",
        "scheduler",
    ): "`none` (the kernel's own), `demo:NAME`, or a path with arguments, relative to the file.",
    ("Step", "fixed"): "`--scheduler` leaves this step alone.",
    (
        "Step",
        "workers",
    ): f"`[[steps.workers]]`: the load of this step; at most {scenario.MAX_PROCESSES} processes.",
    ("Step", "capture"): "Tag of a capture that the guest asks for half way through; at most 64 bytes.",
    (
        "Step",
        "watch",
    ): "Expression to watch from this step on, with a capture at every hit; at most 64 bytes.",
    (
        "Step",
        "about",
    ): "What to look at: the screen that started the run shows it, the guest being frozen until a key.",
    ("Step", "panic"): "Test aid: panic the guest's kernel once the workers run.",
    ("Step", "hang"): "Test aid: hang the guest once the workers run.",
    ("Step", "reboot"): "Test aid: reboot the guest once the workers run.",
    ("Workers", "kind"): "What the processes do.",
    ("Workers", "count"): "Processes; for `pipe` and `futex`: pairs of processes.",
    ("Workers", "affinity"): "Numbers of the CPUs they may run on; without it all.",
    ("Workers", "nice"): "Nice value.",
    ("Workers", "policy"): "Scheduling policy.",
}


def reference_blocks() -> dict[str, str]:
    """The blocks of docs/reference.md by name."""
    return {
        "scenarios": table(("name", "what it shows"), _packaged()),
        "scenario-keys": _scenario(),
        "scenario-ops": table(("`op`", "keys", "what it does"), _operations()),
        "exit-codes": _exit_codes(),
        "outcomes": outcomes(),
        "gallery": gallery(),
        "commands": "\n".join(_commands()),
        "scx-helpers": table(("call", "what it gives"), _helpers()),
        "metrics": _metrics(),
    } | config_blocks()


def _packaged() -> Iterator[tuple[str, str]]:
    for name in scenario.packaged():
        yield code(name), scenario.load_scenario(name).description


def _scenario() -> str:
    parts = []
    titles = {
        "Scenario": "Top level",
        "Step": "`[[steps]]`",
        "Workers": "`[[workers]]`, `[[steps.workers]]`",
        "Cgroup": "`[[cgroups]]`",
        "AlarmLimits": "`[alarms]`: ms; 0 for no such alarm, without it a third of the watchdog timeout",
    }
    for cls in (scenario.Scenario, scenario.Step, scenario.Workers, scenario_ops.Cgroup, AlarmLimits):
        properties = msgspec.json.schema_components([cls], ref_template="{name}")[1][cls.__name__][
            "properties"
        ]
        rows = [
            (
                code(field.name),
                _kind(properties[field.name]),
                _default(field),
                SCENARIO_NOTES[cls.__name__, field.name],
            )
            for field in msgspec.structs.fields(cls)
        ]
        parts.append(f"**{titles[cls.__name__]}**\n\n{table(('key', 'value', 'default', 'meaning'), rows)}")
    return "\n".join(parts)


def _operations() -> Iterator[tuple[str, str, str]]:
    for cls in scenario_ops.OP_CLASSES:
        properties = msgspec.json.schema_components([cls], ref_template="{name}")[1][cls.__name__][
            "properties"
        ]
        keys = [
            f"{code(field.name)} ({_kind(properties[field.name])}{', required' if field.required else ''})"
            for field in msgspec.structs.fields(cls)
            if field.name != "at_ms"
        ]
        yield code(str(cls.__struct_config__.tag)), "; ".join(keys), class_doc(cls)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return " ".join(code(value) for value in schema["enum"])
    if "$ref" in schema:
        return "table"
    if schema["type"] == "array":
        items = schema["items"]
        return "tables" if "$ref" in items else f"list of {_kind(items).replace('integer', 'integers')}"
    bounds = f" {schema['minimum']:.12g} to {schema['maximum']:.12g}" if "minimum" in schema else ""
    length = f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""
    return (
        {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}[
            schema["type"]
        ]
        + bounds
        + length
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default
    if default is None or default in ("", ()):
        return ""
    return code(str(default).lower() if isinstance(default, bool) else default)


def _exit_codes() -> str:
    notes = constant_docs(errors)
    codes = sorted((value, name) for name, value in vars(errors).items() if name.startswith("EXIT_"))
    return table(("code", "name", "meaning"), ((code, name, notes[name]) for code, name in codes))


def command_tree() -> Any:  # noqa: ANN401
    """The whole program, with the groups that it otherwise adds only when they are asked for.

    typer brings a click of its own, which has no public types.
    """
    for name in GROUPS:
        add_group(program.app, name)
    return typer.main.get_command(program.app)


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every command with its full name, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        elif not command.hidden:
            yield " ".join((*path, name)), command


def _commands() -> Iterator[str]:
    for name, command in leaves(command_tree()):
        shown = [it for it in command.params if not getattr(it, "hidden", False)]
        arguments = [_metavar(it) for it in shown if it.param_type_name == "argument"]
        yield f"### {name}\n\n{one_line(command.help or '')}\n"
        yield f"    {' '.join(['ktstr-tui', name, '[OPTIONS]', *arguments])}\n"
        yield table(("parameter", "default", "meaning"), map(_parameter, shown)) if shown else ""


def _metavar(argument: Any) -> str:  # noqa: ANN401
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _parameter(parameter: Any) -> tuple[str, str, str]:  # noqa: ANN401
    text = one_line(parameter.help or "")
    default = (
        "" if parameter.default in (None, "", (), []) or callable(parameter.default) else parameter.default
    )
    shown = code(getattr(default, "value", default))
    if parameter.param_type_name == "argument":
        return code(_metavar(parameter)), "required" if parameter.required else shown, text
    names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
    text += _allowed(parameter)
    if parameter.is_flag:
        shown = "on" if default is True else ""
    return names, shown, text


def _allowed(option: Any) -> str:  # noqa: ANN401
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f" One of {', '.join(code(member.value) for member in kind)}."
    if option.min is None:
        return ""
    return f" From {option.min}." if option.max is None else f" {option.min} to {option.max}."


def _helpers() -> Iterator[tuple[str, str]]:
    for name in scx_helpers.__all__:
        helper = getattr(scx_helpers, name)
        arguments = ", ".join(
            key if it.default is it.empty else f"{key}=…"
            for key, it in inspect.signature(helper).parameters.items()
        )
        doc = inspect.getdoc(helper) or ""
        yield code(f"{name}({arguments})"), " ".join(doc.split("\n\n", 1)[0].split()).replace("``", "`")


def _metrics() -> str:
    rows = (
        (code(it.name), it.kind, ", ".join(code(label) for label in it.labels), it.help)
        for it in sorted(all_metrics(), key=lambda metric: metric.name)
    )
    return table(("name", "type", "labels", "meaning"), rows)
