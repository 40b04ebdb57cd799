"""What a viewer asks of a backend, and what it gets back.

Each request is a type of its own in one tagged union, so that what is missing, odd or unknown is refused where the
bytes are decoded, and whoever carries a request out matches on its type. The tag is the name that command line and
screen use.

A command carries a number chosen by the asker; the reply repeats it, so that a slow capture and a quick snapshot may
overtake each other. Every number and every string of a request has a bound, because a viewer may be anybody's
program. A reply that failed carries the three things every error has: message, hint, fault.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar, get_args

import msgspec

from ktstr_tui.model.answers import Captured as Captured  # noqa: PLC0414
from ktstr_tui.model.answers import Changed as Changed  # noqa: PLC0414
from ktstr_tui.model.answers import RangeSent as RangeSent  # noqa: PLC0414
from ktstr_tui.model.answers import SchedulerAnswer as SchedulerAnswer  # noqa: PLC0414
from ktstr_tui.model.answers import WatchAdded as WatchAdded  # noqa: PLC0414
from ktstr_tui.model.answers import WatchList as WatchList  # noqa: PLC0414
from ktstr_tui.model.errors import GuestError, HostError, InternalError, KtstrError, UsageError
from ktstr_tui.model.scheduler_swap import MAX_OBJECT_BYTES
from ktstr_tui.model.signing import Peer, Signed
from ktstr_tui.model.text import tag_problem

HITS_PER_S = 20
"""Hits of a watch in a second, past which it is paused, where nobody asks for another number."""

FAULTS: dict[str, type[KtstrError]] = {"user": UsageError, "host": HostError, "guest": GuestError}
"""The class of an error by whose fault it is; of others it is `InternalError`."""

MAX_NAME_CHARACTERS = 256
"""Of the name of a viewer, a topic or a capture in a request."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
Small: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
"""A number whose real limit the room that carries the request out knows, and words better."""
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARACTERS)]
Expression: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]


class _Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="name", forbid_unknown_fields=True):
    """Base of all requests."""

    @property
    def name(self) -> str:
        """The tag."""
        return str(type(self).__struct_config__.tag)


class Ping(_Request, frozen=True, tag="ping"):
    """Measure the round trip, and tell the backend what was missed."""

    topic: Name = ""
    """The viewer's own topic on the events socket."""
    missing: Count = 0
    """Events missed so far."""
    lag_ms: Count | None = None
    """How much later the newest event came than the quickest; None before the viewer knows."""


class GetSnapshot(_Request, frozen=True, tag="snapshot"):
    """Send the whole state."""

    trace: bool = False
    """Whether with the events of the kernel's trace that it keeps."""


class GetRange(_Request, frozen=True, tag="range"):
    """Send the events from ``first`` to ``last``, as far as they are kept."""

    first: Positive
    last: Positive

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"not a range of events: {self.first} to {self.last}")


class GetStatus(_Request, frozen=True, tag="status"):
    """Send the state in short."""


class ListWatches(_Request, frozen=True, tag="watch.list"):
    """List the slots, with their hits."""


class Capture(_Request, frozen=True, tag="capture"):
    """Stop the guest for an instant and capture its state."""

    tag: str | None = None
    memory: bool = False
    """Keep the guest's memory and the machine's state too, as a snapshot."""

    def __post_init__(self) -> None:
        problem = "" if self.tag is None else tag_problem(self.tag, MAX_NAME_CHARACTERS)
        if problem:
            raise ValueError(problem)


class Freeze(_Request, frozen=True, tag="freeze"):
    """Stop the guest until it is thawed."""

    why: Name = ""
    """What it is stopped for; the one who asked is known."""
    while_here: bool = False
    """Thaw it also when the viewer that asks is gone: one that is killed or stopped can no longer do that."""


class Thaw(_Request, frozen=True, tag="thaw"):
    """Let a frozen guest run again."""


class End(_Request, frozen=True, tag="end"):
    """End the run."""


class Rebuild(_Request, frozen=True, tag="rebuild"):
    """Build the scheduler and load it into the running guest."""

    cancel: bool = False
    """Give up the build that is going on instead."""


class RestartGuest(_Request, frozen=True, tag="restart"):
    """Boot the guest again, and keep the run."""


class AddWatch(_Request, frozen=True, tag="watch.add"):
    """Watch what an expression points to."""

    expression: Expression
    length: Small = 4
    """Bytes, 4 or 8."""
    once: bool = False
    capture: bool = False
    budget: Small = HITS_PER_S


class RemoveWatch(_Request, frozen=True, tag="watch.remove"):
    """Take a watch away."""

    slot: Small


class ResumeWatch(_Request, frozen=True, tag="watch.resume"):
    """Set a paused watch again."""

    slot: Small


class RunKernelOp(_Request, frozen=True, tag="kernel-op"):
    """Read or write memory of the guest's kernel."""

    op: dict[str, Any]
    """A `ktstr_tui.wire.kernel_ops.KernelOp` as plain values; decoded by the room of operations, which knows it."""


class AttachScheduler(_Request, frozen=True, tag="scheduler.attach"):
    """Load a scheduler of the scenario into the running guest."""

    target: Name = ""
    """By name; empty for that of the current step."""


class DetachScheduler(_Request, frozen=True, tag="scheduler.detach"):
    """Take the loaded scheduler away, until the next step that names one."""


class ReplaceScheduler(_Request, frozen=True, tag="scheduler.replace"):
    """Load a new object into the running guest, in the place of a scheduler."""

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    """What it is called: the name of its file, without directories."""
    content: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_OBJECT_BYTES)]
    """The BPF object."""
    target: Name = ""
    """The scheduler of the scenario that it replaces, for this step and those to come; empty for that of the current
    step."""


class AttachDebugger(_Request, frozen=True, tag="gdb.attach"):
    """Open a socket for one connection of a debugger, which stops the guest."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    """TCP port on the loopback interface of the backend's host, 0 for any; None for the socket beside the run's."""


class DetachDebugger(_Request, frozen=True, tag="gdb.detach"):
    """Remove the debugger and its breakpoints, and let the guest run."""


class HoldAutomation(_Request, frozen=True, tag="automation.hold"):
    """Stop automatic actions and ordinary commands for a while; the guest runs on."""

    for_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 600.0
    """Seconds after which it ends by itself."""
    why: Name = ""


class ResumeAutomation(_Request, frozen=True, tag="automation.resume"):
    """End a hold on automation; what was accepted while it lasted is done now."""


DangerousRequest: TypeAlias = RunKernelOp | End | RestartGuest | AttachDebugger
"""Those that a run can require several operators for; of `RunKernelOp` only what writes."""


class DryRun(_Request, frozen=True, tag="dry-run"):
    """Tell what a dangerous request would affect, and do nothing."""

    request: DangerousRequest


LinkRequest: TypeAlias = Ping | GetSnapshot | GetRange | GetStatus
"""Answered by the publisher itself; they only read."""
Request: TypeAlias = (
    LinkRequest
    | ListWatches
    | DryRun
    | Capture
    | Freeze
    | Thaw
    | End
    | Rebuild
    | RestartGuest
    | AddWatch
    | RemoveWatch
    | ResumeWatch
    | RunKernelOp
    | AttachScheduler
    | DetachScheduler
    | ReplaceScheduler
    | AttachDebugger
    | DetachDebugger
    | HoldAutomation
    | ResumeAutomation
)
SchedulerRequest: TypeAlias = AttachScheduler | DetachScheduler | ReplaceScheduler
"""Answered when the guest has carried them out, which takes a verification."""
LINK_REQUESTS: tuple[type, ...] = get_args(LinkRequest)
SCHEDULER_REQUESTS: tuple[type, ...] = get_args(SchedulerRequest)
READING_REQUESTS: tuple[type, ...] = (*LINK_REQUESTS, ListWatches, DryRun)
"""Those that touch nothing, which every viewer may make."""
HELD_REQUESTS = (*READING_REQUESTS, HoldAutomation, ResumeAutomation, Thaw, DetachDebugger, End)
"""Those that are allowed while automation is held: they read, change the hold, let the guest run or end the run."""


_Answer = TypeVar("_Answer")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a reply."""

    message: str
    hint: str = ""
    fault: str = "bug"

    def to_error(self) -> KtstrError:
        """The exception that this failure was."""
        return FAULTS.get(self.fault, InternalError)(self.message, self.hint)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a `Command`."""

    id: int
    """That of the command."""
    run_id: str = ""
    """Of the backend that answered; it tells a restarted backend from the one before."""
    seq: int = 0
    """The stream's newest event when the answer was given."""
    mono_ns: int = 0
    """The backend's clock when the answer was given."""
    may_control: bool = True
    """Whether this run lets viewers touch it."""
    controllers: tuple[str, ...] | None = None
    """The operators whose signature it wants before it is touched; None when it wants none."""
    layout: str = ""
    """Of the messages of this run."""
    result: dict[str, Any] = {}
    error: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether the command was carried out."""
        return self.error is None

    def raise_for_error(self) -> Reply:
        """Return the reply itself.

        Raises:
            KtstrError: The command failed; the class says whose fault it is.
        """
        if self.error is not None:
            raise self.error.to_error()
        return self

    def answer(self, kind: type[_Answer]) -> _Answer:
        """Return the result as the type that answers the request.

        Raises:
            KtstrError: The command failed; the class says whose fault it is.
            HostError: The backend answered with something else, as one of another version may.
        """
        self.raise_for_error()
        try:
            return msgspec.convert(self.result, kind)
        except msgspec.ValidationError as error:
            raise HostError(
                f"the backend's answer is not understood: {error}",
                "use the same version of ktstr-tui on both sides",
            ) from error


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way, with its number."""

    id: int
    request: Request
    viewer: Name = ""
    """Who asks, for the log; not proof of anything."""
    layout: Name = ""
    """Of the messages that the viewer knows; empty for a program that takes what it gets."""
    topic: Name = ""
    """The viewer's own topic on the events socket, by whose pings it is known to be there."""
    signed: Signed | None = None
    """Who vouches for it; None for nobody."""
    peer: Peer | None = None
    """Who is at the other end of the socket. The backend sets it; what a viewer says there counts for nothing."""

    @property
    def name(self) -> str:
        """The name of the request."""
        return self.request.name

    @property
    def who(self) -> str:
        """Who asks, in words."""
        return self.viewer or "a viewer"

    def done(self, answer: msgspec.Struct | None = None, **result: object) -> Reply:
        """The reply of success; ``result`` must be plain values."""
        plain = {} if answer is None else msgspec.to_builtins(answer)
        return Reply(id=self.id, result={**plain, **result})

    def failed(self, error: KtstrError) -> Reply:
        """The reply that carries ``error``."""
        return failed_reply(self.id, error)


def is_dangerous(request: Request) -> bool:
    """Whether a run can require several operators for a request."""
    if isinstance(request, RunKernelOp):
        # Whatever is no read: a malformed one is refused later, and not for its danger.
        return request.op.get("direction") != "read"
    return isinstance(request, (End, RestartGuest, AttachDebugger))


def failed_reply(id_: int, error: KtstrError) -> Reply:
    """The reply to the command of that number, which carries ``error``."""
    return Reply(id=id_, error=Failure(message=error.message, hint=error.hint, fault=type(error).fault))
