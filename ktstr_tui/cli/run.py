"""``run``: start the backend, here or beside the screen, and print how the run ended."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.model.compared import again_words, compared_words
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold_edit import after_of, change_words
from ktstr_tui.model.outputs import SummaryAlert, SummaryCapture
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.model.text import counted, printable
from ktstr_tui.text.drops import drop_line
from ktstr_tui.text.edit_lines import comparison, printed
from ktstr_tui.text.output import RunExit, print_json, print_line, say

MAX_ALERTS = 8
"""Alerts that the summary prints, errors first."""


def run_command(
    config: RunConfig, *, headless: bool, as_json: bool, explain: bool = True, theme: str | None = None
) -> None:
    """Run to the end, then leave with the run's exit code.

    Raises:
        SystemExit: Always, with the exit code of the run.
        KtstrError: The run could not begin.
    """
    from ktstr_tui.cli.unseen import mention_unseen_runs

    _refuse_mistakes()
    if headless and theme is not None:
        raise UsageError("--theme needs the screen", "drop --theme or --headless")
    mention_unseen_runs()
    if not headless:
        if as_json:
            raise UsageError("--json needs --headless", "add --headless, or drop --json")
        from ktstr_tui.cli.screen import run_with_screen

        raise RunExit(run_with_screen(config, explain=explain, theme=theme))
    state = _run_here(config)
    if as_json:
        from ktstr_tui.backend.summary import summarize

        print_json(summarize(state))
    else:
        _print_summary(state)
    raise RunExit(state.ended.exit_code if state.ended else 0)


def _refuse_mistakes() -> None:
    # A run with another memory or kernel than was meant is worse than none.
    from ktstr_tui.cli.config_file import read_config

    wrong = [it for it in read_config().mistakes if it.part in ("file", "run")]
    if wrong:
        more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
        hints = (wrong[0].hint, "ktstr-tui config check lists all mistakes")
        raise UsageError(f"{wrong[0]}{more}", "; ".join(filter(None, hints)))


def _run_here(config: RunConfig) -> RunState:
    import trio

    from ktstr_tui.backend.run_dirs import RunDirs
    from ktstr_tui.backend.session import run_backend

    def ready(place: RunDirs) -> None:
        say(f"run {place.name}: attach with  ktstr-tui attach {place.name}")
        say(f"sockets (for ssh -L): {place.socket_dir}")
        say(f"captures and recording: {place.data_dir}")

    def tell(event: Event, data: bytes) -> None:
        for line in printed(event):
            say(line)

    return trio.run(run_backend, config, say, ready, tell)


def _in_words(capture: SummaryCapture) -> str:
    if capture["is_placeholder"]:
        return capture["degraded_reason"] or "failed; see the file"
    # The kernel's own words are first; a headline that begins with the task that waits does not repeat them.
    message, text = capture["message"], capture["headline"]
    if message is None or message in text:
        return text
    # What the host did comes before both: it may be the whole cause.
    return f"{text}; {message}" if capture["host_without_cpu_ms"] else f"{message}; {text}"


def _print_alerts(alerts: list[SummaryAlert]) -> None:
    for alert in alerts[:MAX_ALERTS]:
        times = f" (raised {alert['count']} times)" if alert["count"] > 1 else ""
        print_line(f"alert     {alert['text']}{times}")
    more = len(alerts) - MAX_ALERTS
    if more > 0:
        print_line(f"alert     {counted(more, 'other alert')}; --json prints all")


def _print_summary(state: RunState) -> None:
    from ktstr_tui.backend.summary import summarize

    summary = summarize(state)
    boot = f"{summary['boot_ms']:.0f} ms" if summary["boot_ms"] is not None else "never up"
    boot += " from a saved one" if summary["from_saved_boot"] else ""
    if summary["restored_from"] is not None:
        boot += f" from snapshot {summary['restored_from']}"
    print_line(
        f"kernel    {summary['kernel']} on {summary['accelerator']}, {summary['topology']}, boot {boot}"
    )
    # A rerun that is refused, as one by another version is, has nothing that could be had again.
    if summary["seed"] is not None and (Path(summary["data_dir"] or "") / IDENTITY_FILE).is_file():
        print_line(
            f"seed      {summary['seed']}; {again_words(state)}: ktstr-tui rerun {summary['data_dir']}"
        )
    if state.compared is not None:
        print_line(f"compared  {printable(compared_words(state.compared))}")
    print_line(f"samples   {summary['samples']} ({summary['samples_unreadable']} unreadable)")
    frames = summary["frames"]
    print_line(
        f"frames    {frames['received']} ({frames['bytes']} bytes, {frames['crc_bad']} with a bad CRC)"
    )
    _print_alerts(summary["alerts"])
    for entry in summary["captures"]:
        pause = f"{entry['pause_us'] / 1000:.1f} ms" if entry["pause_us"] is not None else "unknown"
        kind = f"exit_kind {entry['exit_kind_name'] or entry['exit_kind']}"
        print_line(
            f"capture   {entry['tag']} ({entry['trigger']}, {kind}, pause {pause}): {_in_words(entry)}"
        )
        if entry["before"]:
            print_line(f"          before: {entry['before']}")
    # Both captures of a pair name its file.
    for path, outcome in {it["dual_path"]: it["dual_outcome"] for it in summary["captures"]}.items():
        if path:
            print_line(f"dual      {outcome}: {path}")
    if summary["conclusion"] and summary["conclusion"]["results_path"]:
        print_line(f"results   {summary['conclusion']['results_path']}")
    for change in state.edit.changes:
        print_line(f"change    {change_words(change)}")
        if change.outcome == "attached":
            print_line(f"          {comparison(change, after_of(state, change))}")
    for reason, count in summary["drops"].items():
        print_line(f"dropped   {drop_line(reason, count)}")
    print_line(f"ended     {summary['end_reason']} (exit code {summary['exit_code']})")
    ended = state.ended
    if ended is not None and ended.fault:
        for line in ended.console_tail:
            say(f"  {line}")
        if ended.hint:
            say(f"next: {ended.hint}")
