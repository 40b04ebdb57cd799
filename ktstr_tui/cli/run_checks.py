"""What ``run`` reads and refuses before anything starts, beyond what an option says of itself."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.guest.determinism import DEFAULT_INSTRUCTION_NS, Determinism, check_determinism, draw_seed
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.signing import Operator
from ktstr_tui.model.text import counted


def operators_in(path: Path | None, required: int) -> tuple[Operator, ...]:
    """Whose signatures a run takes; nobody's without a list.

    Args:
        path: The list.
        required: How many of them a dangerous command needs.

    Raises:
        UsageError: It is no list, or names too few.
    """
    if path is None:
        if required:
            raise UsageError("--require-operators needs --operators", "name the list of operators")
        return ()
    from ktstr_tui.wire.operator_keys import read_operators

    found = read_operators(path)
    able = sum(it.role == "control" for it in found)
    if able < required:
        raise UsageError(
            f"{path} names {counted(able, 'operator')} who may control the run, and {required} are required",
            "add more, or require fewer",
        )
    return found


def check_edit(build: str | None, watches: bool, scheduler: str | None) -> None:
    """Check what is to be built and loaded again.

    Args:
        build: The command.
        watches: Whether files are watched.
        scheduler: What is to be loaded.

    Raises:
        UsageError: There is no command, or no object that could be loaded.
    """
    option = "--build" if build is not None else "--watch-file" if watches else ""
    if not option:
        return
    if build is not None and not build.strip():
        raise UsageError("--build is empty", "name the command that makes the scheduler: --build make")
    if scheduler is None or not scheduler.endswith(".o"):
        got = f", and --scheduler is {scheduler}" if scheduler else ""
        raise UsageError(f"{option} needs a BPF object to load{got}", "name it: --scheduler my_sched.bpf.o")


def determinism_of(seed: int | None, drawn: bool, instruction_ns: int, *, kvm: bool) -> Determinism | None:
    """What the run's history is to follow from; None when the host's clock may decide.

    Args:
        seed: ``--seed``.
        drawn: Whether a seed is to be drawn where none is given.
        instruction_ns: ``--instruction-ns``.
        kvm: Whether KVM is asked for.

    Raises:
        UsageError: The time of an instruction is no power of two, or KVM is asked for too.
    """
    if seed is None and not drawn:
        if instruction_ns != DEFAULT_INSTRUCTION_NS:
            raise UsageError("--instruction-ns needs a run with a seed", "add --seed or --deterministic")
        return None
    if kvm:
        raise UsageError(
            "a run with a seed is emulated: under KVM the host's CPUs and clock decide what happens when",
            "leave out --accel kvm, or --seed and --deterministic",
        )
    return check_determinism(draw_seed() if seed is None else seed, instruction_ns)
