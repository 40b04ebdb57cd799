"""Handle a silence: look up its cause in the kernel, report it, raise and refresh an alert, perhaps capture.

Asking takes a millisecond or so for each task and is done in a thread, so that the next look at the senders is not
late. A storm of silences is reported in full but explained in part, and has a bounded number of alerts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import trio

from ktstr_tui.health.silence import Explainer
from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.intake import Intake
from ktstr_tui.heartbeat.news import GUEST_PROGRAM_PID, ORIGIN_WORDS, StallAlerts, shown_pid
from ktstr_tui.heartbeat.sentence import stall_sentence
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import Domain, StallCause
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport

CAPTURE_EVERY_NS: Final = 10_000_000_000
"""Stalls make a capture at most once in this time."""
HISTORY: Final = 120
"""Readings of the vCPUs' host CPU time that are kept."""
MAX_EXPLAINED: Final = 16
"""Silences that are explained in one go."""
MAX_WAITING: Final = 512
"""Silences that wait to be explained; of more it is said that they were too many."""

Sender = tuple[Domain, int]


class FreezeSource(Protocol):
    """The coordinator, as far as heartbeats need it."""

    async def capture(self, trigger: Trigger, detail: str = "", tag: str | None = None) -> CaptureReport:
        """Capture the guest."""
        ...


class Unexplained:
    """Explains nothing, and says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def explain(self, pid: int, silent_ms: float, vcpu_ms: Mapping[int, float]) -> StallCause:
        """Give the reason as the cause."""
        return StallCause(kind="unknown", reason=self._reason)


class Silences:
    """The silences of a run.

    Args:
        intake: The observers and their clock.
        emit: Takes events, on the trio thread.
        nursery: Where silences are refreshed and captured.
        freezer: The coordinator.
        comm: A sender's name.
        capture_on_stall: Whether silences of guest tasks make captures.
    """

    def __init__(
        self,
        intake: Intake,
        emit: Callable[[ev.Event], object],
        nursery: trio.Nursery,
        freezer: FreezeSource,
        comm: Callable[[Domain, int], str],
        *,
        capture_on_stall: bool,
    ) -> None:
        self.unexplained = 0
        """Silences that were too many to be explained."""
        self.captures_skipped = 0
        """Captures that were not taken because one had just been taken."""
        self._observers = intake.observers
        self._emit = emit
        self._nursery = nursery
        self._freezer = freezer
        self._comm = comm
        self._clock = intake.observers["guest"].clock.read_ns
        self._capture_on_stall = capture_on_stall
        self._alerts = StallAlerts(emit)
        self._explainer: Explainer | Unexplained = Unexplained("the kernel's BTF is not loaded yet")
        self._vcpu_times: Callable[[], Mapping[int, int]] = dict
        self._history: deque[tuple[int, Mapping[int, int]]] = deque(maxlen=HISTORY)
        self._stalls_in, self._stalls = trio.open_memory_channel[tuple[Domain, ob.SenderStalled]](MAX_WAITING)
        self._last_capture_ns: int | None = None

    def explain_with(self, view: KernelView, vcpu_times: Callable[[], Mapping[int, int]]) -> None:
        """Explain silences from the guest's memory, now that it is readable by type."""
        self._vcpu_times = vcpu_times
        try:
            self._explainer = Explainer(view)
        except (KtstrError, LookupError) as error:
            self._explainer = Unexplained(f"this kernel cannot be asked: {error}")

    def begin(self, domain: Domain, stall: ob.SenderStalled) -> None:
        """A silence has reached the threshold."""
        try:
            self._stalls_in.send_nowait((domain, stall))
        except trio.WouldBlock:
            self.unexplained += 1
            self._tell(domain, stall, StallCause(kind="unknown", reason="too many silences at once"))

    def end(self, domain: Domain, recovered: ob.SenderRecovered) -> None:
        """A silence is over."""
        pid, comm = shown_pid(recovered.pid), self._comm(domain, recovered.pid)
        silent_ms = recovered.silent_ns / 1e6
        self._emit(ev.BeatRecovered(domain=domain, pid=pid, comm=comm, silent_ms=silent_ms))
        self._alerts.clear(domain, pid)

    def forget(self, domain: Domain) -> None:
        """All senders of a domain are gone, as they should be."""
        self._alerts.clear_all(domain)
        self._emit(ev.BeatsEnded(domain=domain))

    def refresh(self) -> None:
        """Note the vCPUs' host CPU time, and look at the standing silences again. To be called once a second."""
        self._history.append((self._observers["guest"].clock.now_ns(), self._vcpu_times()))
        standing = self._alerts.standing()
        if standing:
            self._nursery.start_soon(self._refresh, standing)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Explain and tell silences until cancelled."""
        task_status.started()
        async for first in self._stalls:
            batch = [first]
            while len(batch) < MAX_EXPLAINED:
                try:
                    batch.append(self._stalls.receive_nowait())
                except trio.WouldBlock:
                    break
            causes = await self._explain([(domain, stall.pid) for domain, stall in batch])
            for (domain, stall), cause in zip(batch, causes, strict=True):
                self._tell(domain, stall, cause)

    async def _explain(self, senders: list[Sender]) -> list[StallCause | None]:
        silences = [self._observers[domain].silence_ns(pid) or 0 for domain, pid in senders]

        def ask() -> list[StallCause | None]:
            return [
                self._explain_one(domain, pid, silent_ns)
                for (domain, pid), silent_ns in zip(senders, silences, strict=True)
            ]

        if isinstance(self._explainer, Unexplained) or all(domain != "guest" for domain, _ in senders):
            return ask()  # there is nothing to read
        return await trio.to_thread.run_sync(ask)

    def _explain_one(self, domain: Domain, pid: int, silent_ns: int) -> StallCause | None:
        if domain != "guest":
            return None
        return self._explainer.explain(shown_pid(pid), silent_ns / 1e6, self._vcpu_ms_in(silent_ns))

    def _vcpu_ms_in(self, silent_ns: int) -> dict[int, float]:
        """Host CPU time of each vCPU in the last ``silent_ns`` of the guest's time, as far as it was kept."""
        since_ns = self._observers["guest"].clock.now_ns() - silent_ns
        before = next((times for at_ns, times in reversed(self._history) if at_ns <= since_ns), None)
        if before is None:
            return {}
        now = self._vcpu_times()
        return {vcpu: (now[vcpu] - used) / 1e6 for vcpu, used in before.items() if vcpu in now}

    def _tell(self, domain: Domain, stall: ob.SenderStalled, cause: StallCause | None) -> None:
        silence_ns = self._observers[domain].silence_ns(stall.pid)
        if silence_ns is None:
            return  # its step ended while the question was asked
        pid, comm = shown_pid(stall.pid), self._comm(domain, stall.pid)
        silent_ms = (stall.observer_ns - stall.last_ns) / 1e6
        text = stall_sentence(comm, pid, silent_ms, cause, stall.never_heard)
        self._emit(
            ev.BeatStalled(
                domain=domain,
                pid=pid,
                comm=comm,
                silent_ms=silent_ms,
                last_nonce=stall.last_nonce,
                origin=ORIGIN_WORDS[stall.origin],
                cause=cause,
                text=text,
            )
        )
        if silence_ns < self._observers[domain].threshold_ns:
            return  # it beats again already
        self._alerts.raise_(domain, pid, text, cause)
        if domain == "guest" and self._may_capture():
            self._nursery.start_soon(self._capture, pid, text)

    def _may_capture(self) -> bool:
        if not self._capture_on_stall:
            return False
        now_ns = self._clock()
        if self._last_capture_ns is not None and now_ns - self._last_capture_ns < CAPTURE_EVERY_NS:
            self.captures_skipped += 1
            return False
        self._last_capture_ns = now_ns
        return True

    async def _capture(self, pid: int, detail: str) -> None:
        try:
            report = await self._freezer.capture("stall", detail)
        except KtstrError as error:
            text = f"no capture of the missed heartbeat: {error.message}"
            self._emit(ev.Logged(severity="warning", source="beats", text=text))
            return
        self._alerts.captured("guest", pid, report.tag)

    async def _refresh(self, standing: list[Sender]) -> None:
        senders: list[Sender] = [(domain, GUEST_PROGRAM_PID if pid == 1 else pid) for domain, pid in standing]
        causes = await self._explain(senders)
        for (domain, pid), cause in zip(senders, causes, strict=True):
            observer, shown = self._observers[domain], shown_pid(pid)
            silent_ns = observer.silence_ns(pid)
            if (domain, shown) not in self._alerts.standing() or silent_ns is None:
                continue
            if silent_ns >= observer.threshold_ns:
                never = observer.tracker.last_ns_of(pid) is None
                text = stall_sentence(self._comm(domain, pid), shown, silent_ns / 1e6, cause, never)
                self._alerts.raise_(domain, shown, text, cause)
