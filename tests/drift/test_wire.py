"""Records of drift."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.core.time_format import local_date_time
from forebay.stream.drift.detector import Detector
from forebay.stream.drift.measures import DriftThresholds
from forebay.stream.drift.wire import decode_drift, encode_drift
from tests.drift.build import COLOURS, CountingWorker, bins_of, key_of, signature_of
from tests.json_values import changed_documents


def encoded() -> tuple[bytes, bytes]:
    rng = np.random.default_rng(0)
    x_NF = np.column_stack([rng.normal(size=(400, 2)), rng.integers(0, 4, 400)]).astype(np.float32)
    bins = bins_of(signature_of(2, categories=COLOURS), x_NF)
    counts = CountingWorker(bins).count(key_of(7, version=3), x_NF, rng.random(400, np.float32))
    return encode_drift(counts, worker="w", number=2)


def test_a_record_is_read_as_it_was_written() -> None:
    key, value = encoded()
    record = decode_drift(value)
    assert key == b"flights|3"
    assert (record.worker, record.number, record.counts.key) == ("w", 2, key_of(7, version=3))
    assert encode_drift(record.counts, worker="w", number=2) == (key, value)


def test_a_record_has_the_number_of_training_rows_and_may_lack_it() -> None:
    document = orjson.loads(encoded()[1])
    assert [column["reference_rows"] for column in document["columns"]] == [400, 400, 296, None, None]
    for column in document["columns"]:
        del column["reference_rows"]
    assert {column.reference_rows for column in decode_drift(orjson.dumps(document)).counts.columns} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2; this release reads 1"),
        ({"rows": -1}, "neither is negative"),
        ({"window_end": 0}, "window_end is out of range"),
        ({"columns": [{}]}, "missing required field"),
        ({"version": "1"}, "version"),
    ],
)
def test_anything_else_is_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
    document = orjson.loads(encoded()[1]) | change
    with pytest.raises(DataError, match=message):
        decode_drift(orjson.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": []}, "has 0 counts"),
        ({"missing": -1}, "negative count"),
        ({"reference_rows": 0}, "0 reference_rows"),
        ({"expected": [1.0]}, "1 expected shares"),
        ({"expected_missing": 2.0}, "not from 0 to 1"),
    ],
)
def test_a_wrong_column_is_named(change: dict[str, Any], message: str) -> None:
    document = orjson.loads(encoded()[1])
    document["columns"][0] |= change
    with pytest.raises(DataError, match=f"'x0' has .*{message.removeprefix('has ')}"):
        decode_drift(orjson.dumps(document))


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_json_are_refused(value: bytes | None) -> None:
    with pytest.raises(DataError, match="not a record of drift"):
        decode_drift(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 10**30}, "version, window_start or window_end is out of range"),
        ({"window_end": 10**30}, "version, window_start or window_end is out of range"),
        ({"number": -1}, "number is out of range"),
        ({"rows": 10**400, "seen": 10**400}, "more rows than"),
        ({"rows": 10}, "'x0' has more rows than the record"),
    ],
)
def test_numbers_that_no_worker_counts_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_drift(json.dumps(orjson.loads(encoded()[1]) | change).encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"below": 5_000}, "more rows out of range than in its bins"),
        ({"missing": 10**400}, "more rows than the record"),
        ({"counts": [10**30] * 10}, "more rows than the record"),
        ({"sum": 1e308}, "a sum or a mean beyond 1e\\+100"),
    ],
)
def test_counts_of_a_column_that_no_worker_counts_are_refused(change: dict[str, Any], message: str) -> None:
    document = orjson.loads(encoded()[1])
    document["columns"][0] |= change
    with pytest.raises(DataError, match=f"'x0' has {message}"):
        decode_drift(json.dumps(document).encode())


SMALL: dict[str, Any] = orjson.loads(encoded()[1])
SMALL["columns"] = SMALL["columns"][1:3]


def test_a_record_with_any_value_in_any_place_is_refused_or_can_be_judged_and_shown() -> None:
    for value in changed_documents(SMALL):
        detector = Detector(DriftThresholds(windows=1, min_rows=1))
        for each in (value, orjson.dumps(SMALL | {"worker": "other"})):
            with suppress(DataError):
                detector.add(decode_drift(each))
        detector.advance(10**15)
        for ref in detector.versions():
            assert 1 <= ref.version < 2**31
            orjson.dumps([verdict.to_dict() for verdict in detector.history(ref)])
            local_date_time(detector.history(ref)[-1].key.window_end)
        orjson.dumps([finding.to_dict() for finding in detector.findings()])
