"""The counters of lost things in words: what was lost and why, for the screen and for ``status``.

A name on the stream is ``room.reason`` and stays the same for programs; here is what people read in its place. A reason
that is made of what happened, such as an error of the operating system, follows a colon and is shown as it is.
"""

from __future__ import annotations

from ktstr_tui.model.text import printable

DROP_WORDS = {
    "stream.events-not-encodable": "events that could not be encoded",
    "machine.gdb-bad-checksums": "packets of the gdb stub with a wrong checksum",
    "machine.gdb-junk-bytes": "bytes of the gdb stub outside of packets",
    "machine.observer-refused": "commands to the observer that were out of bounds",
    "machine.answers-late": "answers that the guest got late, so that its future depends on the host",
    "seed.checkpoints-unwritten": "checkpoints that are not in checkpoints.jsonl",
    "seed.given-unwritten": "bytes given to the guest that are not in given.jsonl",
    "seed.interventions-unwritten": "interventions that are not in interventions.jsonl: a rerun lacks them",
    "machine.qmp-events": "events of QEMU: queue full",
    "machine.qmp-junk-lines": "lines of QMP that are not JSON",
    "machine.console-bytes-not-in-the-log": "bytes of the console that are not in console.log",
    "machine.console-lines-cut": "lines of the console cut for their length",
    "guest.claims-refused": "claims of the guest about its kernel that were refused",
    "guest.stimuli-not-in-the-scenario": "operations that the guest told of and the scenario has not",
    "guest.swaps-not-followed": "changes of the scheduler not followed in time",
    "guest.scheduler-log-bytes": "bytes that schedulers printed and that are not in scheduler.log",
    "guest.scheduler-answers-unexpected": "answers about the scheduler that came unasked",
    "guest.scheduler-changes-timed-out": "changes of the scheduler that the guest did not answer in time",
    "guest.scheduler-changes-refused": "changes of the scheduler refused: too many waited",
    "port.bytes-left-out": "bytes of the guest's text left out: too much at once",
    "stats-port.late-answers": "answers of the scheduler's statistics that came too late",
    "stats-port.bytes-too-long": "bytes of statistics in answers that were too long",
    "coordinator.requests-refused": "requests to stop the guest refused: too many waited",
    "coordinator.requests-abandoned": "requests to stop the guest whose requester left",
    "coordinator.stops-timed-out": "stops of the guest that timed out",
    "coordinator.stops-unexpected": "stops of the guest that were not requested",
    "coordinator.slot-0-pauses": "pauses of the scheduler watchpoint: too many hits",
    "coordinator.slot-0-unreadable": "looks at the scheduler watchpoint that could not read memory",
    "coordinator.watches-restored": "watchpoints that somebody had removed, set again",
    "coordinator.sub-captures-skipped": "captures of ejected sub-schedulers left out: too many waited",
    "coordinator.sub-pauses": "pauses of the watchpoints of sub-schedulers: too many hits",
    "coordinator.sub-unreadable": "looks at sub-schedulers that could not read memory",
    "coordinator.captures-not-rendered": "captures given up: too many waited to be rendered",
    "coordinator.dual-reports-not-made": "dual reports given up: too many waited",
    "coordinator.watches-captures-skipped": "captures of watch hits left out: too many waited",
    "coordinator.watches-hits-found-late": "watch hits found at a stop for something else",
    "coordinator.watches-values-unreadable": "values at watch hits that could not be read",
    "coordinator.watches-pauses": "pauses of watches: too many hits",
    "coordinator.watches-calls-untold": "calls of watched functions that came too often to be shown",
    "coordinator.watches-refused": "watches that could not be set",
    "trace.events-left-out": "events of the kernel's trace that were too many for viewers and recording",
    "recorder.trace-beyond-limit": "events of the kernel's trace not in the recording: its share is full",
    "alarms.captures-skipped": "captures of alarms left out: one had just been taken",
    "alarms.captures-failed": "captures of alarms that failed",
    "early.early-failed": "early captures that failed",
    "periodic.periodic-failed": "periodic captures that failed",
    "periodic.periodic-timed-out": "periodic captures that timed out",
    "periodic.periodic-abandoned": "periodic captures given up after timeouts",
    "captures": "captures that could not be saved",
    "bridge.events-lost": "events of the bridge: log full",
    "bridge.replies-lost": "replies of the guest's kernel operations: store full",
    "snapshots.snapshots-not-taken": "snapshots of ejections not taken: too many waited to be written",
    "scenario.captures-evicted": "captures no longer kept in memory, their files stay",
    "scenario.captures-replaced": "captures replaced under the same tag, their files stay",
    "scenario.scenario-captures-failed": "captures of the scenario that failed",
    "scenario.defects": "requests on the bridge in a wrong order",
    "beats.events-not-fetched": "events of heartbeats: queue full",
    "beats.silences-not-explained": "silences without a cause: too many at once",
    "beats.captures-on-stall-skipped": "captures of silences left out: one was just taken",
    "kernel-ops.refusals-not-reported": "refused kernel operations that were not reported one by one",
    "kernel-ops.audit-lines-left-out": "lines missing in kernel-ops.jsonl",
    "guest-kernel-ops.too-many": "kernel operations of the guest refused: too many",
    "guest-kernel-ops.malformed": "kernel operations of the guest that made no sense",
    "debugger.junk-bytes": "bytes of debuggers that belonged to no request",
    "debugger.damaged": "requests of debuggers with a wrong checksum or too long",
    "debugger.while-running": "requests of debuggers that came while the guest ran",
    "loop.events-lost": "events that the control loop did not take: queue full",
    "loop.probes-failed": "readings of probes that failed",
    "loop.recoveries-failed": "recoveries that failed",
    "executor.action-dropped": "actions given up",
    "executor.action-failed": "actions that failed",
    "executor.records-not-kept": "failures and log lines that are not in their files",
    "publisher.not-sent": "messages to viewers that could not be sent",
    "publisher.bad-request": "requests of viewers that made no sense",
    "publisher.events-missed-by-viewers": "events that viewers missed and fetched again",
    "recorder": "events missing in the recording",
    "audit.entries-given-up": "entries that are not in audit.jsonl",
    "audit.entries-not-synced": "entries of audit.jsonl that the disk may not have",
    "authority.commands-refused": "commands refused: no control, or automation is held",
    "sampler.failed": "samples in which nothing could be read",
    "sampler.not-judged": "samples that were not judged",
}
"""By ``room.reason`` without what follows a colon, or by room where the reason is one of the operating system's."""


def drop_line(name: str, count: int) -> str:
    """Return what was lost and how many of it, in an order that is right for one and for many."""
    return f"{drop_words(name)}: {count}"


def drop_words(name: str) -> str:
    """Return what was lost, in words; a name without words is shown as it is."""
    stem, _, detail = name.partition(": ")
    known = DROP_WORDS.get(stem)
    if known is None:
        room, _, reason = name.partition(".")
        known, detail = DROP_WORDS.get(room, ""), reason
    if not known:
        return f"dropped {printable(name)}"
    return f"{known} ({printable(detail)})" if detail else known
