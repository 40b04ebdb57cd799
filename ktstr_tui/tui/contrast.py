"""Contrast of two colours as WCAG 2.1 measures it, and colours moved until they can be read.

A colour is hard to read when its luminance is close to that of its background, whatever its hue. So a colour is
blended with white (on dark backgrounds) or black by the smallest share that reaches the wanted ratio; it keeps its hue.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from textual.color import BLACK, WHITE, Color

READABLE = 4.5
"""The ratio that WCAG 2.1 asks for at level AA (success criterion 1.4.3), for text of normal size."""
HIGH = 7.0
"""The ratio at level AAA (success criterion 1.4.6)."""
_STEPS = 64


@lru_cache(maxsize=4096)
def luminance(colour: Color) -> float:
    """The relative luminance of an opaque colour, from 0 (black) to 1 (white)."""
    parts = [value / 255 for value in colour.rgb]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of two opaque colours, from 1 (none) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def legible(colour: Color, backgrounds: Iterable[Color], ratio: float = READABLE) -> Color:
    """Blend a colour with white or black until it can be read on every background.

    Args:
        colour: An opaque colour.
        backgrounds: Opaque colours, all of them dark or all of them light.
        ratio: The least contrast ratio.

    Returns:
        The colour itself when it can be read; else the nearest one that can, or white or black when none can.
    """
    grounds = list(backgrounds)
    lightest = max(grounds, key=luminance)
    towards = WHITE if contrast(lightest, WHITE) > contrast(lightest, BLACK) else BLACK
    for step in range(_STEPS):
        # A variable of a style sheet has 8 bits for each part: what is measured is what is drawn.
        moved = Color.parse(colour.blend(towards, step / _STEPS).hex6)
        if all(contrast(moved, ground) >= ratio for ground in grounds):
            return moved
    return towards
