"""Shows the made-up run: ``python -m tests.tui.demo`` plays it live, with ``--svg FILE`` it draws one moment."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ktstr_tui.link.source import OnEvents
from ktstr_tui.tui.app import KtstrApp
from tests.tui.fakes import FakeSource, press, settle
from tests.tui.story import END_S, Story


class Player(FakeSource):
    """Feeds the story at its own pace, or faster."""

    def __init__(self, story: Story, speed: float) -> None:
        super().__init__([])
        self._story = story
        self._speed = speed

    async def run(self, on_events: OnEvents) -> None:
        """Play to the end."""
        self._on_events = on_events
        events = self._story.until(END_S)
        clock_ns = events[0].mono_ns
        for event in events:
            await asyncio.sleep((event.mono_ns - clock_ns) / 1e9 / self._speed)
            clock_ns = event.mono_ns
            self.feed([event])


async def draw(story: Story, options: argparse.Namespace) -> str:
    """The SVG of one moment."""
    width, height = map(int, options.size.split("x"))
    app = KtstrApp(FakeSource(story.until(options.at)), paint_hz=0)
    async with app.run_test(size=(width, height)) as pilot:
        app.theme = options.theme
        await settle(app, pilot)
        await press(app, pilot, *options.keys.split())
        return app.export_screenshot()


def main() -> None:
    """Parse arguments and go."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--at", type=float, default=END_S)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--keys", default="")
    parser.add_argument("--topology", default="1n1l2c1t")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--theme", default="ktstr")
    options = parser.parse_args()
    story = Story(options.topology)
    if options.svg is None:
        KtstrApp(Player(story, options.speed), owner=True).run()
        return
    options.svg.write_text(asyncio.run(draw(story, options)), encoding="utf-8")


if __name__ == "__main__":
    main()
