"""The machine's apt sources, in both forms in which they are written.

One-line files (``*.list``) hold an entry per line, with options in brackets. Deb822 files (``*.sources``)
hold paragraphs of fields, each of which may stand for several URIs and suites; a paragraph can be switched
off with ``Enabled: no``. Both are read into the same flat list, one value per URI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ONE_LINE = re.compile(
    r"(?P<types>deb(?:-src)?)\s+(?:\[(?P<options>[^]]*)]\s*)?(?P<uri>\S+)\s+(?P<suites>\S+)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True)
class AptSource:
    """One archive of binary packages named in the machine's apt sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    """Path of a keyring, a fingerprint or an embedded key; empty when the entry names none."""


def read_sources(apt: Path) -> list[AptSource]:
    """Read ``sources.list`` and everything in ``sources.list.d`` that apt itself would read.

    Args:
        apt: Normally ``/etc/apt``. Files that are missing or unreadable count as empty.
    """
    parts = apt / "sources.list.d"
    found = [*parse_one_line(_text(apt / "sources.list"))]
    for path in sorted(parts.iterdir()) if parts.is_dir() else []:
        if path.suffix == ".list":
            found += parse_one_line(_text(path))
        elif path.suffix == ".sources":
            found += parse_deb822(_text(path))
    return found


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Parse the one-line form; entries of one URI and suite each, source packages left out."""
    for raw in text.splitlines():
        entry = _ONE_LINE.fullmatch(raw.partition("#")[0].strip())
        if entry is None or entry["types"] != "deb":
            continue
        options = dict(o.split("=", 1) for o in (entry["options"] or "").split() if "=" in o)
        signer = options.get("signed-by", "")
        yield AptSource(entry["uri"], (entry["suites"],), tuple(entry["rest"].split()), signer)


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Parse the deb822 form; paragraphs without ``deb`` in ``Types`` or with ``Enabled: no`` are left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        fields = _fields(paragraph)
        enabled = fields.get("enabled", "yes").lower() not in (
            "no",
            "false",
            "0",
            "off",
            "without",
            "disable",
        )
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        for uri in fields.get("uris", "").split():
            yield AptSource(uri, tuple(suites), tuple(components), fields.get("signed-by", ""))


def os_release(path: Path) -> dict[str, str]:
    """Read an ``os-release`` file; quotes are removed, an absent file is empty."""
    pairs = (line.split("=", 1) for line in _text(path).splitlines() if "=" in line and line[0] != "#")
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _fields(paragraph: str) -> dict[str, str]:
    """Fields of one paragraph, names in lower case, continuation lines joined, comments dropped."""
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line:
            key, value = line.split(":", 1)
            name = key.strip().lower()
            fields[name] = value.strip()
    return fields


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
