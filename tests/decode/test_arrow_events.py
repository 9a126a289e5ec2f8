"""Rows of Arrow records as events: the fast path never differs from the exact one, and a row alone is the same event."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Record, TopicPartition
from forebay.stream.core.rows import RowRecords, position_of
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import REQUEST_TOPIC, event_formats
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.routing_keys import keys_by_field, usual_keys
from tests.core.build import EPOCH, JULY, P0, FakeRecord, event
from tests.decode.build import CATEGORIES, TEXTS, TIMES
from tests.decode.formats.test_arrow import payload
from tests.decode.test_formatted_topic import content, exactly

ARROW = (("content-type", b"application/vnd.apache.arrow.stream"),)
NUMBERS = Signature((Feature("a"), Feature("b", nullable=True)), (2,), "binary", 1)
UNNAMED = Signature((), (2,), "binary", 1)
MAPPINGS = (
    None,
    MappingTable(id="position", timestamp="record", key="field:k"),
    MappingTable(id="key", timestamp="field:at", fields={"a": "x.a"}),
    MappingTable(id="field:id", timestamp="field:at", model="field:m", deadline="field:at"),
)


def decoder(*signatures: Signature, mapping: MappingTable | None = None, max_rows: int = 65_536) -> Decoder:
    section = InputSection(mapping=mapping, max_rows_per_record=max_rows)
    models = [DecodedModel(ModelRef(f"m{number}", 1), one) for number, one in enumerate(signatures)]
    return Decoder(models, max_event_bytes=100_000, max_key_bytes=50, formats=event_formats(section, prefix=""))


def decode(of: Decoder, records: Sequence[Record]) -> list[Chunk]:
    return of.decode({P0: records}, EPOCH)


def said(chunk: Chunk) -> Any:
    """Return everything that a chunk says, with the rows of its events."""
    rejected = [position_of(rejection.record) for rejection in chunk.rejections]
    return (content(chunk), [position_of(record) for record in chunk.records], rejected)


def column(draw: random.Random, count: int) -> pa.Array:
    """Return a random column of values that features, ids or times may have, or may not."""
    kinds: list[tuple[pa.DataType, list[Any]]] = [
        (pa.float32(), [0.5, -1.0, float("nan"), 3.0e38, float("inf")]),
        (pa.float64(), [0.5, 3.4028235677973366e38, 1e300, -0.0]),
        (pa.int64(), [0, 17, JULY, -(2**63), 2**62]),
        (pa.uint64(), [2**64 - 1, 3]),
        (pa.bool_(), [True, False]),
        (pa.string(), ["AA", "UA", "A", "", "17", "m0", "m1", "m2", "2013-07-01T23:30:00Z"]),
        (pa.dictionary(pa.int8(), pa.string()), ["AA", "B", "m1"]),
        (pa.timestamp("ms"), [JULY, 0, 2**62]),
        (pa.timestamp("ns", tz="UTC"), [JULY * 1_000_000, JULY * 1_000_000 + 1]),
        (pa.decimal128(8, 2), [None]),
        (pa.null(), [None]),
        (pa.list_(pa.float32()), [[1.0, 2.0], [1.0], [1.0, None]]),
    ]
    kind, values = draw.choice(kinds)
    drawn = [draw.choice(values) for _ in range(count)]
    if draw.random() < 0.4:
        drawn = [None if draw.random() < 0.2 else value for value in drawn]
    if pa.types.is_timestamp(kind):
        return pa.array(drawn, pa.int64()).cast(kind)
    return pa.array(drawn, kind)


def record(draw: random.Random, offset: int, names: Sequence[str]) -> FakeRecord:
    count = draw.randint(1, 4)
    plain = {
        "carrier": pa.array([draw.choice(["AA", "UA"]) for _ in range(count)]),
        "delay": pa.array([draw.gauss(0, 1) for _ in range(count)], pa.float32()),
        "wind": pa.array([draw.choice([1.5, None]) for _ in range(count)], pa.float64()),
        "gate": pa.array([draw.choice(["A", "B"]) for _ in range(count)]),
        "a": pa.array([draw.randint(0, 9) for _ in range(count)], pa.int16()),
        "x": pa.array([{"a": draw.choice([1, None])} for _ in range(count)], pa.struct([("a", pa.int32())])),
        "id": pa.array([f"e{draw.randint(0, 99)}" for _ in range(count)]),
        "at": pa.array([JULY + draw.randint(0, 9)] * count, pa.timestamp("ms")),
        "features": pa.array([[draw.random(), 1.0]] * count, pa.list_(pa.float32(), 2)),
    }
    columns = {name: column(draw, count) if draw.random() < 0.15 else plain.get(name) for name in names}
    chosen = {name: array for name, array in columns.items() if array is not None}
    value = payload(pa.record_batch(chosen)) if chosen else b""
    if draw.random() < 0.05:
        value = value[: draw.randrange(len(value) + 1)]
    headers = ARROW if draw.random() < 0.9 else (*ARROW, ("forebay-model", draw.choice([b"m1", b"m9"])))
    return FakeRecord(offset, value, timestamp=JULY, key=draw.choice([b"key", None]), headers=headers)


@pytest.mark.parametrize("seed", range(40))
def test_the_fast_path_says_what_the_exact_one_says(seed: int) -> None:
    draw = random.Random(seed)
    signatures = draw.sample([NUMBERS, CATEGORIES, TEXTS, TIMES, UNNAMED], 2)
    mapping = draw.choice(MAPPINGS)
    names = draw.sample(["id", "at", "k", "m", "timestamp", "x"], draw.randint(0, 4))
    features = [feature.name for feature in signatures[0].features] or ["features"]
    schemas = [[*features, *names], [*features, *draw.sample(["id", "m", "at"], 1)]]
    fast, exact = (decoder(*signatures, mapping=mapping) for _ in range(2))
    exactly(exact)
    for poll in range(4):
        records: list[Record] = [record(draw, 10 * poll + number, draw.choice(schemas)) for number in range(5)]
        if draw.random() < 0.3:
            records[2] = FakeRecord(10 * poll + 2, event("json", [1.0, 2.0]), timestamp=JULY)
        chunks = decode(fast, records)
        assert list(map(said, chunks)) == list(map(said, decode(exact, records)))
        for chunk in chunks:
            check_rows_alone(fast, chunk)


def check_rows_alone(of: Decoder, chunk: Chunk) -> None:
    """Check that each row alone, published with the same key and headers, is the same event or is rejected alike."""
    for row, one in enumerate(chunk.records):
        if not hasattr(one, "row"):
            continue
        (alone,) = decode(of, [FakeRecord(900, one.value, timestamp=one.timestamp, key=one.key, headers=one.headers)])
        assert (list(alone.ids), list(alone.timestamps)) == ([chunk.ids[row]], [chunk.timestamps[row]])
        assert alone.x_BF.tobytes() == chunk.x_BF[row].tobytes() and alone.model == chunk.model
    for rejection in chunk.rejections:
        one = rejection.record
        if hasattr(one, "row"):
            (alone,) = decode(
                of, [FakeRecord(900, one.value, timestamp=one.timestamp, key=one.key, headers=one.headers)]
            )
            assert [(r.kind, r.message) for r in alone.rejections] == [(rejection.kind, rejection.message)]


def test_ids_default_to_the_key_or_the_position_with_the_row() -> None:
    batch = pa.record_batch({"a": [1, 2], "b": [3.0, None]})
    records = [
        FakeRecord(4, payload(batch), timestamp=JULY, key=b"k", headers=ARROW),
        FakeRecord(5, payload(batch), timestamp=JULY + 1, headers=ARROW),
    ]
    (chunk,) = decode(decoder(NUMBERS), records)
    assert list(chunk.ids) == ["k-0", "k-1", "features-0-5-0", "features-0-5-1"]
    assert list(chunk.timestamps) == [JULY, JULY, JULY + 1, JULY + 1]
    assert isinstance(chunk.records, RowRecords) and chunk.num_records == 4 and chunk.next_offset == 6
    np.testing.assert_array_equal(chunk.x_BF, np.array([[1, 3], [2, np.nan]] * 2, np.float32))


def test_an_array_of_features_needs_no_other_column() -> None:
    batch = pa.record_batch({"features": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))})
    (chunk,) = decode(decoder(UNNAMED), [FakeRecord(4, payload(batch), timestamp=JULY, headers=ARROW)])
    assert chunk.x_BF.tolist() == [[1, 2], [3, 4]] and list(chunk.timestamps) == [JULY] * 2


def test_one_bad_row_is_rejected_alone() -> None:
    batch = pa.record_batch({"a": pa.array([1.0, None, 3.0]), "id": ["x", "y", "z"]})
    (chunk,) = decode(decoder(NUMBERS), [FakeRecord(4, payload(batch), timestamp=JULY, headers=ARROW)])
    assert list(chunk.ids) == ["x", "z"] and [position_of(one) for one in chunk.records] == [(4, 0), (4, 2)]
    (rejection,) = chunk.rejections
    assert (rejection.index, position_of(rejection.record)) == (1, (4, 1))
    assert rejection.kind is FailureKind.MISSING_VALUE


def test_a_request_has_one_row() -> None:
    records = [
        FakeRecord(n, payload(pa.record_batch({"a": [1] * (n + 1)})), timestamp=JULY, headers=ARROW) for n in (0, 1)
    ]
    (chunk,) = decoder(NUMBERS).decode({TopicPartition(REQUEST_TOPIC, 0): records}, EPOCH)
    (rejection,) = chunk.rejections
    assert chunk.num_rows == 0 or list(chunk.records) == records[:1]
    assert rejection.record is records[1] and "has 2 rows" in rejection.message


def test_too_many_rows_are_one_rejection() -> None:
    value = payload(pa.record_batch({"a": [1, 2, 3]}))
    (chunk,) = decode(decoder(NUMBERS, max_rows=2), [FakeRecord(4, value, timestamp=JULY, headers=ARROW)])
    (rejection,) = chunk.rejections
    assert rejection.kind is FailureKind.TOO_LARGE and chunk.num_records == 1 and chunk.num_rows == 0


def test_rows_that_were_read_are_decoded_again_for_another_version() -> None:
    batch = pa.record_batch({"a": [1, 2, 3], "b": pa.array([1.0, None, 2.0])})
    other = pa.record_batch({"a": [7]})
    records = [FakeRecord(4, payload(batch), headers=ARROW), FakeRecord(5, payload(other), headers=ARROW)]
    (chunk,) = decode(decoder(NUMBERS), records)
    strict = Signature((Feature("b"),), (1,), "binary", 1)
    (again,) = decode(decoder(strict), chunk.records)
    assert [position_of(one) for one in again.records] == [(4, 0), (4, 2)] and again.x_BF.tolist() == [[1.0], [2.0]]
    assert [position_of(one.record) for one in again.rejections] == [(4, 1), (5, 0)]


def test_rows_are_routed_by_key_id_or_field() -> None:
    batch = pa.record_batch({"a": [1, 2], "id": ["x", "y"], "user": pa.array(["u", None]), "n": [7, 8]})
    (chunk,) = decode(decoder(NUMBERS), [FakeRecord(4, payload(batch), headers=ARROW)])
    assert usual_keys(chunk) == [b"x", b"y"]
    assert keys_by_field("user")(chunk) == [b"u", b"y"] and keys_by_field("n")(chunk) == [b"7", b"8"]


def test_fewer_records_are_polled_as_they_have_more_rows() -> None:
    in_flight = InFlight(Bounds(max_events=1000, max_bytes=10**9, max_batches=9))
    assert in_flight.records_of(1000) == 1000 and in_flight.records_of(0) == 0
    in_flight.on_decoded(events=2560, records=10)
    assert in_flight.records_of(1000) == 3 and in_flight.records_of(10) == 1 and in_flight.records_of(0) == 0
    in_flight.on_decoded(events=3, records=4)
    assert in_flight.records_of(1000) == 1000
