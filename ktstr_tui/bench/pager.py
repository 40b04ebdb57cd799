"""How long a fault on a page that the pager brings takes, beside the least that userfaultfd can do.

Both are measured where it counts, in the thread that touches the page: from the touch to the byte. The floor is a
handler that knows nothing: in a process of its own, too, it reads the page from a file and copies it. The pager looks
the page up in a store, unpacks it and compares its digest. Rounds take turns, so that a busy host slows both alike.
Each has memory of its own, in which every page is touched once, in an order drawn at random.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import trio

from ktstr_tui._native import ffi, lib
from ktstr_tui.bench.guest import summary
from ktstr_tui.memory.pager import open_pager
from ktstr_tui.memory.pager_source import StoreSource
from ktstr_tui.memory.pages import PAGE_BYTES, PageFile
from ktstr_tui.memory.uffd import open_uffd, watch
from ktstr_tui.text.output import say

PAGES: Final = 4096
GOAL_RATIO: Final = 1.5
GOAL_P99_US: Final = 100.0
_BARE: Final = """
import sys
from ktstr_tui._native import lib
print("ready", flush=True)
uffd, base, image, stop = map(int, sys.argv[1:])
lib.ktp_serve_bare(uffd, base, image, stop)
"""


def bench_pager(rounds: int) -> dict[str, Any]:
    """Measure faults served by the pager and by a bare handler, and how fast the pager loads all that is left."""
    return trio.run(_bench, rounds)


async def _bench(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ktstr-bench-") as place:
        source, image = _stored(Path(place))
        bare: list[float] = []
        ours: list[float] = []
        fills: list[float] = []
        for number in range(rounds):
            order = random.Random(number).sample(range(PAGES), PAGES)
            bare += _touch_bare(image, order)
            ours += await _touch_paged(source, order)
            fills.append(await _fill(source))
            say(f"round {number + 1} of {rounds}")
        copies = [_copy(image) for _ in range(rounds)]
    floor, figures = summary(bare), summary(ours)
    return {
        "bench": "pager",
        "faults": len(ours),
        "baseline": "a bare userfaultfd handler: pread and a copy, in a process of its own",
        "bare_us": floor,
        "pager_us": figures,
        "ratio_p50": figures["p50"] / floor["p50"],
        "ratio_p99": figures["p99"] / floor["p99"],
        "goal_ratio_p99": GOAL_RATIO,
        "ratio_met": figures["p99"] / floor["p99"] <= GOAL_RATIO,
        "goal_p99_us": GOAL_P99_US,
        "p99_met": figures["p99"] <= GOAL_P99_US,
        "fill_pages_per_s": summary(fills),
        "copy_pages_per_s": summary(copies),
        "fill_baseline": "a plain copy of the same image",
    }


def _page(number: int) -> bytes:
    """A page that shrinks to about a third, as those of a kernel do."""
    return random.Random(number).randbytes(1200).ljust(PAGE_BYTES, bytes([number & 255 | 1]))


def _stored(place: Path) -> tuple[StoreSource, Path]:
    """The same pages in a store and as a plain image."""
    content = [_page(number) for number in range(PAGES)]
    file = PageFile(place / "pages", writing=True)
    digests, _ = file.add(content)
    file.close()
    image = place / "image"
    image.write_bytes(b"".join(content))
    return StoreSource(path=place / "pages", digests=digests), image


def _memory() -> mmap.mmap:
    fd = os.memfd_create("ktstr-bench")
    try:
        os.ftruncate(fd, PAGES * PAGE_BYTES)
        return mmap.mmap(fd, PAGES * PAGE_BYTES)
    finally:
        os.close(fd)


def _touch(memory: mmap.mmap, order: list[int]) -> list[float]:
    """Microseconds that each first touch of a page took."""
    times = ffi.new("uint64_t[]", len(order))
    lib.ktp_touch(ffi.from_buffer(memory), ffi.new("uint32_t[]", order), len(order), times)
    return [times[at] / 1e3 for at in range(len(order))]


def _touch_bare(image: Path, order: list[int]) -> list[float]:
    uffd = open_uffd()
    stop, stopper = os.pipe()
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    memory = _memory()
    base = int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))
    watch(uffd, base, len(memory))
    words = [sys.executable, "-c", _BARE, *map(str, (uffd, base, file, stop))]
    handler = subprocess.Popen(words, pass_fds=(uffd, file, stop), stdout=subprocess.PIPE)
    try:
        assert handler.stdout is not None
        handler.stdout.readline()
        return _touch(memory, order)
    finally:
        os.close(stopper)
        handler.communicate()
        for fd in (uffd, stop, file):
            os.close(fd)
        memory.close()


async def _touch_paged(source: StoreSource, order: list[int]) -> list[float]:
    async with open_pager(source) as pager:
        memory = _memory()
        await pager.register_region(memory)
        times = await trio.to_thread.run_sync(_touch, memory, order)
        memory.close()
        return times


async def _fill(source: StoreSource) -> float:
    """Pages a second that are loaded without being asked for."""
    async with open_pager(source) as pager:
        memory = _memory()
        await pager.register_region(memory)
        start = time.perf_counter()
        await pager.fill()
        await pager.wait_resident()
        taken = time.perf_counter() - start
        memory.close()
    return PAGES / taken


def _copy(image: Path) -> float:
    memory = _memory()
    start = time.perf_counter()
    with open(image, "rb") as file:
        file.readinto(memory)
    taken = time.perf_counter() - start
    memory.close()
    return PAGES / taken
