"""Parsing of times in units and zones; the decoder must read the same time. Others are refused with a remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay.models.data.values import Instant, LocalTime
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.errors import ConfigError
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.publish.event_times import TimeRule, TimeUnit, parse_zone
from forebay.stream.publish.row_fault import RowFault
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, signature

MS = 1_767_323_045_678  # 2026-01-02T03:04:05.678Z
BERLIN = parse_zone("Europe/Berlin")


def decoded(time: int | str) -> int:
    value = orjson.dumps({"id": "a", "timestamp": time, "features": [1, 2, 3]})
    (chunk,) = Decoder([DecodedModel(MODEL, signature())], max_event_bytes=10_000).decode(
        {P0: [FakeRecord(0, value)]}, EPOCH
    )
    assert not chunk.rejections, chunk.rejections
    return chunk.timestamps[0]


@pytest.mark.parametrize(
    "value",
    [
        MS,
        str(MS),
        f"{MS}.0",
        float(MS),
        Instant(MS),
        "2026-01-02T03:04:05.678Z",
        "2026-01-02 03:04:05.678+00:00",
        "2026-01-02 04:04:05.678+0100",
        "2026-01-02 03:04:05.678 UTC",
        " 2026-01-02t03:04:05.678z ",
        "2026-01-02 03:04:05.678123456+00:00",
    ],
)
def test_all_notations_of_a_time_give_the_same_time(value: object) -> None:
    assert decoded(TimeRule().event_time("at", value)) == MS


@pytest.mark.parametrize(
    "value", ["2026-01-02 03:04:05", "2026-01-02T03:04:05.678", "2026-01-02 03:04", "2026-01-02", LocalTime(MS)]
)
def test_a_time_without_an_offset_needs_a_zone(value: object) -> None:
    with pytest.raises(RowFault, match=r"at is 2026-01-02 .*without an offset") as caught:
        TimeRule().event_time("at", value)
    assert "--timezone UTC" in caught.value.remedy
    in_utc = decoded(TimeRule(UTC).event_time("at", value))
    assert in_utc // 86_400_000 == MS // 86_400_000
    assert decoded(TimeRule(BERLIN).event_time("at", value)) == in_utc - 3_600_000
    assert decoded(TimeRule(parse_zone("-05:30")).event_time("at", value)) == in_utc + 19_800_000


@pytest.mark.parametrize("wall", ["2026-03-29 02:30:00", "2026-10-25 02:30:00"])
def test_a_time_during_a_clock_change_is_refused(wall: str) -> None:
    with pytest.raises(RowFault, match="when the clocks change in Europe/Berlin"):
        TimeRule(BERLIN).event_time("at", wall)


@pytest.mark.parametrize(("unit", "value"), [("s", MS // 1000), ("us", MS * 1000), ("ns", MS * 1_000_000)])
def test_numbers_are_read_in_the_given_unit(unit: TimeUnit, value: int) -> None:
    for written in (value, str(value)):
        assert TimeRule(unit=unit).event_time("at", written) == (MS // 1000 * 1000 if unit == "s" else MS)


@pytest.mark.parametrize(("value", "unit"), [(MS * 1000, "us"), (MS * 1_000_000, "ns"), (str(MS * 1000), "us")])
def test_a_unit_that_is_too_fine_is_recognised(value: object, unit: str) -> None:
    with pytest.raises(RowFault, match="it seems to be in") as caught:
        TimeRule().event_time("at", value)
    assert f"--timestamp-unit {unit}" in caught.value.remedy


@pytest.mark.parametrize(
    "value",
    [
        *(-1, "-1", True, 1.5, "1.5", float("nan"), float("inf"), [1]),
        *("", "yesterday", "2026-02-30", "2026-01-02T25:00:00Z", "1969-12-31T23:59:59Z"),
        *(Instant(-1), Instant(MAX_TIMESTAMP_MS + 1), LocalTime(10**17), LocalTime(-(10**17))),
    ],
)
def test_an_invalid_time_is_refused_with_its_field(value: object) -> None:
    for rule in (TimeRule(UTC), TimeRule(BERLIN)):
        with pytest.raises(RowFault, match=r"^at ") as caught:
            rule.event_time("at", value)
        assert caught.value.remedy


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "+25:00", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_reported(name: str) -> None:
    with pytest.raises(ConfigError, match="--timezone"):
        parse_zone(name)


@example(datetime(3085, 1, 1, 0, 0, 0, 504), 0, "T")  # more digits than a float of seconds holds
@given(
    st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 29)),
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(["T", " "]),
)
def test_the_decoder_reads_the_same_moment(moment: datetime, offset: int, separator: str) -> None:
    zone = timezone(timedelta(minutes=offset))
    exact_us = (moment.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    with_offset = TimeRule().event_time("at", moment.replace(tzinfo=zone).isoformat(separator))
    assert abs(decoded(with_offset) * 1000 - exact_us) <= 500
    assert decoded(TimeRule(zone).event_time("at", moment.isoformat(separator))) == decoded(with_offset)


@given(st.text(max_size=30) | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers()))
def test_any_value_becomes_a_time_that_the_decoder_accepts_or_a_fault(value: object) -> None:
    try:
        time = TimeRule(UTC).event_time("at", value)
    except RowFault:
        return
    decoded(time)
