"""Roles of spans: what a text is decides how it looks. The style sheet has a rule for each, of a component of the app.

Textual computes the styles of components for every node that has some, each time anything about that node changes. So
the app has them and not each of the fifteen panes: that was a third of the time from start to first paint.
"""

from __future__ import annotations

from rich.style import Style
from textual.dom import DOMNode

ROLES = (
    "strong", "dim", "head", "key", "ok", "warn", "bad", "info", "accent", "spark", "track",
    "ext", "fair", "rt", "dl", "stop",
    "badge", "badge-ok", "badge-warn", "badge-bad", "badge-info", "tab", "tab-on", "foot-key",
    "lane-0", "lane-1", "lane-2", "lane-3", "lane-4", "lane-5",
)  # fmt: skip
"""Every role a span may have, besides the empty one; each is the component class ``line--<role>``."""
CURSOR = "cursor"
"""What is laid over the row under the cursor."""
COMPONENTS = frozenset(f"line--{role}" for role in (*ROLES, CURSOR))


def style(app: DOMNode, role: str) -> Style:
    """What a role adds to the style of the widget that it stands in.

    Args:
        app: Has `COMPONENTS`.
        role: One of `ROLES`, or `CURSOR`.
    """
    return app.get_component_styles(f"line--{role}").partial_rich_style
