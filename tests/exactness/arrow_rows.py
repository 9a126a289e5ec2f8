"""Records with many rows in Arrow IPC as the input of a proof, and the check that each row has exactly one outcome."""

from __future__ import annotations

import io
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
from aiokafka import ConsumerRecord

from forebay.schemas import headers as names
from tests.exactness.checker import Counts, _check_deltas, check_input, counts_of, none_of, read_all
from tests.exactness.feed import KEYS, Feed, FeedEvent
from tests.exactness.proof import OneModel
from tests.worker.echo import NUM_FEATURES, POISON, feature_hash
from tests.worker.harness import WorkerGroup, kinds

CONTENT_TYPE: Final = ("content-type", b"application/vnd.apache.arrow.stream")
RECORD_ID: Final = "proof-record"
MAX_ROWS: Final = 300
BATCH_SIZE: Final = 64
"""Smaller than most records, so that nearly all are cut."""
POISONED, NULLS, DAMAGED = 0.01, 0.01, 0.03


class RowPlace(NamedTuple):
    """The position of an event: row 0 of a record that cannot be read stands for the record."""

    partition: int
    offset: int
    row: int


class ExpectedRow(NamedTuple):
    """What must become of a row. kind: of the failure; None for a prediction. x: the features."""

    id: str
    key: bytes | None
    kind: str | None
    x: tuple[float, ...] | None


def arrow_value(ids: Sequence[str], rows: Sequence[Sequence[float] | None]) -> bytes:
    """Return rows of events as a record's value, in one or two batches."""
    batch = pa.record_batch({"id": list(ids), "features": pa.array(rows, pa.list_(pa.float32()))})
    sink = io.BytesIO()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch.slice(0, len(ids) // 2))
        writer.write_batch(batch.slice(len(ids) // 2))
    return sink.getvalue()


def rows_in(value: bytes) -> tuple[list[str], list[list[float] | None]]:
    """Return the ids and the features of a value."""
    table = ipc.open_stream(value).read_all()
    return table["id"].to_pylist(), table["features"].to_pylist()


class RowsAuthor:
    """Makes up records of rows. The model fails on some rows, others have no features, and some records are damaged."""

    def __init__(self, rng: random.Random, partitions: int) -> None:
        self._random = rng
        self._numpy = np.random.default_rng(rng.randrange(1 << 32))
        self._partitions = partitions
        self._num_records = 0

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]:
        """Yield records until they have about this number of rows."""
        while count > 0:
            num_rows = min(self._random.randint(1, MAX_ROWS), max(1, count))
            count -= num_rows
            yield self.record(num_rows)

    def record(self, num_rows: int) -> FeedEvent:
        """Return a record with this number of rows."""
        number, key = self._num_records, self._random.randrange(KEYS)
        self._num_records += 1
        rows: list[Sequence[float] | None] = []
        for row in self._numpy.normal(size=(num_rows, NUM_FEATURES)).astype(np.float32).tolist():
            chance = self._random.random()
            rows.append(None if chance < NULLS else [POISON, *row[1:]] if chance < NULLS + POISONED else row)
        value = arrow_value([f"{number}/{row}" for row in range(num_rows)], rows)
        if self._random.random() < DAMAGED:
            value = value[: len(value) // 2]
        headers = [CONTENT_TYPE, (RECORD_ID, str(number).encode())]
        own_key = b"key-%d" % key
        return FeedEvent(str(number), "features", key % self._partitions, key=own_key, value=value, headers=headers)


class ArrowRows(OneModel):
    """One model, which fails on some rows, and records with many rows."""

    options: Mapping[str, Any] = MappingProxyType({"mode": "raise", "batch": {"max_batch_size": BATCH_SIZE}})

    def author(self, rng: random.Random, partitions: int) -> RowsAuthor:
        return RowsAuthor(rng, partitions)

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts:
        records, logs = await read_all(worker_group)
        check_input((dict(record.headers)[RECORD_ID].decode() for record in records["features"]), feed)
        num_rows = check_rows(records)
        return replace(counts_of(worker_group, records, logs), events=num_rows)


def expected_rows(records: Sequence[ConsumerRecord]) -> dict[RowPlace, ExpectedRow]:
    """Return what must become of each row of the input."""
    expected: dict[RowPlace, ExpectedRow] = {}
    for record in records:
        try:
            ids, rows = rows_in(record.value)
        except (pa.ArrowInvalid, OSError):
            place = RowPlace(record.partition, record.offset, 0)
            expected[place] = ExpectedRow("", record.key, "invalid_payload", None)
            continue
        for number, (event_id, x) in enumerate(zip(ids, rows, strict=True)):
            kind = "wrong_type" if x is None else "model_error" if x[0] == POISON else None
            place = RowPlace(record.partition, record.offset, number)
            expected[place] = ExpectedRow(event_id, record.key, kind, None if x is None else tuple(x))
    return expected


def check_rows(records: Mapping[str, Sequence[ConsumerRecord]]) -> int:
    """Check that each row has exactly one outcome, the right one, in order; return the number of rows."""
    expected = expected_rows(records["features"])
    outcomes: dict[RowPlace, list[str]] = defaultdict(list)
    wrong: list[str] = []
    for topic in ("predictions", "dead-letters"):
        order: dict[bytes | None, list[RowPlace]] = defaultdict(list)
        for record in records[topic]:
            place, fault = outcome_of(topic, record, expected)
            outcomes[place].append(topic)
            order[record.key].append(place)
            if fault:
                wrong.append(f"{topic} {record.partition}@{record.offset} for {place}: {fault}")
        none_of((key for key, places in order.items() if places != sorted(places)), f"keys are out of order in {topic}")
    none_of((place for place in outcomes if place not in expected), "outcomes are of no committed row")
    none_of((place for place in expected if not outcomes[place]), "rows have no outcome")
    none_of((f"{place}: {many}" for place, many in outcomes.items() if len(many) > 1), "rows have several outcomes")
    none_of(wrong, "outcomes are not those of their rows")
    by_kind = kinds(records["dead-letters"])
    predicted: Counter[str] = Counter({"predicted": len(records["predictions"])})
    _check_deltas(records["outcome-deltas"], {**{kind: n for kind, n in predicted.items() if n}, **by_kind})
    return len(expected)


def outcome_of(
    topic: str, record: ConsumerRecord, expected: Mapping[RowPlace, ExpectedRow]
) -> tuple[RowPlace, str | None]:
    """Return the row that an output is of, and what is wrong with it."""
    if topic == "predictions":
        said = orjson.loads(record.value)
        source = said["source"]
        place = RowPlace(source["partition"], source["offset"], source["row"])
        row = expected.get(place)
        if row is None or row.kind is not None or row.x is None:
            return place, "a prediction is not expected"
        is_same = (said["id"], record.key) == (row.id, row.key)
        right = feature_hash(np.array(row.x, dtype=np.float32))
        return place, None if is_same and said["prediction"] == [right] else f"{said} is not of {row}"
    headers = dict(record.headers)
    number = headers.get(names.ERROR_ROW)
    place = RowPlace(int(headers[names.ERROR_PARTITION]), int(headers[names.ERROR_OFFSET]), int(number or 0))
    row = expected.get(place)
    kind = headers[names.ERROR_KIND].decode()
    if row is None or kind != row.kind or (number is None) != (kind == "invalid_payload"):
        return place, f"rejected as {kind}, row {number!r}, expected {row}"
    if number is None:
        return place, None
    ids, rows = rows_in(record.value)
    is_same = ids == [row.id] and rows == [None if row.x is None else list(row.x)]
    return place, None if is_same else f"the dead letter holds {ids} {rows}, not {row}"
