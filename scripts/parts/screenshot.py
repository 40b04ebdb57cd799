"""Draws one moment of a recording as an SVG that needs no font or file from elsewhere.

The real screen runs headless on a real replay whose clock stands at the wanted moment.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.link.replay import Replay
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import CaptureTaken
from ktstr_tui.tui.app import KtstrApp

AFTER_CAPTURE_S = 0.03
"""How long after the capture of an ejection (or the first capture) ``--at capture`` is."""
_SETTLE_TURNS = 4


def moment_s(recording: Path, at: str) -> float:
    """Seconds from the recording's first event to the wanted moment.

    Raises:
        UsageError: ``at`` is neither a number nor a known word, or there is no capture.
    """
    with RecordingReader(recording) as reader:
        span_ns = reader.span_ns()
        if span_ns is None:
            raise UsageError(f"{recording} holds no event", "record a run with: ktstr-tui run --record FILE")
        if at == "end":
            return (span_ns[1] - span_ns[0]) / 1e9
        if at == "capture":
            taken: list[CaptureTaken] = []
            while (chunk := reader.read_chunk()) is not None:
                taken += [it for it in chunk if isinstance(it, CaptureTaken)]
            wanted = next((it for it in taken if it.report.trigger == "error"), taken[0] if taken else None)
            if wanted is not None:
                return (wanted.mono_ns - span_ns[0]) / 1e9 + AFTER_CAPTURE_S
            raise UsageError(f"{recording} holds no capture", "give --at as seconds, or end")
    try:
        return float(at)
    except ValueError as error:
        raise UsageError(f"moment {at!r} is not known", "give seconds, capture or end") from error


def standing_clock(at_s: float) -> Iterator[int]:
    """A clock that starts at 0 and is at the wanted moment from the second look on."""
    yield 0
    while True:
        yield int(at_s * 1e9)


async def draw(recording: Path, at_s: float, size: tuple[int, int], keys: list[str], theme: str) -> str:
    """The screen at a moment, after some keys, as SVG."""
    clock = standing_clock(at_s)
    arrived = asyncio.Event()

    async def rest(_seconds: float) -> None:
        arrived.set()
        await asyncio.Event().wait()

    app = KtstrApp(Replay(recording, clock=lambda: next(clock), sleep=rest), paint_hz=0)
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        while not arrived.is_set() and app.view.connection == "replay" and not app.view.failure:
            await pilot.pause()
        for key in ["", *keys]:
            if key:
                await pilot.press(key)
            for _ in range(_SETTLE_TURNS):
                app.paint()
                await pilot.pause()
        return alone(app.export_screenshot(title="ktstr-tui"))


def alone(svg: str) -> str:
    """The SVG without web fonts, with blanks that every renderer keeps."""
    svg = re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r"font-family: ?Fira Code[^;]*;", "font-family: ui-monospace, 'DejaVu Sans Mono', monospace;", svg
    )
    return svg.replace("<text ", '<text xml:space="preserve" ')


def main() -> int:
    """Parse arguments, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recording", type=Path, help="a file that ktstr-tui run --record wrote")
    parser.add_argument("output", type=Path, help="the SVG to write")
    parser.add_argument(
        "--at", default="capture", help="seconds from the start, 'capture' (default) or 'end'"
    )
    parser.add_argument("--size", default="120x40", help="columns x rows (default 120x40)")
    parser.add_argument(
        "--keys", default="", help="keys to press first, in Textual's names, such as '3 enter'"
    )
    parser.add_argument("--theme", default="ktstr")
    options = parser.parse_args()
    match = re.fullmatch(r"(\d+)x(\d+)", options.size)
    try:
        if match is None:
            raise UsageError(f"size {options.size!r} is not of the form 120x40", "write columns x rows")
        at_s = moment_s(options.recording, options.at)
        size = int(match[1]), int(match[2])
        svg = asyncio.run(draw(options.recording, at_s, size, options.keys.split(), options.theme))
    except KtstrError as error:
        print(f"screenshot: {error.message}\nnext: {error.hint}", file=sys.stderr)
        return error.exit_code
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
