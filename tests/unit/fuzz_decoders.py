"""Throws damaged input at everything in Python that reads bytes of the guest, of a peer or of a file.

Each target has sound inputs (`seeds`); they are mutated, and half of the time repaired (lengths, checksums), because
what is thrown away by the first check tests nothing behind it. Whatever the input, a `KtstrError` or nothing may come
out, in a bounded time and with bounded memory. ``scripts/fuzz`` runs this for long, ``test_fuzz.py`` for a moment::

    python -m tests.unit.fuzz_decoders SECONDS [TARGET]

A broken input is saved in ``build/fuzz/found``; ``KTSTR_FUZZ_INPUT=FILE`` gives it to its target again.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ktstr_tui.model.errors import KtstrError
from tests.unit import fuzz_guest as guest
from tests.unit import fuzz_inputs as inputs
from tests.unit.fuzz_reports import report_seeds, run_report

FOUND = Path(__file__).resolve().parents[2] / "build" / "fuzz" / "found"
INPUT_TIMEOUT_S = 20
"""A single input that takes this long hangs its target."""
MAX_PEAK_BYTES = 16 << 20
"""Memory that one input may cost besides what follows from its size. The largest bound is a recording's chunk."""
MAX_PEAK_PER_BYTE = 256
MAX_MUTATIONS = 6


class Broken(Exception):
    """A target did what it must not do; the message says with which input."""


class Target(NamedTuple):
    """Something that reads bytes."""

    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], object]
    repair: Callable[[bytes], bytes] | None = None
    """Makes lengths and checksums right again."""


class Report(NamedTuple):
    """What came out."""

    runs: int
    refused: int
    """Inputs that ended in a `KtstrError`."""
    peak_bytes: int
    """Most memory that one input cost."""


TARGETS: dict[str, Target] = {
    "payloads": Target(inputs.payload_seeds, inputs.run_payloads),
    "dispatch": Target(inputs.frame_seeds, inputs.run_dispatch, inputs.repair_frames),
    "codec": Target(inputs.codec_seeds, inputs.run_codec),
    "recording": Target(inputs.recording_seeds, inputs.run_recording, inputs.repair_recording),
    "scenario": Target(inputs.scenario_seeds, inputs.run_scenario),
    "gdb": Target(guest.gdb_seeds, guest.run_gdb, guest.repair_gdb),
    "debugger": Target(guest.debugger_seeds, guest.run_debugger, guest.repair_gdb),
    "btf": Target(guest.btf_seeds, guest.run_btf),
    "vmcoreinfo": Target(guest.vmcoreinfo_seeds, guest.run_vmcoreinfo),
    "vlp": Target(inputs.vlp_seeds, inputs.run_vlp, inputs.repair_vlp),
    "console": Target(inputs.console_seeds, inputs.run_console),
    "reports": Target(report_seeds, run_report),
}

_INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 63,
    (1 << 64) - 1,
)


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds with a few things wrong."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, MAX_MUTATIONS)):
        at = rng.randrange(len(data) + 1)
        span = min(rng.choice((1, 1, 2, 4, 8, 32, 200)), len(data) - at)
        match rng.randrange(7):
            case 0:
                data[at : at + span] = rng.randbytes(span)
            case 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))
            case 4:
                size = rng.choice((1, 2, 4, 8))
                value = rng.choice(_INTERESTING) % (1 << 8 * size)
                data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
            case 5:
                other = rng.choice(seeds)
                start = rng.randrange(len(other) + 1)
                data[at : at + span] = other[start : start + rng.choice((4, 32, 400))]
            case _:
                data[at:at] = data[at : at + span] * rng.choice((1, 2, 20))
    return bytes(data)


def fuzz(name: str, *, seed: int, runs: int | None = None, seconds: float | None = None) -> Report:
    """Run a target on its seeds and on ``runs`` mutations of them, or for ``seconds``.

    Raises:
        Broken: An input made it fail; it was saved.
    """
    target = TARGETS[name]
    rng = random.Random(f"{name} {seed}")
    seeds = target.seeds()
    done = refused = peak = 0
    with _measured():
        for data in _stream(target, rng, seeds, runs, seconds):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            refused += _run_one(name, target, data)
            cost = tracemalloc.get_traced_memory()[1] - before
            peak = max(peak, cost)
            done += 1
            if cost > MAX_PEAK_BYTES + MAX_PEAK_PER_BYTE * len(data):
                raise Broken(f"{name}: {cost} bytes of memory for {len(data)} of input: {_saved(name, data)}")
    return Report(done, refused, peak)


def _stream(
    target: Target, rng: random.Random, seeds: list[bytes], runs: int | None, seconds: float | None
) -> Iterator[bytes]:
    yield from seeds
    until_s = time.monotonic() + (seconds or 0)
    made = 0
    while made < runs if runs is not None else time.monotonic() < until_s:
        data = mutated(rng, seeds)
        if target.repair is not None and rng.random() < 0.5:
            data = target.repair(data)
        yield data
        made += 1


def _run_one(name: str, target: Target, data: bytes) -> bool:
    signal.alarm(INPUT_TIMEOUT_S)
    try:
        target.run(data)
    except KtstrError:
        return True
    except Exception as error:
        raise Broken(f"{name}: {type(error).__name__}: {error}: {_saved(name, data)}") from error
    finally:
        signal.alarm(0)
    return False


@contextmanager
def _measured() -> Iterator[None]:
    def hangs(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {INPUT_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, hangs)
    tracemalloc.start(1)
    try:
        yield
    finally:
        tracemalloc.stop()
        signal.signal(signal.SIGALRM, before)


def _saved(name: str, data: bytes) -> Path:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def main(arguments: list[str]) -> int:
    """See the module."""
    if arguments == ["--list"]:
        print("\n".join(TARGETS))
        return 0
    if not arguments or not arguments[0].isdigit() or not set(arguments[1:]) <= TARGETS.keys():
        print(f"give a number of seconds and one of {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    seed = int(os.environ.get("KTSTR_FUZZ_SEED") or random.randrange(1 << 32))
    again = os.environ.get("KTSTR_FUZZ_INPUT")
    for name in arguments[1:] or TARGETS:
        if again is not None:
            TARGETS[name].run(Path(again).read_bytes())
            continue
        try:
            report = fuzz(name, seed=seed, seconds=float(arguments[0]))
        except Broken as broken:
            print(broken, file=sys.stderr)
            return 1
        print(
            f"{name}: seed {seed}, {report.runs} runs, {report.refused} refused, peak {report.peak_bytes} bytes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
