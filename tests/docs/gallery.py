"""The table of docs/reference.md that says what stands on top of each kind of ejection and sickness."""

from __future__ import annotations

from tests.docs.markdown import code, table
from tests.guest.gallery import GALLERY, for_people


def gallery() -> str:
    """The table: what `tests.guest.test_gallery` sees on real kernels."""
    rows = (
        (kind.what, code(kind.exit_kind or "–"), "1" if kind.exit_kind else "0", for_people(kind.says))
        for kind in GALLERY
    )
    return table(("the scheduler …", "exit kind", "exit code", "first sentence"), rows)
