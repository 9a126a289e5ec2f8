"""Predictions and labels as columns: what is read, what is refused, and that nothing makes a parser raise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.examples import good_examples
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Unreadable
from forebay.stream.evaluate.label_parser import LabelParser
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.prediction_parser import PredictionParser
from forebay.stream.evaluate.shadow_parser import ShadowParser
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.experiments.blocks import key_blocks
from forebay.stream.quality.keys import Task
from tests.evaluate.records import NOW_MS, Polled, label, prediction, shadow_pair

UNREADABLE = Unreadable(
    offset=9, timestamp=-1, key=None, value=b"?", headers=[], first_offset=7, count=3, kind=FailureKind.NOT_JSON, message="bad"
)  # fmt: skip


def prediction_parser(
    join_by: str = "id", slices: SliceValues | None = None, documents: PredictionDocuments | None = None
) -> PredictionParser:
    return PredictionParser(join_by, slices=slices, max_future_ms=1_000, blocks=key_blocks, documents=documents)


def label_parser(join_by: str = "id", slices: SliceValues | None = None) -> LabelParser:
    return LabelParser(join_by, slices=slices, max_future_ms=1_000)


def test_predictions_are_divided_by_version_and_stay_in_offset_order() -> None:
    records = [
        prediction(5),
        prediction(6, version=4),
        prediction(7),
        prediction(8, model="other", prediction=[0.1, 0.2, 0.7]),
    ]
    columns, refused = prediction_parser().parse(records)
    assert not refused
    assert [(str(part.ref), part.task, part.offsets_B.tolist()) for part in columns] == [
        ("late version 3", Task.BINARY, [5, 7]),
        ("late version 4", Task.BINARY, [6]),
        ("other version 3", Task.CLASSES, [8]),
    ]
    assert columns[0].scores_BO.dtype == np.float32 and columns[0].scores_BO.tolist() == [[0.25], [0.25]]
    assert columns[0].times_B.tolist() == [NOW_MS - 60_000 + 5, NOW_MS - 60_000 + 7]
    assert columns[0].blocks_B.tolist() == key_blocks([b"key", b"key"]).tolist()
    assert len(set(columns[0].hashes_B.tolist())) == 2


def test_a_regression_has_no_class() -> None:
    ((part,), _) = prediction_parser().parse([prediction(1, **{"prediction": [12, 3.5], "class": None})])
    assert part.task is Task.REGRESSION and part.scores_BO.tolist() == [[12.0, 3.5]] and part.classes_B.tolist() == [-1]


def test_the_examples_of_predictions_and_labels_are_read() -> None:
    for example in good_examples():
        record = Polled(1, example.value, example.key, NOW_MS)
        if example.schema == "prediction":
            columns, refused = prediction_parser().parse([record])
            assert len(columns) == 1 and not refused, example.name
        if example.schema == "label":
            parsed = label_parser("position" if "position" in example.name else "id").parse([record])
            assert len(parsed.columns) == 1 and not parsed.refused, example.name


def test_predictions_carry_the_names_of_their_classes() -> None:
    polled = [prediction(0, label="on time"), prediction(1, label="late", **{"class": 1}), prediction(2)]
    (columns,), _ = prediction_parser().parse(polled)
    assert (columns.class_names, columns.num_classes) == ({"on time": 0, "late": 1}, 2)
    (columns,), _ = prediction_parser().parse([prediction(0, prediction=[0.2, 0.3, 0.5], **{"class": 2})])
    assert (columns.class_names, columns.num_classes) == ({}, 3)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (UNREADABLE, "unreadable"),
        (Polled(1, None), "tombstone"),
        (Polled(1, b"{"), "not_json"),
        (Polled(1, b"[1]"), "malformed"),
        (Polled(1, b"{}"), "malformed"),
        (prediction(1, id=7), "malformed"),
        (prediction(1, version=0), "malformed"),
        (prediction(1, version=True), "malformed"),
        (prediction(1, prediction=[]), "malformed"),
        (prediction(1, prediction=["0.5"]), "malformed"),
        (prediction(1, prediction=[None]), "malformed"),
        (prediction(1, **{"class": 2}), "malformed"),
        (prediction(1, **{"class": -1}), "malformed"),
        (prediction(1, source={"timestamp": "now"}), "timestamp"),
        (prediction(1, source={"timestamp": 1 << 60}), "timestamp"),
        (prediction(1, source={"timestamp": NOW_MS + 1_001}), "future"),
    ],
)
def test_what_is_no_prediction_is_refused_with_a_reason(record: Any, reason: str) -> None:
    columns, refused = prediction_parser().parse([prediction(0), record, prediction(20)])
    assert [refusal.reason for refusal in refused] == [reason] and refused[0].detail
    assert columns[0].offsets_B.tolist() == [0, 20]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (UNREADABLE, "unreadable"),
        (Polled(1, None), "tombstone"),
        (Polled(1, b"late"), "not_json"),
        (Polled(1, b"[]"), "malformed"),
        (label(1, id=...), "no_key"),
        (label(1, id=""), "no_key"),
        (label(1, id=1.5), "no_key"),
        (label(1, id=True), "no_key"),
        (label(1, label=...), "value"),
        (label(1, label=None), "value"),
        (label(1, label=[1]), "value"),
        (label(1, label=""), "value"),
        (label(1, label="x" * 1_001), "value"),
        (label(1, timestamp=...), "timestamp"),
        (label(1, timestamp=-1), "timestamp"),
        (label(1, timestamp=1.5), "timestamp"),
        (label(1, timestamp="2026-11-28T00:00:00Z"), "timestamp"),
        (label(1, timestamp=NOW_MS + 1_001), "future"),
        (label(1, model="a b"), "model"),
        (label(1, model=3), "model"),
    ],
)
def test_what_is_no_label_is_refused_with_a_reason(record: Any, reason: str) -> None:
    columns, refused = label_parser().parse([label(0), record, label(20, timestamp=NOW_MS + 1_000)])
    assert [refusal.reason for refusal in refused] == [reason] and refused[0].detail
    assert columns.offsets_B.tolist() == [0, 20]


def test_labels_keep_their_values_and_models() -> None:
    values: list[Any] = [1, 2.5, True, "late"]
    columns, _ = label_parser().parse([label(offset, label=value) for offset, value in enumerate(values)])
    assert columns.values == values and columns.models is None and columns.slices is None
    columns, _ = label_parser().parse([label(0), label(1, model="late")])
    assert columns.models == [None, "late"]


def test_an_integer_id_is_its_decimal_text() -> None:
    ((part,), _) = prediction_parser().parse([prediction(1, id="42")])
    assert label_parser().parse([label(1, id=42)]).columns.hashes_B.tolist() == part.hashes_B.tolist()


@pytest.mark.parametrize(
    ("join_by", "made"),
    [
        ("id", label(1)),
        ("position", label(1, id=..., source={"topic": "features", "partition": 1, "offset": 101})),
        ("key_and_time", label(1, id=..., timestamp=NOW_MS - 59_999)),
        ("key_and_time", label(1, id=..., source={"timestamp": NOW_MS - 59_999})),
    ],
)
def test_a_label_and_its_prediction_have_the_same_hash(join_by: str, made: Polled) -> None:
    ((part,), _) = prediction_parser(join_by).parse([prediction(1)])
    columns, refused = label_parser(join_by).parse([made])
    assert not refused and columns.hashes_B.tolist() == part.hashes_B.tolist()
    ((other,), _) = prediction_parser(join_by).parse([prediction(2)])
    assert other.hashes_B.tolist() != part.hashes_B.tolist()


def test_labels_name_rows_of_records_by_position_and_row() -> None:
    source = {"topic": "features", "partition": 1, "offset": 101}
    rows = [{**source, "row": row} for row in (0, 1)]
    predictions = [prediction(n, source={**place, "timestamp": NOW_MS - 59_999}) for n, place in enumerate(rows)]
    ((part,), refused) = prediction_parser("position").parse(predictions)
    labels = [label(row, id=..., source=place) for row, place in enumerate([*rows, source])]
    columns, refused = label_parser("position").parse([*labels, label(9, id=..., source={**source, "row": "0"})])
    assert columns.hashes_B.tolist()[:2] == part.hashes_B.tolist() and len(set(columns.hashes_B.tolist())) == 3
    assert [refusal.reason for refusal in refused] == ["no_key"]


def test_a_label_by_key_and_time_needs_a_key() -> None:
    record = Polled(1, json.dumps({"label": 1, "timestamp": NOW_MS}).encode(), key=None)
    assert label_parser("key_and_time").parse([record]).refused[0].reason == "no_key"
    named = Polled(1, json.dumps({"label": 1, "timestamp": NOW_MS - 59_999, "key": "key"}).encode(), key=None)
    ((part,), _) = prediction_parser("key_and_time").parse([prediction(1)])
    assert label_parser("key_and_time").parse([named]).columns.hashes_B.tolist() == part.hashes_B.tolist()
    assert prediction_parser("key_and_time").parse([prediction(1, key=None)]).refused[0].reason == "no_key"


def test_slices_are_read_where_they_are_configured_and_limited() -> None:
    slices = SliceValues(("airport", "vip"), max_values=2)
    records = [
        prediction(offset, slices={"airport": airport, "other": 1})
        for offset, airport in enumerate(("JFK", "EWR", "LGA"))
    ]
    ((part,), _) = prediction_parser(slices=slices).parse([*records, prediction(9)])
    assert part.slices == [("airport=JFK",), ("airport=EWR",), ("airport=other",), ()]
    columns, _ = label_parser(slices=slices).parse([label(0, fields={"vip": True}), label(1, fields=[]), label(2)])
    assert columns.slices == [("vip=true",), (), ()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("id", "model", "version", "prediction", "class", "source", "label", "timestamp", "fields", "slices")
SIDES = st.dictionaries(st.sampled_from(("version", "prediction", "class", "failure", "source")), JSON)


def changed_pair(changes: dict[str, Any], sides: dict[str, Any]) -> bytes:
    document = json.loads(shadow_pair(1).value or b"")
    document |= changes
    document["shadow"] |= sides
    return json.dumps(document).encode()


PAIRS = st.builds(changed_pair, st.dictionaries(st.sampled_from(("id", "model", "source", "revision")), JSON), SIDES)
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda changes: prediction(1, **changes).value)


@given(
    st.lists(st.binary(max_size=30) | DOCUMENTS | PAIRS, max_size=4),
    st.sampled_from(["id", "position", "key_and_time"]),
)
def test_nothing_makes_a_parser_raise(values: list[bytes], join_by: str) -> None:
    records = [Polled(offset, value) for offset, value in enumerate(values)]
    slices = SliceValues(("a",), max_values=3)
    columns, refused = prediction_parser(join_by, slices).parse(records)
    assert sum(map(len, columns)) + len(refused) == len(records)
    parsed = label_parser(join_by, slices).parse(records)
    assert len(parsed.columns) + len(parsed.refused) == len(records)
    pairs = ShadowParser(join_by, max_future_ms=1_000, blocks=key_blocks).parse(records)
    assert sum(map(len, pairs.columns)) + len(pairs.refused) <= len(records)
