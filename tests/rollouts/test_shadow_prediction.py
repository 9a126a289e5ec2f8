"""The records on `shadow-predictions`."""

from __future__ import annotations

import math

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.schemas.shadow_predictions import shadow_prediction
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.comparison import Side
from forebay.stream.rollouts.shadow_prediction import (
    PairSource,
    SideFormat,
    decode_pair,
    encode_pairs,
    json_numbers,
)

PARTITION = TopicPartition('fea"tures', 3)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def classified(version: int, *, failed: bool = False) -> list[str]:
    """Return two events as JSON: the first with class 1, the second failed if asked for."""
    values_BO = np.array([[0.25, 0.75], [math.nan if failed else 0.5, 0.5]], dtype=np.float32)
    side = Side(values_BO, np.array([1, 0]), np.array([False, failed]), call_s=0.0012345, num_rows=64, cpu_s=0.00075)
    kinds = [None, "output_not_finite" if failed else None]
    side_format = SideFormat(version=version, labels=("no", 'y"es'), num_classes=2)
    return side_format.write(side, json_numbers(np.array([0.75, 0.5], dtype=np.float32)), kinds)


def encoded(primary: list[str], shadow: list[str], *ids: str) -> list[bytes]:
    count = len(ids)
    source = PairSource(PARTITION, ids, list(range(7, 7 + count)), timestamps=[-5] * count, rows=[None] * count)
    return encode_pairs("fraud", 12, source, primary=primary, shadow=shadow)


def test_a_pair_is_written_as_the_schema_says_and_read_back() -> None:
    values = encoded(classified(3), classified(4, failed=True), "a", 'b"\\\n')
    for value in values:
        jsonschema.validate(orjson.loads(value), shadow_prediction())
    first, second = map(decode_pair, values)
    assert (first.id, first.model, first.revision, first.source.offset, second.source.offset) == (
        "a",
        "fraud",
        12,
        7,
        8,
    )
    assert second.id == 'b"\\\n'
    assert (first.source.topic, first.source.partition, first.source.timestamp) == ('fea"tures', 3, -5)
    assert (first.primary.version, first.shadow.version) == (3, 4)
    assert (first.shadow.cpu_ms, decode_pair(values[0].replace(b',"cpu_ms":0.75', b"")).shadow.cpu_ms) == (0.75, 0.0)
    assert first.primary.prediction == [0.25, 0.75]
    assert (first.primary.class_index, first.primary.label, first.primary.confidence) == (1, 'y"es', 0.75)
    assert (first.primary.latency_ms, first.primary.rows) == (1.234, 64)
    assert (second.shadow.prediction, second.shadow.class_index, second.shadow.failure) == (
        None,
        None,
        "output_not_finite",
    )
    assert (first.primary.text, second.shadow.text) == ('y"es (0.25, 0.75)', "output_not_finite")


@given(st.lists(FLOATS, min_size=1, max_size=5), st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_regression_keeps_float32_and_any_id(values: list[float], event_id: str) -> None:
    values_BO = np.array([values], dtype=np.float32)
    side = SideFormat(version=1, labels=(), num_classes=0).write(
        Side(values_BO, None, np.array([False]), call_s=0.0, num_rows=1), [""], [None]
    )
    (value,) = encoded(side, side, event_id)
    pair = decode_pair(value)
    assert pair.id == event_id
    assert np.array_equal(np.array(pair.shadow.prediction, dtype=np.float32), values_BO[0])
    assert (pair.shadow.class_index, pair.shadow.confidence) == (None, None)
    jsonschema.validate(orjson.loads(value), shadow_prediction())


@pytest.mark.parametrize("value", [None, b"", b"[]", b'{"id": "a"}', b"\xff"])
def test_other_records_are_refused(value: bytes | None) -> None:
    with pytest.raises(DataError, match="not a shadow prediction"):
        decode_pair(value)


def test_a_side_has_either_a_prediction_or_a_failure() -> None:
    (first, _) = encoded(classified(3), classified(4), "a", "b")
    document = orjson.loads(first)
    document["shadow"]["failure"] = "model_error"
    with pytest.raises(DataError, match="exactly one"):
        decode_pair(orjson.dumps(document))
