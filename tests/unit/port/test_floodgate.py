"""What a guest may cause per second: allowances, text, pauses, and that every drop is counted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.port import actions as act
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.port.floodgate import (
    ALLOWANCES,
    LOADER_TEXT,
    MAX_REASON_CHARS,
    MAX_TEXT_CHARS,
    REQUESTS,
    TEXT,
    TEXT_OVERHEAD_BYTES,
    FloodGate,
)
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import (
    Lifecycle,
    LifecyclePhase,
    MsgType,
    ScenarioEnd,
    SnapshotKind,
    SnapshotRequest,
    Stimulus,
    WorkerReport,
)
from ktstr_tui.wire.scheduler_payloads import SchedReply, SchedStatus
from ktstr_tui.wire.stimulus_payloads import StimulusApplied

SECOND = 1_000_000_000
LIMITED: dict[type[act.Action], act.Action] = {
    act.SnapshotRequested: act.SnapshotRequested(SnapshotRequest(5, SnapshotKind.CAPTURE, "x")),
    act.StepChanged: act.StepChanged(Stimulus(0, 1)),
    act.StepEnded: act.StepEnded(Stimulus(0, 1)),
    act.StimulusTold: act.StimulusTold(StimulusApplied(0, 0, 0, 1, 0, 1)),
    act.ScenarioPaused: act.ScenarioPaused(),
    act.ScenarioEnded: act.ScenarioEnded(ScenarioEnd(1)),
    act.SchedulerExited: act.SchedulerExited(0),
    act.SchedulerAnswered: act.SchedulerAnswered(SchedReply(1, SchedStatus.DETACHED)),
    act.LifecycleSeen: act.LifecycleSeen(Lifecycle(LifecyclePhase.SCHEDULER_DIED)),
    act.WorkersSeen: act.WorkersSeen(WorkerReport(())),
}


def out(text: str, kind: MsgType = MsgType.Stdout) -> act.Text:
    return act.Text(kind, text)


def said(actions: list[act.Action]) -> str:
    return "".join(action.text for action in actions if isinstance(action, act.Text))


def test_there_is_an_example_of_each_limited_action() -> None:
    assert LIMITED.keys() == ALLOWANCES.keys()


def test_each_action_has_its_burst_and_its_rate() -> None:
    for kind, action in LIMITED.items():
        gate, (name, allowance) = FloodGate(), ALLOWANCES[kind]
        sent = int(allowance.burst) + 100
        admitted = [it for it in gate.admit([action] * sent, 0) if type(it) is kind]
        assert len(admitted) == allowance.burst
        assert gate.statistics().dropped == {f"{name.name}: too many": 100}
        later = [it for it in gate.admit([action] * sent, 10 * SECOND) if type(it) is kind]
        assert len(later) == min(10 * allowance.per_s, allowance.burst)


def test_what_is_not_limited_goes_through_in_any_number_and_in_order() -> None:
    actions: list[act.Action] = [act.SystemReady(), act.Kill(), act.Exited(0), act.VerdictsReady(3)] * 1000
    assert list(FloodGate().admit(actions, 0)) == actions


def test_a_request_too_many_is_answered() -> None:
    gate = FloodGate()
    request = LIMITED[act.SnapshotRequested]
    admitted = list(gate.admit([request] * (int(REQUESTS.burst) + 1), 0))
    assert isinstance(admitted[-1], act.Refuse)
    assert admitted[-1].request_id == 5
    assert "16 at once and 1 a second" in admitted[-1].reason


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    gate = FloodGate()
    request = LIMITED[act.SnapshotRequested]
    list(gate.admit([request] * 16, 100 * SECOND))
    for now_ns in (0, 50 * SECOND, 100 * SECOND):
        assert not [it for it in gate.admit([request], now_ns) if it is request]
    assert [it for it in gate.admit([request], 101 * SECOND) if it is request]


@given(st.lists(st.integers(0, 3 * SECOND), max_size=300))
def test_a_resumption_shares_the_fate_of_its_pause(steps: list[int]) -> None:
    gate, now_ns, paused = FloodGate(), 0, False
    list(gate.admit([act.ScenarioPaused(), act.ScenarioResumed()] * 60, 0))
    for passed_ns in steps:
        now_ns += passed_ns
        pair: list[act.Action] = [act.ScenarioPaused(), act.ScenarioResumed()]
        for action in gate.admit(pair, now_ns):
            assert isinstance(action, act.ScenarioResumed) is paused
            paused = isinstance(action, act.ScenarioPaused)
    assert not paused
    dropped = gate.statistics().dropped
    assert dropped.get("ScenarioPause: too many") == dropped.get("ScenarioResume: too many")


def test_pieces_of_one_stream_are_joined_and_others_kept_in_order() -> None:
    mixed: list[act.Action] = [
        out("a"),
        out("b"),
        act.SystemReady(),
        out("c"),
        out("d", MsgType.Stderr),
        out("e"),
    ]
    assert list(FloodGate().admit(mixed, 0)) == [
        out("ab"),
        act.SystemReady(),
        out("c"),
        out("d", MsgType.Stderr),
        out("e"),
    ]


def test_long_text_is_cut_into_pieces() -> None:
    text = "0123456789" * 10_000
    pieces = list(FloodGate().admit([out(text)], 0))
    assert said(pieces) == text
    assert max(len(piece.text) for piece in pieces if isinstance(piece, act.Text)) == MAX_TEXT_CHARS


def test_too_much_text_is_left_out_counted_and_said_where_it_is_missing() -> None:
    gate = FloodGate()
    block = "x" * 65_536
    first = [it for _ in range(40) for it in gate.admit([out(block)], 0)]
    assert len(said(first)) <= TEXT.burst
    left_out = 40 * len(block) - len(said(first))
    assert gate.statistics().dropped_text_bytes == {"Stdout": left_out}
    assert gate.statistics().dropped == {"Stdout: too many": left_out // len(block)}
    later = said(list(gate.admit([out("again")], 2 * SECOND)))
    assert later == f"\n[ktstr-tui: {left_out} bytes of Stdout left out here: rate limit]\nagain"
    assert said(list(gate.admit([out("more")], 2 * SECOND))) == "more"


def test_small_pieces_cost_more_than_their_bytes() -> None:
    gate = FloodGate()
    # Alternating, so that nothing can be joined.
    pieces = [out("x", kind) for _ in range(20_000) for kind in (MsgType.Stdout, MsgType.Stderr)]
    assert len(list(gate.admit(pieces, 0))) <= 2 * (TEXT.burst / TEXT_OVERHEAD_BYTES)


def test_streams_do_not_push_each_other_out() -> None:
    gate = FloodGate()
    list(gate.admit([out("x" * 65_536)] * 100, 0))
    verifier = "processed 12 insns\n" * 100_000
    assert said(list(gate.admit([out(verifier, MsgType.SchedLog)], 0))) == verifier
    assert len(verifier) < LOADER_TEXT.burst


def test_text_is_measured_as_it_will_be_sent() -> None:
    gate = FloodGate()
    replaced = Dispatcher().dispatch(FrameAssembler().feed(encode_frame(MsgType.Stdout, b"\xff" * 60_000)))
    shown = [it for _ in range(20) for it in gate.admit(replaced, 0)]
    assert len(said(shown).encode()) <= TEXT.burst


def test_a_long_reason_is_cut_and_says_so() -> None:
    long = act.LifecycleSeen(Lifecycle(LifecyclePhase.SCHEDULER_DIED, "r" * (MAX_REASON_CHARS + 7)))
    (cut,) = FloodGate().admit([long], 0)
    assert isinstance(cut, act.LifecycleSeen)
    assert cut.lifecycle.reason == "r" * MAX_REASON_CHARS + " … (7 characters more)"


@given(st.lists(st.sampled_from(sorted(LIMITED.values(), key=repr)), max_size=600), st.integers(1, 9))
def test_admitted_and_dropped_make_up_all_that_came(actions: list[act.Action], batches: int) -> None:
    gate = FloodGate()
    admitted: Counter[type] = Counter()
    size = max(1, len(actions) // batches)
    for number, start in enumerate(range(0, len(actions), size)):
        admitted.update(type(it) for it in gate.admit(actions[start : start + size], number * SECOND // 7))
    admitted.pop(act.Refuse, None)
    dropped = gate.statistics().dropped
    for kind, count in Counter(map(type, actions)).items():
        name, _ = ALLOWANCES[kind]
        assert admitted[kind] + dropped.get(f"{name.name}: too many", 0) == count
