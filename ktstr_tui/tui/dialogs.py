"""The windows over the screen: help, run information, leaving, the filter's input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Input, Static

from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, clean, wrap
from ktstr_tui.tui.actions import ACTIONS, GROUP_TITLES, window_bindings
from ktstr_tui.tui.view import View

WINDOW_SHARE, WINDOW_CELLS, FRAME_CELLS = 90, 110, 7
"""Per cent of the terminal's width, the most cells of a window, and what its border, padding and scrollbar take; as
ktstr.tcss has them."""
_SYMBOLS = (
    f"{ABSENT} means that a value could not be read; 0 is a zero read from the kernel.",
    "Every state has a symbol as well as a colour: ● ok  ▲ degraded  ■ stalled or frozen  ? unknown.",
)


class DialogPage(ModalScreen[None]):
    """A page of text in a window; escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,i,enter", "dismiss", "Close", show=False, id="window.close"),
        *window_bindings(),
    ]
    title_text: str = ""

    def page(self) -> Content:
        """What the window says."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="window") as window:
            window.border_title = self.title_text
            window.border_subtitle = "escape to close"
            yield Static(id="page")

    def on_resize(self, event: events.Resize) -> None:
        """Break the lines for the new width."""
        self.query_one("#page", Static).update(self.page())

    def beside(self, indent: int, text: str) -> str:
        """A sentence that begins behind ``indent`` cells, and whose next lines begin there, too."""
        room = min(self.app.size.width * WINDOW_SHARE // 100, WINDOW_CELLS) - FRAME_CELLS
        return f"\n{' ' * indent}".join(wrap(text, max(20, room - indent))) + "\n"


class HelpPage(DialogPage):
    """The keys that work where help was asked for, read from the live bindings.

    Args:
        below: The screen that help is about.
        refusal: Why the viewer may not control the run; empty when it may.
    """

    title_text = "Keys"

    def __init__(self, below: Screen[Any], refusal: str) -> None:
        super().__init__()
        self._keys = active_keys(below)
        self._refusal = refusal

    def page(self) -> Content:
        parts: list[Content | str | tuple[str, str]] = []
        for group, title in GROUP_TITLES.items():
            rows = [it for it in ACTIONS if it.group == group and it.id in self._keys]
            rows = [it for it in rows if not (it.asks and self._refusal)]
            if rows:
                parts.append((f"{title}\n", "bold $primary"))
            for it in rows:
                parts += [(f"  {self._keys[it.id]:<16}", "bold $accent"), self.beside(18, it.about)]
            if rows:
                parts.append("\n")
        if self._refusal:
            parts += [("Not now\n", "bold $primary"), "  ", self.beside(2, self._refusal), "\n"]
        parts += [
            ("Elsewhere\n", "bold $primary"),
            ("  ctrl+p          ", "bold $accent"),
            self.beside(18, "Command palette: every action by name"),
            "\n",
            ("Symbols\n", "bold $primary"),
        ]
        for sentence in _SYMBOLS:
            parts += ["  ", self.beside(2, sentence)]
        return Content.assemble(*parts).rstrip()


def active_keys(screen: Screen[Any]) -> dict[str, str]:
    """Binding id to the keys that trigger it on ``screen`` now."""
    keys: dict[str, list[str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.id is not None:
            keys.setdefault(binding.id, []).append(screen.app.get_key_display(binding))
    return {id_: " ".join(names) for id_, names in keys.items()}


class InfoPage(DialogPage):
    """What runs where and why, this viewer's link, and how the run ended."""

    title_text = "The run"

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def page(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for title, rows in info_rows(self._view):
            parts.append((f"{title}\n", "bold $primary"))
            for name, value in rows:
                parts += [(f"  {name:<19} ", "$quiet"), self.beside(22, value)] if name else [f"  {value}\n"]
            parts.append("\n")
        return Content.assemble(*parts).rstrip()


Rows = list[tuple[str, str]]


def _time_row(view: View) -> list[tuple[str, str]]:
    """Whose time it is, in a run with a seed."""
    state = view.source.state
    if state.info is None or state.info.seed is None:
        return []
    pace = view.pace.look(state.mono_ns) if view.live else None
    now = "" if pace is None else f"; at present ×{pace:.1f} of real time"
    return [("time", f"the guest's, counted in instructions{now}")]


def info_rows(view: View) -> list[tuple[str, Rows]]:
    """The information page as titled ``(name, value)`` rows; a row without a name is a whole line."""
    state = view.state
    sections: list[tuple[str, Rows]] = []
    if state.ended is not None:
        end = state.ended
        rows = [("exit code", str(end.exit_code)), ("reason", clean(end.reason))]
        rows += [
            (name, clean(value))
            for name, value in (("caused by", end.fault), ("next step", end.hint))
            if value
        ]
        sections.append(("How it ended", rows))
        if end.console_tail:
            sections.append(("Last console output", [("", clean(line)) for line in end.console_tail]))
    info = state.info
    if info is None:
        sections.append(("Run", [("", "No data yet.")]))
    else:
        run = [
            ("name", clean(info.name)),
            ("kernel", clean(info.kernel)),
            ("kernel image", clean(info.kernel_path)),
            ("accelerator", info.badge),
            ("reason", clean(info.accelerator_reason) or ABSENT),
            *_time_row(view),
            ("topology", f"{info.topology}, {words.size(info.memory_bytes)}"),
            ("scenario", clean(info.scenario) or ABSENT),
            ("steps", clean(", ".join(info.steps)) or ABSENT),
            ("requested scheduler", clean(info.scheduler) or ABSENT),
            ("sampler", f"{info.sample_hz:g} Hz"),
            ("kernel writes", "allowed" if info.allow_writes else "refused"),
            ("started", clean(info.started_wall) or ABSENT),
            ("host", clean(info.host) or ABSENT),
            ("data", clean(info.data_dir) or ABSENT),
        ]
        sections.append(("Run", run))
    counts = [
        (
            "boot",
            words.milliseconds(state.boot_ms) + (", from a saved boot" if state.from_saved_boot else ""),
        ),
        ("BTF loaded", words.milliseconds(state.typed_ms)),
        (
            "samples",
            f"{state.samples}, {state.samples_missed} not taken (frozen, or too late), "
            f"{state.samples_unreadable} not fully readable",
        ),
        ("torn, retried", f"{state.torn}, {state.retries}"),
        ("total time frozen", words.milliseconds(state.frozen_total_ms)),
        ("last pause", words.pause_parts(state.last_pause)),
    ]
    sections.append(("Totals", counts))
    return [*sections, ("This viewer", _link_rows(view))]


def _link_rows(view: View) -> Rows:
    rows = [
        ("connection", f"{view.connection}  {view.connection_reason}".rstrip()),
        ("control allowed", "yes" if view.source.controllable else "no"),
        ("viewers", str(view.state.viewers)),
        ("refresh rate", f"{view.paint_hz:g} Hz"),
    ]
    statistics = view.source.statistics()
    names = statistics.__struct_fields__
    return [*rows, *((name.replace("_", " "), clean(str(getattr(statistics, name)))) for name in names)]


class LeaveDialog(ModalScreen[str]):
    """Asks the owner of a live run what becomes of it; the answer is ``end``, ``leave`` or ``stay``.

    Quitting once more is ``leave``, which loses nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "answer('end')", "End", id="leave.end"),
        Binding("l", "answer('leave')", "Leave running", id="leave.leave"),
        Binding("escape,s", "answer('stay')", "Stay", id="leave.stay"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
        *window_bindings(),
    ]

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        with Vertical(id="leave") as box:
            box.border_title = "Leaving"
            box.border_subtitle = "e end · l leave · escape"
            text = "Run {run} is still in progress. End it, or leave it running (return with `ktstr-tui attach`)?"
            yield Static(Content(text.replace("{run}", self._run)))
            with Vertical(id="answers"):
                yield Button("End the run (e)", id="end", variant="error", compact=True)
                yield Button(
                    "Leave it running (l, ctrl+q)", id="leave-running", variant="primary", compact=True
                )
                yield Button("Cancel (escape)", id="stay", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss({"end": "end", "leave-running": "leave"}.get(event.button.id or "", "stay"))

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer)


class FilterDialog(ModalScreen[None]):
    """One line of input at the bottom; it filters while typing, enter keeps the filter, escape clears it.

    Args:
        what: What is filtered, for the title.
        text: The filter so far.
        apply: Takes the filter at every change.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Show all", id="filter.clear"),
        *window_bindings(),
    ]

    def __init__(self, what: str, text: str, apply: Callable[[str], None]) -> None:
        super().__init__()
        self._what = what
        self._text = text
        self._apply = apply

    def compose(self) -> ComposeResult:
        with Vertical(id="filter") as box:
            box.border_title = f"Show only {self._what} that match (! before it: that do not)"
            box.border_subtitle = "regular expression · enter to filter · escape to show all"
            line = Input(self._text, id="filter-text", compact=True)
            line.cursor_blink = False
            yield line

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(None)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._apply(event.value.strip())

    def action_clear(self) -> None:
        self._apply("")
        self.dismiss(None)
