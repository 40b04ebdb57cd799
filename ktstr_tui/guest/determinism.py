"""Machines whose whole history follows from a seed: one host thread, time is the number of instructions executed.

QEMU counts instructions (``-icount``), so the guest's clocks do not look at the host's; idle time is skipped. What
else comes from outside is fixed (the date) or drawn from the seed (random numbers, and with them KASLR). Two rules are
left for everybody else: the machine must never be stopped by QEMU (``vm_stop`` begins the turns of the vCPUs anew), and
no byte may reach the guest at a moment that the host's clock decides. The observer, a plugin of QEMU, serves both: it
holds the machine at an instruction, without the machine noticing.
"""

from __future__ import annotations

import functools
import secrets
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from ktstr_tui.guest.debian_version import parse_version
from ktstr_tui.guest.initramfs import guest_directory
from ktstr_tui.model.errors import UsageError

MAX_SEED: Final = (1 << 32) - 1
DRAWN_BELOW: Final = 1_000_000
"""Drawn seeds have six digits at most, so that they can be read out and typed."""
DRAWN_UP_TO: Final = 4
"""vCPUs of the largest guest that has a seed without being asked to: as `SINGLE_UP_TO`, so that it costs no thread."""
DEFAULT_INSTRUCTION_NS: Final = 4
MAX_INSTRUCTION_NS: Final = 1024
STATION_NS: Final = 10_000_000
"""Guest time between two looks of the host at what the guest has sent."""
OBSERVER_SINCE: Final = (9, 2)
"""The first QEMU (major, minor) whose plugins can read registers and the values of stores."""
_DATE = "2026-01-01T00:00:00"


class Determinism(msgspec.Struct, frozen=True):
    """What a history follows from, beside the machine and what runs in it."""

    seed: int
    instruction_ns: int = DEFAULT_INSTRUCTION_NS
    """Guest time that an instruction takes; a power of two."""

    @property
    def station_instructions(self) -> int:
        """Instructions between two stations, see `ktstr_tui.guest.stations`."""
        return max(STATION_NS // self.instruction_ns, 1)


def draw_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbelow(DRAWN_BELOW)


def check_determinism(seed: int, instruction_ns: int) -> Determinism:
    """Both, checked.

    Raises:
        UsageError: One of them is out of range, or the time of an instruction is no power of two.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed {seed} is out of range", f"take a number from 0 to {MAX_SEED}")
    if not 1 <= instruction_ns <= MAX_INSTRUCTION_NS or instruction_ns & (instruction_ns - 1):
        raise UsageError(
            f"--instruction-ns {instruction_ns} is not a power of two from 1 to {MAX_INSTRUCTION_NS}",
            f"{DEFAULT_INSTRUCTION_NS} is usual: 250 million instructions a second",
        )
    return Determinism(seed, instruction_ns)


def machine_arguments(determinism: Determinism) -> list[str]:
    """The options of QEMU that take the host's clock and chance away from a machine."""
    shift = determinism.instruction_ns.bit_length() - 1
    return [
        *("-icount", f"shift={shift},align=off,sleep=off"),
        *("-rtc", f"base={_DATE},clock=vm"),
        *("-seed", str(determinism.seed)),
    ]


def observer_file() -> Path:
    """The plugin, where the build puts it beside the guest program."""
    return guest_directory() / "ktstr-observer.so"


@functools.cache
def why_no_observer(program: Path, version: str) -> str | None:
    """Why a QEMU cannot load the observer; None when it can.

    Args:
        program: The QEMU program.
        version: What it says its version is.
    """
    path = observer_file()
    if not path.is_file():
        return f"{path} is missing; run scripts/setup"
    if parse_version(version) < OBSERVER_SINCE:
        return f"QEMU {version.partition(' ')[0]} is older than 9.2"
    arguments = ["-machine", "none", "-nodefaults", "-display", "none", "-plugin", f"{path},probe=on"]
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} cannot be run: {error}"
    if done.returncode == 0 and "ktstr-observer" in done.stdout:
        return None
    said = (done.stderr or done.stdout).strip().splitlines()
    return said[-1] if said else f"QEMU ended with status {done.returncode}"
