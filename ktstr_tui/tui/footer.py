"""Which keys the footer shows: those that do something here and now, under the name of what they do.

A key is left out when the focused pane has no use for it, and when the run would refuse it, as a replay refuses a
capture. It is still heard then, and the refusal says why. What has no room is left out by rank; help shows every key.
"""

from __future__ import annotations

from dataclasses import replace

from textual.app import App
from textual.binding import ActiveBinding

from ktstr_tui.tui.action import Action
from ktstr_tui.tui.actions import ACTIONS
from ktstr_tui.tui.view import View

_BY_ID = {it.id: it for it in ACTIONS}


def labels(view: View, offers: dict[str, str]) -> dict[str, str]:
    """Choose the keys of the footer.

    Args:
        view: The run, and whether the viewer may control it.
        offers: What the focused pane and the screen offer: action ids and labels.

    Returns:
        Ids of actions and their labels.
    """
    refused = bool(view.refusal("control the run"))
    found = {}
    for it in ACTIONS:
        if not it.footer or (it.asks and refused):
            continue
        if it.when == "always":
            found[it.id] = it.label
        elif it.id in offers:
            found[it.id] = offers[it.id]
    if "run.freeze" in found and view.source.state.frozen is not None:
        found["run.freeze"] = "Thaw"
    if not refused and view.source.state.control.hold is not None:
        found["run.hold"] = _BY_ID["run.hold"].label
    if view.paused:
        found["view.pause"] = "Resume"
    return found


def arranged(
    bindings: dict[str, ActiveBinding], wanted: dict[str, str], app: App[object], width: int, spacing: int
) -> dict[str, ActiveBinding]:
    """Name and order bindings for the footer and hide the others, which stay in effect.

    Args:
        bindings: All bindings in effect, by key.
        wanted: Ids and labels of those to show.
        app: What knows how keys are written.
        width: Cells of the footer.
        spacing: Cells around and between the key and the label of one entry.
    """
    shown = _that_fit({it.binding.id or "": it for it in bindings.values()}, wanted, app, width, spacing)
    found = {}
    for key, it in bindings.items():
        id_ = it.binding.id or ""
        label = wanted.get(id_, it.binding.description)
        found[key] = it._replace(binding=replace(it.binding, show=id_ in shown, description=label))
    return dict(sorted(found.items(), key=lambda item: _place(item[1].binding.id)))


def _that_fit(
    bindings: dict[str, ActiveBinding], wanted: dict[str, str], app: App[object], width: int, spacing: int
) -> set[str]:
    shown: set[str] = set()
    ranked: list[Action] = sorted((_BY_ID[id_] for id_ in wanted), key=lambda it: it.footer)
    for it in ranked:
        if it.id in bindings:
            width -= len(app.get_key_display(bindings[it.id].binding)) + len(wanted[it.id]) + spacing
            if width < 0:
                break
            shown.add(it.id)
    return shown


def _place(id_: str | None) -> int:
    """What the pane offers is on the left."""
    return 0 if id_ in _BY_ID and _BY_ID[id_].when == "offered" else 1
