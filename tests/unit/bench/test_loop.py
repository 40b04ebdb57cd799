"""The bench of the control loop measures what it says."""

from __future__ import annotations

from ktstr_tui.bench import loop
from ktstr_tui.model.events import Sampled


def test_the_made_up_stream_has_ten_samples_of_64_cpus_a_second() -> None:
    events = loop.made_up_events(loop.EVENTS_PER_S)
    samples = [it for it in events if isinstance(it, Sampled)]
    assert len(samples) == 10
    assert {len(it.sample.cpus) for it in samples} == {loop.CPUS}
    assert [it.seq for it in events] == list(range(1, len(events) + 1))


def test_every_figure_stands_beside_its_baseline() -> None:
    figures = loop.measure_ticks(1.0)
    assert figures["ticks"] > 0  # how many there are in a second is the host's doing
    assert 0 < figures["tick_p50_ms"] <= figures["tick_p99_ms"]
    assert figures["tick_ratio"] == figures["tick_p99_ms"] / figures["period_ms"]
    assert figures["publish_to_reader_p50_ms"] > 0
