"""Conversion of rows to labels."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
import pytest

from forebay.models.artefacts.signature import Signature
from forebay.models.data.input_row import InputRow
from forebay.models.data.values import Instant
from forebay.schemas.errors import ConfigError
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.label_builder import LabelBuilder, LabelCheck, LabelColumns, LabelTarget
from forebay.stream.publish.row_fault import RowFault

NOW = 1_700_000_000_000
BY_ID = LabelTarget("id", "features", 4, same_partitions=True)
BY_POSITION = LabelTarget("position", "features", 4, same_partitions=True)
BY_KEY = LabelTarget("key_and_time", "features", 4, same_partitions=True)
CLASSES = Signature((), (2,), "multiclass", 3, labels=("red", "green", "NA"))
BINARY = Signature((), (2,), "binary", 1)
REGRESSION = Signature((), (2,), "regression", 1)


def build(
    values: Mapping[str, object],
    target: LabelTarget = BY_ID,
    *,
    written: Mapping[str, str] | None = None,
    **options: Any,
) -> Message:
    return LabelBuilder(target, now_ms=lambda: NOW, **options).build(InputRow(3, values, None, written))


def label(values: Mapping[str, object], target: LabelTarget = BY_ID, **options: Any) -> Any:
    return orjson.loads(build(values, target, **options).value)


def test_a_label_has_id_value_and_time_and_the_events_key() -> None:
    message = build({"id": 7, "label": True, "timestamp": "1970-01-01T00:00:01Z", "key": "N1", "carrier": "UA"})
    assert message.key == b"N1" and message.partition is None
    assert orjson.loads(message.value) == {"id": "7", "label": True, "timestamp": 1000}


@pytest.mark.parametrize(
    ("time_ms", "told"),
    [
        (NOW + 300_000, None),
        (NOW + 301_000, "301 seconds in the future; the evaluator refuses labels more than 5 minutes ahead"),
    ],
)
def test_a_time_that_the_evaluator_refuses_is_a_fault(time_ms: int, told: str | None) -> None:
    row = {"id": 7, "label": 1, "timestamp": Instant(time_ms), "key": "N1"}
    if told is None:
        assert label(row)["timestamp"] == time_ms
        return
    with pytest.raises(RowFault, match=told):
        build(row)


def test_options_name_the_columns_and_fields() -> None:
    columns = LabelColumns("flight", "late", "landed", "tail", fields=("dist",), default_fields=("carrier", "absent"))
    row = {"flight": "F1", "late": 1, "landed": Instant(9), "tail": "N1", "carrier": "UA", "dist": 3.5, "other": 1}
    message = build(row, columns=columns, model="delays")
    assert message.key == b"N1"
    assert orjson.loads(message.value) == {
        "id": "F1",
        "label": 1,
        "timestamp": 9,
        "model": "delays",
        "fields": {"carrier": "UA", "dist": 3.5},
    }


def test_a_line_can_be_a_label_already() -> None:
    document = {"id": "a", "label": 0.5, "timestamp": 5, "model": "m", "fields": {"x": "1", "y": None}}
    assert label({**document, "key": "k"}) == {**document, "fields": {"x": "1"}}


def test_a_missing_time_is_the_time_of_publishing() -> None:
    assert label({"id": "a", "label": 1, "key": "k"})["timestamp"] == NOW


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"label": 1, "key": "k"}, "id is missing"),
        ({"id": "a", "key": "k"}, "label is missing"),
        ({"id": "a", "key": "k", "label": float("nan")}, "label is missing"),
        ({"id": "a", "key": "k", "label": ""}, "label is missing"),
        ({"id": "a", "key": "k", "label": float("inf")}, "label is infinite"),
        ({"id": "a", "key": "k", "label": [1]}, "label is a list"),
        ({"id": "a", "label": 1}, "key is missing; a label needs its event's record key"),
        ({"id": "a", "key": "k", "label": 1, "timestamp": "x"}, "timestamp is 'x'"),
        ({"id": "a", "key": "k", "label": 1, "fields": {"x": [1]}}, "column fields.x is a list"),
    ],
)
def test_a_row_that_cannot_be_a_label_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(RowFault, match=reason.replace("(", r"\(")):
        build(values)


def test_a_key_is_not_needed_if_the_partition_is_known() -> None:
    assert build({"id": "a", "label": 1}, LabelTarget("id", "features", 1, same_partitions=True)).partition is None
    columns = LabelColumns(partition="p")
    assert build({"id": "a", "label": 1, "p": 3}, columns=columns).partition == 3
    assert build({"id": "a", "label": 1, "source": {"partition": 2}}).partition == 2
    with pytest.raises(RowFault, match="partition 4 does not exist; the last one is 3"):
        build({"id": "a", "label": 1, "p": 4}, columns=columns)
    # Predictions are elsewhere than their events: only the key decides.
    with pytest.raises(RowFault, match="key is missing"):
        build({"id": "a", "label": 1, "p": 3}, LabelTarget("id", "features", 4, same_partitions=False), columns=columns)


def test_labels_by_position_name_the_record_of_the_event() -> None:
    message = build({"label": 1, "timestamp": 5, "partition": 2, "offset": 9}, BY_POSITION)
    assert message == (
        None,
        orjson.dumps(
            {"label": 1, "timestamp": 5, "source": {"topic": "features", "partition": 2, "offset": 9}},
        ),
        2,
    )
    columns = LabelColumns(topic="t", partition="p", offset="o")
    assert label({"label": 1, "t": "other", "p": 0, "o": 1}, BY_POSITION, columns=columns)["source"] == {
        "topic": "other",
        "partition": 0,
        "offset": 1,
    }
    for values in ({"partition": 2}, {"offset": 9}, {"partition": 2, "offset": None}):
        with pytest.raises(RowFault, match="partition or offset is missing"):
            build({"label": 1, **values}, BY_POSITION)
    with pytest.raises(RowFault, match="offset is -1"):
        build({"label": 1, "partition": 2, "offset": -1}, BY_POSITION)


def test_labels_by_key_and_time_need_both() -> None:
    assert label({"label": 1, "timestamp": 5, "key": "k"}, BY_KEY) == {"label": 1, "timestamp": 5}
    with pytest.raises(RowFault, match="timestamp is missing, the timestamp of the event"):
        build({"label": 1, "key": "k"}, BY_KEY)
    with pytest.raises(RowFault, match="key is missing, by which"):
        build({"label": 1, "timestamp": 5}, BY_KEY)


@pytest.mark.parametrize(
    ("signature", "value", "reason"),
    [
        (
            CLASSES,
            "gren",
            "the classes of model 'm' are 'red', 'green', 'NA', or their numbers from 0 to 2; did you mean 'green'",
        ),
        (CLASSES, 3, "label is 3; the classes of model 'm'"),
        (CLASSES, True, "label is True"),
        (BINARY, 0.5, "the classes of model 'm' are 0 to 1"),
        (REGRESSION, "red", "label is 'red'; model 'm' predicts a number"),
        (REGRESSION, True, "model 'm' predicts a number"),
    ],
)
def test_a_label_that_no_prediction_can_have_is_refused(signature: Signature, value: object, reason: str) -> None:
    check = LabelCheck({"m": signature})
    with pytest.raises(RowFault, match=reason):
        build({"id": "a", "key": "k", "label": value}, check=check)
    # Another model may have it: that of the label, or one that is not known.
    assert label({"id": "a", "key": "k", "label": value, "model": "n"}, check=check)["label"] == value
    assert label({"id": "a", "key": "k", "label": value}, check=LabelCheck({"m": signature}, ["n"]))["label"] == value


@pytest.mark.parametrize(
    ("signature", "value"),
    [(CLASSES, "green"), (CLASSES, 2), (BINARY, True), (BINARY, 1.0), (REGRESSION, -3.5), (REGRESSION, Decimal("1.5"))],
)
def test_a_label_that_a_prediction_can_have_is_published(signature: Signature, value: object) -> None:
    check = LabelCheck({"other": Signature((), (2,), "multiclass", 2, labels=("x", "y")), "m": signature})
    assert label({"id": "a", "key": "k", "label": value}, check=check)["label"] == value


def test_the_name_of_a_class_is_kept_as_written_in_csv() -> None:
    digits = Signature((), (2,), "multiclass", 2, labels=("01", "NA"))
    for text, parsed in (("01", 1), ("NA", None)):
        written = {"id": "a", "key": "k", "label": text}
        assert label({**written, "label": parsed}, written=written, check=LabelCheck({"m": digits}))["label"] == text
    written = {"id": "a", "key": "k", "label": "NA"}
    with pytest.raises(RowFault, match="label is missing"):
        build({**written, "label": None}, written=written)


def test_options_that_name_no_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="--key-column 'tial'") as raised:
        LabelColumns(key="tial").check(["label", "tail"])
    assert raised.value.remedy == "did you mean 'tail'?"
    with pytest.raises(ConfigError, match="there is no column 'label'") as raised:
        LabelColumns().check(["id", "outcome"])
    assert raised.value.remedy == "--label-column names the column of the labels; the columns are id, outcome"
    LabelColumns(fields=("a",)).check(["label", "a"])
