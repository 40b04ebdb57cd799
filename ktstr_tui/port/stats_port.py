"""The scheduler's own statistics, asked for over the guest's second port.

scx schedulers serve lines of JSON at a unix socket; the guest program relays one line there and one back. A
request is ``{"req":"stats"}``, an answer ``{"errno":0,"args":{"resp":…}}``, and what the relay has to say
itself ``{"ktstr_relay_error":…}``.

Answers carry no number, so the hard thing is to keep step: the relay answers every line with exactly one, and
an answer that no caller waits for any more is read and thrown away before the next question is asked. A guest
that breaks this rule only harms its own statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import trio

from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.missing_stats import MissingReason, MissingStats

MAX_LINE_BYTES = 256 << 10
"""Of a request and of an answer, the newline not counted; exactly this is legal."""
MAX_DEPTH = 64
"""Of nested values in an answer."""
DEFAULT_TIMEOUT_S = 1.0
"""A little longer than the relay waits for the scheduler."""
_READ_BYTES = 65536


class StatsError(GuestError):
    """No statistics are available."""

    reason: ClassVar[MissingReason] = "relay"

    @property
    def missing(self) -> MissingStats:
        """The same as a value to be kept with a capture."""
        return MissingStats(self.reason, self.message)


class NoScheduler(StatsError):
    """No scheduler serves statistics."""

    reason = "no scheduler"


class DuringFreeze(StatsError):
    """The guest is frozen, so no program in it can answer."""

    reason = "during freeze"


class Cancelled(StatsError):
    """The port was closed before an answer came."""

    reason = "cancelled"


class Timeout(StatsError):
    """No answer came in time."""

    reason = "timeout"


class RelayError(StatsError):
    """The relay failed, or sent what is no answer."""


class Refused(StatsError):
    """The scheduler answered with an error number."""

    reason = "refused"


class StatsPortStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the stats port."""

    requests: int
    answered: int
    failed: dict[str, int]
    """Requests without statistics, by reason."""
    discarded_lines: int
    """Answers that came when no caller was waiting for them any more."""
    discarded_bytes: int
    """Of lines that were too long."""
    received_bytes: int
    last_ms: float | None


class StatsPort:
    """Asks one question at a time. Several tasks may ask; they wait for each other.

    Args:
        stream: Our end of the port.
        frozen: Whether the guest is frozen.
        timeout_s: How long an answer may take.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        frozen: Callable[[], bool] = lambda: False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._stream = stream
        self._frozen = frozen
        self._timeout_s = timeout_s
        self._turn = trio.Lock()
        self._buffer = bytearray()
        self._too_long = False
        self._unanswered = 0
        self._closed = False
        self._reading: trio.CancelScope | None = None
        self._requests = self._answered = self._discarded_lines = self._discarded_bytes = self._received = 0
        self._failed: Counter[str] = Counter()
        self._last_ms: float | None = None

    async def stats(self, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """The scheduler's statistics, as it sends them.

        Raises:
            StatsError: There are none; each reason has its own class.
        """
        return await self.request({"req": "stats"}, timeout_s)

    async def meta(self, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """What the fields of `stats` mean. Raises as `stats` does."""
        return await self.request({"req": "stats_meta"}, timeout_s)

    async def request(self, question: dict[str, Any], timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Ask and return the ``resp`` of the answer.

        Args:
            question: The request; becomes one line of JSON.
            timeout_s: How long the answer may take; None for the port's own time.

        Raises:
            UsageError: The request is longer than `MAX_LINE_BYTES`.
            StatsError: There is no answer, or it is an error.
        """
        line = msgspec.json.encode(question)
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(f"a request of {len(line)} bytes; at most {MAX_LINE_BYTES} may be sent")
        self._requests += 1
        try:
            async with self._turn:
                started_s = trio.current_time()
                answer = await self._exchange(line, self._timeout_s if timeout_s is None else timeout_s)
                self._last_ms = (trio.current_time() - started_s) * 1e3
            response = _response(answer)
        except StatsError as error:
            self._failed[error.reason] += 1
            raise
        self._answered += 1
        return response

    def close(self) -> None:
        """Give up: who waits gets `Cancelled`, and so does everybody later."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {
            "late-answers": self._discarded_lines,
            "bytes-too-long": self._discarded_bytes,
        }

    def statistics(self) -> StatsPortStatistics:
        """Counters so far."""
        return StatsPortStatistics(
            requests=self._requests,
            answered=self._answered,
            failed=dict(self._failed),
            discarded_lines=self._discarded_lines,
            discarded_bytes=self._discarded_bytes,
            received_bytes=self._received,
            last_ms=self._last_ms,
        )

    async def _exchange(self, line: bytes, timeout_s: float) -> bytes:
        if self._closed:
            raise Cancelled("the port is closed")
        if self._frozen():
            raise DuringFreeze("the guest is frozen")
        with trio.move_on_after(timeout_s) as reading:
            self._reading = reading
            try:
                return await self._ask(line, timeout_s)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._closed = True
            finally:
                self._reading = None
        if self._closed:
            raise Cancelled("the port was closed")
        if self._frozen():
            raise DuringFreeze("the guest was stopped before it answered")
        raise Timeout(
            f"no answer within {timeout_s:g} s", "the scheduler's program may not be getting CPU time"
        )

    async def _ask(self, line: bytes, timeout_s: float) -> bytes:
        while self._unanswered:
            await self._line()
            self._discarded_lines += 1
        self._unanswered += 1
        # Shielded, because half a request would garble the next one.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout_s) as sending:
            await self._stream.send_all(line + b"\n")
        if sending.cancelled_caught:
            raise trio.BrokenResourceError
        answer = await self._line()
        if answer is None:
            raise RelayError(f"an answer of more than {MAX_LINE_BYTES} bytes")
        return answer

    async def _line(self) -> bytes | None:
        """The next line; None for one that was too long and skipped."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                self._too_long = True
                self._discarded_bytes += len(self._buffer)
                self._buffer.clear()
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise trio.BrokenResourceError
            self._received += len(data)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._unanswered -= 1
        if not self._too_long and len(line) <= MAX_LINE_BYTES:
            return line
        self._too_long = False
        self._discarded_bytes += len(line)
        return None


def _response(line: bytes) -> Any:  # noqa: ANN401
    """What an answer says, or the error that it is."""
    try:
        answer = msgspec.json.decode(line)
        # It goes into events, which hold no numbers of more than 64 bits.
        msgspec.msgpack.encode(answer)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise RelayError(f"the answer is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise RelayError("the answer is not a JSON object")
    _demand_shallow(answer)
    if "ktstr_relay_error" in answer:
        raise _relay_error(str(answer["ktstr_relay_error"]), str(answer.get("detail", "")))
    number, arguments = answer.get("errno"), answer.get("args")
    if not isinstance(number, int) or not isinstance(arguments, dict):
        raise RelayError("the answer has no errno and args")
    if number:
        raise Refused(
            f"the scheduler answered with errno {number}: {arguments.get('resp', arguments)!s:.200}"
        )
    if "resp" not in arguments:
        raise RelayError("the answer has no resp")
    return arguments["resp"]


def _demand_shallow(answer: object) -> None:
    level, depth = [answer], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RelayError(f"the answer is nested deeper than {MAX_DEPTH} levels")
        inner = (value for value in level if isinstance(value, dict | list))
        level = [child for it in inner for child in (it.values() if isinstance(it, dict) else it)]


def _relay_error(error: str, detail: str) -> StatsError:
    known: dict[str, type[StatsError]] = {"no scheduler": NoScheduler, "timeout": Timeout}
    text = f"{detail:.200}" if detail else f"{error:.200}"
    return known[error](text) if error in known else RelayError(f"{error:.200}: {detail:.200}".rstrip(": "))
