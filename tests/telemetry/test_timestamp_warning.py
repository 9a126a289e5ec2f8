"""The log line about the first event whose timestamp is not in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.telemetry.timestamp_warning import TimestampWarning
from tests.core.build import JULY, MODEL, chunk


def test_the_first_event_in_seconds_is_logged_with_its_unit_once(caplog: pytest.LogCaptureFixture) -> None:
    watch, good = TimestampWarning([MODEL]), chunk(range(3))
    bad = replace(chunk(range(3, 6)), timestamps=[JULY, JULY // 1000, 5])
    for _ in range(2):
        watch.on_polled([good, bad, bad], began_s=0, received_s=0)
    assert [record.message for record in caplog.records] == [
        "features-0: the event at offset 4 has the timestamp 1372636800, in milliseconds a time before 1974: it looks like "
        "seconds (2013-07-01); it is predicted, as are all such events"
    ]


def test_events_without_a_unit_are_logged_too_and_an_empty_chunk_is_not(caplog: pytest.LogCaptureFixture) -> None:
    watch = TimestampWarning([MODEL])
    garbage = chunk([0], rejected=[0])
    watch.on_polled([garbage, replace(chunk([1]), timestamps=[1])], began_s=0, received_s=0)
    assert "has the timestamp 1, in milliseconds a time before 1974; it is" in caplog.text


def test_events_for_models_with_windows_are_left_to_their_own_check(caplog: pytest.LogCaptureFixture) -> None:
    watch = TimestampWarning([MODEL])
    other = replace(chunk([3], model=ModelRef("windowed", 1)), timestamps=[5])
    watch.on_polled([other], began_s=0, received_s=0)
    assert not caplog.records
    watch.on_polled([other, replace(chunk([7]), timestamps=[5])], began_s=0, received_s=0)
    assert [record.message.split(" has")[0] for record in caplog.records] == ["features-0: the event at offset 7"]
