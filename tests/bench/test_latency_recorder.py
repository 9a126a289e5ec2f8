"""The latencies of the open loop count from when an event was due to be sent."""

from __future__ import annotations

import pytest

from forebay.stream.bench.latency_recorder import LatencyRecorder
from forebay.stream.publish.pacer import Pacer


def build_recorder(
    events: int = 10, *, rate: float = 100, start_s: float = 50, warm_up_s: float = 0
) -> LatencyRecorder:
    return LatencyRecorder(Pacer(rate, start_s), events, warm_up_s=warm_up_s)


def test_latency_counts_from_the_intended_time() -> None:
    recorder = build_recorder()
    recorder.record(0, 50.004, 50.004)
    recorder.record(3, 50.032, 50.032)  # due at 50.03
    assert recorder.latencies_ms() == pytest.approx([4, 2])


def test_a_stall_counts_for_every_delayed_event() -> None:
    recorder = build_recorder()
    for number in range(10):  # all come out of a stall together, a second after the first was due
        recorder.record(number, 51.0, 51.0)
    assert recorder.latencies_ms() == pytest.approx([1000 - 10 * number for number in range(10)])


def test_the_warm_up_is_expected_but_not_counted() -> None:
    recorder = build_recorder(warm_up_s=0.05)
    for number in range(9):
        recorder.record(number, 52.0, 52.0)
    assert len(recorder.latencies_ms()) == 4  # 5, 6, 7, 8: due at 50.05 and later
    assert recorder.missing == 1


def test_the_first_of_two_duplicates_counts() -> None:
    recorder = build_recorder()
    recorder.record(1, 50.011, 50.011)
    recorder.record(1, 58.0, 58.0)
    assert recorder.latencies_ms() == pytest.approx([1])
    assert (recorder.duplicates, recorder.missing) == (1, 9)


@pytest.mark.parametrize("number", [-1, 10])
def test_an_unpublished_event_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="not one of the 10"):
        build_recorder().record(number, 51.0, 51.0)


def test_latencies_come_in_the_order_of_publishing() -> None:
    recorder = build_recorder(3)
    for number, now_s in ((2, 50.1), (0, 50.2), (1, 50.3)):
        recorder.record(number, now_s, now_s)
    assert recorder.latencies_ms() == pytest.approx([200, 290, 80])


def test_the_time_after_sending_the_prediction_is_measured() -> None:
    recorder = build_recorder(warm_up_s=0.01)
    for number in range(3):
        recorder.record(number, 50.1, 50.09 + number / 1000)
    assert recorder.commits_ms() == pytest.approx([9, 8])
