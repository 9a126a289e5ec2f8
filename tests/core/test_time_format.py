"""Times and durations as people read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from forebay.stream.core.time_format import (
    NO_TIME,
    UNBOUNDED_MS,
    duration,
    latency,
    local_date_time,
    local_day_time,
    local_time,
    rfc3339,
    utc_minute,
)

NOON_MS = 1_785_412_800_123
"""2026-07-30 12:00:00.123 in UTC."""


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_local_times_are_in_the_readers_time_zone() -> None:
    assert local_date_time(NOON_MS) == "2026-07-30 14:00:00"
    assert local_day_time(NOON_MS) == "07-30 14:00:00"
    assert local_time(NOON_MS) == "14:00:00.123"


@pytest.mark.parametrize("shown", [local_date_time, local_day_time, local_time])
@pytest.mark.parametrize("ms", [None, -1, 1 << 62])
def test_a_missing_time_is_shown_as_missing(shown: Callable[[int | None], str], ms: int | None) -> None:
    assert shown(ms) == NO_TIME
    assert shown(0) != NO_TIME


@pytest.mark.usefixtures("berlin")
def test_utc_times() -> None:
    assert rfc3339(NOON_MS) == "2026-07-30T12:00:00.123Z" and rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert utc_minute(NOON_MS) == "2026-07-30 12:00"
    with pytest.raises((ValueError, OverflowError, OSError)):
        utc_minute(1 << 62)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-1, "forever"),
        (UNBOUNDED_MS, "forever"),
        (0, "0 ms"),
        (1, "1 ms"),
        (1000, "1 second"),
        (90_000, "90 seconds"),
        (3_600_000, "1 hour"),
        (604_800_000, "7 days"),
    ],
)
def test_durations_use_the_largest_unit(ms: int, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"), [(None, "–"), (0.04, "0.0 ms"), (9.94, "9.9 ms"), (10.4, "10 ms"), (1234.5, "1,234 ms")]
)
def test_latencies_have_at_least_two_digits(ms: float | None, text: str) -> None:
    assert latency(ms) == text
