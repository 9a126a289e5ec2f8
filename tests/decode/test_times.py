"""Features that are times: what a worker decodes is what the same values of a training table give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.date_parts import PARTS, NotATime, parts_of, times_of
from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, event
from tests.decode.build import F32, TIMES

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.none() | offsets)
times = (
    moments.map(lambda moment: moment.isoformat(sep="T" if moment.second % 2 else " "))
    | moments.map(lambda moment: moment.date().isoformat())
    | st.integers(-(10**11), 10**11)
    | st.floats(-1e11, 1e11)
)
values = (
    times | st.none() | st.sampled_from(["", "2013-02-30", "20130701", "2013-W27-1", "2013-07-01x10:00", "now", 1e300])
)


def feature(name: str, *, nullable: bool, unit: str = "milliseconds", clock: str = "utc") -> Feature:
    return Feature(
        name, "timestamp", nullable=nullable, parts=PARTS, unit=unit, clock=clock, reference="2013-07-01T00:00:00Z"
    )


def signature_of(*features: Feature) -> Signature:
    return Signature(features, (sum(len(one.columns) for one in features),), "regression", 1)


def decode(of: Signature, *values: bytes, **record: Any) -> Chunk:
    decoder = Decoder([DecodedModel(MODEL, of)], max_event_bytes=10_000)
    (chunk,) = decoder.decode({P0: [FakeRecord(i, value, **record) for i, value in enumerate(values)]}, EPOCH)
    return chunk


@given(
    st.lists(values, min_size=1, max_size=5),
    st.sampled_from(["milliseconds", "seconds"]),
    st.sampled_from(["utc", "text"]),
)
def test_a_worker_decodes_what_a_table_gives(column: list[Any], unit: str, clock: str) -> None:
    number, time = Feature("x"), feature("t", nullable=True, unit=unit, clock=clock)
    of = signature_of(number, time, Feature("y"))
    chunk = decode(
        of,
        *(
            event(features=[1, value, 2] if row % 2 else {"y": 2, "t": value, "x": 1})
            for row, value in enumerate(column)
        ),
    )
    assert not chunk.rejections
    wanted = parts_of(times_of(column, time.time_format), time.parts, time.reference_time)
    assert chunk.x_BF[:, 1:-1].tobytes() == wanted.tobytes()
    assert chunk.x_BF[:, [0, -1]].tolist() == [[1, 2]] * len(column)


@given(values)
def test_a_time_that_must_have_a_value_is_rejected_where_a_table_raises(value: Any) -> None:
    time = feature("t", nullable=False)
    chunk = decode(signature_of(time), event(features={"t": value}), event(features=["2013-07-01"]))
    try:
        wanted = parts_of(times_of([value], time.time_format), time.parts, time.reference_time)
    except NotATime:
        (rejection,) = chunk.rejections
        kinds = (FailureKind.WRONG_TYPE, FailureKind.OUT_OF_RANGE, FailureKind.MISSING_VALUE)
        assert rejection.index == 0 and rejection.kind in kinds
        assert str(value) not in rejection.message or not value
        assert len(chunk.x_BF) == 1
    else:
        assert chunk.x_BF[0].tobytes() == wanted[0].tobytes()


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        (None, FailureKind.MISSING_VALUE, "feature 'delay' is null and must have a value"),
        ("today", FailureKind.WRONG_TYPE, "feature 'delay' is not an ISO 8601 date or time"),
        ("2013-02-30", FailureKind.OUT_OF_RANGE, "feature 'delay' is not a date"),
        ("2013-07-01T24:00:00Z", FailureKind.WRONG_TYPE, "feature 'delay' is not an ISO 8601 date or time"),
        (10**17, FailureKind.OUT_OF_RANGE, "feature 'delay' is not between the years 1 and 9999"),
        (True, FailureKind.WRONG_TYPE, "feature 'delay' is a boolean; a time is expected"),
        ([1], FailureKind.WRONG_TYPE, "feature 'delay' is an array; a time is expected"),
    ],
)
def test_why_a_time_is_rejected(value: Any, kind: FailureKind, says: str) -> None:
    (rejection,) = decode(TIMES, event(features=["AA", value, None, 1])).rejections
    assert (rejection.kind, rejection.message) == (kind, says)


def test_positions_are_those_of_the_features_not_of_their_columns() -> None:
    chunk = decode(TIMES, event(features=["AA", "2013-07-01T23:30:00-05:00", 1_372_636_860, 7]))
    assert chunk.x_BF[0, [1, 3, 4]].tolist() == [4, 60, 7]
    (rejection,) = decode(TIMES, event(features=["AA", "2013-07-01", 5, 1, 2])).rejections
    assert rejection.message == "5 features; the model takes 4"


def test_raw_float32_is_refused_because_it_cannot_hold_a_time() -> None:
    (rejection,) = decode(TIMES, b"\0" * 20, headers=F32, key=b"k").rejections
    assert rejection.kind is FailureKind.UNSUPPORTED_CONTENT_TYPE
    assert "float32 cannot hold" in rejection.message


def test_several_models_share_a_topic() -> None:
    other = MODEL._replace(name="times")
    decoder = Decoder(
        [DecodedModel(MODEL, Signature((), (2,), "regression", 1)), DecodedModel(other, TIMES)], max_event_bytes=10_000
    )
    timed = ["AA", 1_372_636_800_000, 1_372_636_800, 1]
    events = [event(features=[1, 2]), event(features=timed, model="times"), event(features=[3, 4], model=MODEL.name)]
    for _ in range(3):  # the decoder learns how a topic names its models
        poll = {P0: [FakeRecord(index, value) for index, value in enumerate(events * 2)]}
        plain, times = decoder.decode(poll, EPOCH)
        assert plain.x_BF.tolist() == [[1, 2], [3, 4]] * 2
        assert times.x_BF[:, [1, 3, 4]].tolist() == [[0, 0, 1]] * 2 and not times.rejections


def test_the_clock_of_the_text_or_utc() -> None:
    text = "2013-07-01T23:30:00-05:00"
    for clock, hour, day in (("utc", 4, 2), ("text", 23, 1)):
        time = Feature("t", "timestamp", parts=("hour", "day"), clock=clock)
        assert decode(signature_of(time), event(features=[text])).x_BF.tolist() == [[hour, day]]
        aware = datetime.fromisoformat(text)
        assert parts_of(times_of([aware], time.time_format), time.parts).tolist() == [[hour, day]]
    assert times_of([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)], time.time_format).tolist() == [1_000_000]
    assert (
        times_of(np.array(["1970-01-02", "NaT"], "M8[s]"), feature("t", nullable=True).time_format)[0] == 86_400 * 10**6
    )
