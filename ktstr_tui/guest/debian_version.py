"""The order of Debian package versions (deb-version(7)), as a sort key.

Digits compare as numbers, everything else by character with letters before other signs, and ``~`` before
everything, even the end: ``7.2~rc1 < 7.2 < 7.2+deb14``.
"""

from __future__ import annotations

import re

VersionKey = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]
_PART = re.compile(r"(\D*)(\d*)")
_END = 0


def version_key(version: str) -> VersionKey:
    """A key by which versions sort as dpkg orders them; without epoch or revision those count as 0."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return int(epoch) if epoch.isdigit() else 0, _parts(upstream), _parts(revision)


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers of the upstream version that ``text`` begins with, to compare with a wanted minimum.

    A Debian epoch is skipped. Without a number it is ``()``, which is less than any version.
    """
    match = re.match(r"\s*(?:\d+:)?(\d+(?:\.\d+)*)", text)
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def _parts(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    parts = []
    for sign, digits in _PART.findall(text):
        if sign or digits:
            parts.append(((*map(_weight, sign), _END), int(digits or 0)))
    # What ends here compares as an empty sign and zero, which sorts after "~" and before all else.
    parts.append(((_END,), 0))
    return tuple(parts)


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
