"""Signed commands: every attack on them gets its own refusal, and is in the audit."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio

from ktstr_tui.control.authority import Authority
from ktstr_tui.control.signatures import Verifier
from ktstr_tui.link.operator import sign, sign_too
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import commands as cmd
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.signing import Affected, Operator, Refusal, Signed
from ktstr_tui.wire.operator_keys import OperatorKey
from tests.unit.backend.desk_rig import Run

ADA, BEN, EVE, OBI = (
    OperatorKey(name, bytes([at]) * 32) for at, name in enumerate(("ada", "ben", "eve", "obi"), 1)
)
FALSE_ADA = OperatorKey("ada", bytes(32))
WRITE = cmd.RunKernelOp(
    op={
        "mode": "hot",
        "direction": "write",
        "entries": [
            {"target": {"type": "symbol", "name": "panic_timeout"}, "value": {"type": "int", "value": 5}}
        ],
    }
)


class Signing(Run):
    """A run that takes what ada and ben sign; obi may only look, and nobody knows eve.

    Args:
        data_dir: Of the run.
        required: Operators that a dangerous command needs.
    """

    def __init__(self, data_dir: Path, required: int = 0) -> None:
        self.ahead_ms = 0
        stream = Stream()
        operators = [
            Operator(name=it.operator, key=it.public, role="observe" if it is OBI else "control")
            for it in (ADA, BEN, OBI)
        ]
        verifier = Verifier(operators, stream.run_id, self.wall_ms, required)
        super().__init__(data_dir, Authority(verifier=verifier), stream)
        self.effect = ["panic_timeout at 0xffff: 4 bytes, becomes 5 (0x5)"]
        self.written: list[str] = []
        self.guest.kernel_ops = SimpleNamespace(dry_run=self._dry_run)

    async def _dry_run(self, op: object) -> tuple[str, ...]:
        return tuple(self.effect)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def send(self, request: cmd.Request, signed: Signed | None) -> Reply:
        return await self.control.desk.serve(Command(id=7, request=request, viewer="ada", signed=signed))

    async def affected(self, request: cmd.DangerousRequest) -> Affected:
        return (await self.send(cmd.DryRun(request=request), None)).answer(Affected)

    def refusals(self) -> list[Refusal | None]:
        return [it.refusal for it in self.audited()]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Signing]:
    made = Signing(tmp_path)
    async with made.running():
        yield made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Signing]:
    made = Signing(tmp_path, required=2)
    async with made.running():
        yield made


async def test_a_signed_command_is_carried_out_under_the_operators_name(run: Signing) -> None:
    request = cmd.RemoveWatch(slot=1)
    assert (await run.send(request, sign(request, run.stream.run_id, BEN))).ok
    assert [(it.operator, it.proof, it.outcome) for it in run.audited()] == [("ben", "signed", "accepted")]
    assert run.watches.changed == [("remove", 1)]


async def test_looking_needs_no_signature(run: Signing) -> None:
    assert (await run.send(cmd.ListWatches(), None)).ok


def _signed(run: Signing, key: OperatorKey = ADA) -> Signed:
    return sign(cmd.RemoveWatch(slot=1), run.stream.run_id, key)


ATTACKS: dict[Refusal, Callable[[Signing], Signed | None]] = {
    "not-signed": lambda run: None,
    "other-run": lambda run: sign(cmd.RemoveWatch(slot=1), "another", ADA),
    "unknown-operator": lambda run: _signed(run, EVE),
    "bad-signature": lambda run: _signed(run, FALSE_ADA),
    "only-observes": lambda run: _signed(run, OBI),
    "too-few-operators": lambda run: msgspec.structs.replace(_signed(run), signatures=()),
}


@pytest.mark.parametrize("kind", ATTACKS)
async def test_an_attack_gets_its_refusal_and_is_audited(run: Signing, kind: Refusal) -> None:
    reply = await run.send(cmd.RemoveWatch(slot=1), ATTACKS[kind](run))
    assert reply.error is not None
    assert reply.error.hint
    assert run.refusals() == [kind]
    assert not run.watches.changed


@pytest.mark.parametrize(
    ("ahead_ms", "kind"),
    [(301_000, "expired"), (-31_000, "from-the-future"), (299_000, None), (-29_000, None)],
)
async def test_a_command_from_the_past_or_the_future_is_refused(
    run: Signing, ahead_ms: int, kind: Refusal | None
) -> None:
    signed = _signed(run)
    run.ahead_ms = ahead_ms
    assert (await run.send(cmd.RemoveWatch(slot=1), signed)).ok is (kind is None)
    assert run.refusals() == [kind]


async def test_a_replayed_command_is_refused_as_long_as_it_would_be_fresh(run: Signing) -> None:
    signed = _signed(run)
    for ahead_ms in (0, 1000, 299_000, 301_000):
        run.ahead_ms = ahead_ms
        await run.send(cmd.RemoveWatch(slot=1), signed)
    assert run.refusals() == [None, "replayed", "replayed", "expired"]
    assert run.watches.changed == [("remove", 1)]


async def test_a_signature_is_good_for_its_own_request_only(run: Signing) -> None:
    await run.send(cmd.RemoveWatch(slot=2), _signed(run))
    assert run.refusals() == ["bad-signature"]


async def test_a_signature_that_is_refused_uses_up_no_number(run: Signing) -> None:
    good = _signed(run)
    bad = msgspec.structs.replace(
        good, signatures=(msgspec.structs.replace(good.signatures[0], signature=bytes(64)),)
    )
    await run.send(cmd.RemoveWatch(slot=1), bad)
    await run.send(cmd.RemoveWatch(slot=1), good)
    assert run.refusals() == ["bad-signature", None]


async def test_during_a_hold_a_signed_command_is_refused_before_its_signature_is_looked_at(
    run: Signing,
) -> None:
    hold = cmd.HoldAutomation(why="demo")
    assert (await run.send(hold, sign(hold, run.stream.run_id, BEN))).ok
    signed = _signed(run)
    await run.send(cmd.RemoveWatch(slot=1), signed)
    await run.send(cmd.RemoveWatch(slot=1), _signed(run, EVE))
    resume = cmd.ResumeAutomation()
    await run.send(resume, sign(resume, run.stream.run_id, EVE))
    assert (await run.send(resume, sign(resume, run.stream.run_id, ADA))).ok
    # What was refused for the hold alone is still good.
    assert (await run.send(cmd.RemoveWatch(slot=1), signed)).ok
    assert run.refusals() == [None, "held", "held", "unknown-operator", None, None]


async def test_hole_b_a_thaw_cannot_be_replayed(run: Signing) -> None:
    """Hole (b) of the model: there a thaw could be played again for 300 seconds."""
    thaw = cmd.Thaw()
    signed = sign(thaw, run.stream.run_id, ADA)
    run.control.detach()
    await run.send(thaw, signed)
    await run.send(thaw, signed)
    assert run.refusals() == [None, "replayed"]


# -- what several operators have to agree on -----------------------------------------------------------


async def test_two_operators_who_saw_the_same_dry_run_may_write(two: Signing) -> None:
    affected = await two.affected(WRITE)
    assert affected.what == tuple(two.effect)
    signed = sign_too(WRITE, sign(WRITE, two.stream.run_id, ADA, affected.digest()), BEN)
    reply = await two.send(WRITE, signed)
    # The guest of this test can do no more than say what would be affected: it came as far as to the deed.
    assert reply.error is not None
    (emitted, _failed) = (it for it in two.events if isinstance(it, ev.ActionChanged))
    assert (emitted.action.kind, emitted.disposition) == ("kernel-write", "emitted")
    assert [(it.operator, it.proof, it.outcome) for it in two.audited()] == [
        ("ada, ben", "signed", "accepted")
    ]


async def test_the_same_operator_twice_counts_once(two: Signing) -> None:
    digest = (await two.affected(WRITE)).digest()
    once = sign(WRITE, two.stream.run_id, ADA, digest)
    await two.send(WRITE, msgspec.structs.replace(once, signatures=once.signatures * 2))
    assert two.refusals() == ["too-few-operators"]


async def test_a_dangerous_command_without_a_dry_run_is_refused(two: Signing) -> None:
    for affected in (b"", bytes(32)):
        await two.send(WRITE, sign_too(WRITE, sign(WRITE, two.stream.run_id, ADA, affected), BEN))
    await two.send(cmd.End(), sign(cmd.End(), two.stream.run_id, ADA))
    assert two.refusals() == ["dry-run-required"] * 3


async def test_hole_c_the_hash_of_a_dry_run_is_computed_again(two: Signing) -> None:
    """Hole (c) of the model: there whoever verified took the hash as it came."""
    digest = (await two.affected(WRITE)).digest()
    two.effect = ["panic_timeout at 0xeeee: 4 bytes, becomes 5 (0x5)"]
    for wrong in (digest, bytes(31) + b"x"):
        await two.send(WRITE, sign_too(WRITE, sign(WRITE, two.stream.run_id, ADA, wrong), BEN))
    assert two.refusals() == ["effect-changed"] * 2
    assert not [it for it in two.events if isinstance(it, ev.ActionChanged)]


async def test_the_executor_looks_once_more_before_the_deed(two: Signing) -> None:
    """What changes between the word and the deed is not what was signed; the run that was to end goes on."""
    end = cmd.End()
    digest = (await two.affected(end)).digest()
    signed = sign_too(end, sign(end, two.stream.run_id, ADA, digest), BEN)

    async def boot_again() -> None:
        await two.until(lambda: two.stream.state.control.phase == "entering")
        two.stream.emit(ev.GuestRestarted(boot=2, reason="meanwhile"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot_again)
        reply = await two.send(end, signed)
    with pytest.raises(KtstrError, match="something else than what was signed"):
        reply.raise_for_error()
    assert two.ending.outcome is None
    await two.until(lambda: two.stream.state.control.phase == "recovery")


async def test_a_run_ends_when_two_agree(two: Signing) -> None:
    end = cmd.End()
    digest = (await two.affected(end)).digest()
    assert (await two.send(end, sign_too(end, sign(end, two.stream.run_id, ADA, digest), BEN))).ok
    assert two.ending.outcome is not None
    assert two.ending.outcome.reason == "ended by ada, ben (ktstr-tui end)"


async def test_hole_d_the_whole_run_and_its_parts_see_each_others_cooldown(two: Signing) -> None:
    """Hole (d) of the model: there what concerned one part and what concerned all did not see each other."""

    async def agreed(request: cmd.DangerousRequest) -> Signed:
        digest = (await two.affected(request)).digest()
        return sign_too(request, sign(request, two.stream.run_id, ADA, digest), BEN)

    restart, end = cmd.RestartGuest(), cmd.End()
    await two.send(WRITE, await agreed(WRITE))
    await two.send(restart, await agreed(restart))
    two.ahead_ms = 6_000
    await two.send(restart, await agreed(restart))
    await two.send(WRITE, await agreed(WRITE))
    await two.send(end, await agreed(end))
    assert two.refusals() == [None, "too-soon", None, "too-soon", "too-soon"]


async def test_a_read_of_the_kernel_is_not_dangerous(two: Signing) -> None:
    read = cmd.RunKernelOp(op={**WRITE.op, "direction": "read"})
    await two.send(read, sign(read, two.stream.run_id, ADA))
    assert two.refusals() == [None]
