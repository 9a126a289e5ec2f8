from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from forebay.models.artefacts.signature import Feature
from forebay.models.data.opening import open_source
from forebay.models.data.table_options import TableOptions
from forebay.models.training.column_scan import ScannedTable, scan, signature_of
from forebay.models.training.recipe_sections import DataSection
from forebay.models.training.table_coding import CodedTable, code_table_rows
from forebay.schemas.errors import DataError
from forebay.stream.decode.features import FeaturePacker
from tests.models.training.tables import MemoryTable, weather


def section(**values: Any) -> DataSection:
    return DataSection(path="rows.csv", label="y", **values)


def scanned(table: Any, data: DataSection) -> ScannedTable:
    *_, result = scan("rows.csv", MemoryTable(table).batches(50), data)
    assert isinstance(result, ScannedTable)
    return result


def coded(table: Any, data: DataSection, folder: Path, task: Any = "regression") -> CodedTable:
    found = scanned(table, data)
    classes = () if task == "regression" else found.classes(data.classes)
    signature = signature_of(found, task, classes, None)
    return code_table_rows("rows.csv", MemoryTable(table).batches(50), signature, data=data, folder=folder)


def test_columns_become_features_as_their_values_are() -> None:
    table = pa.table(
        {
            "n": [1.0, math.nan, 2.0],
            "i": [1, 2, 3],
            "t": ["b", "a", None],
            "many": ["x", "y", "z"],
            "when": pa.array([0, 1, 2], pa.timestamp("ms")),
            "nothing": pa.array([None] * 3, pa.float64()),
            "y": [0.5, 1.5, 2.5],
        }
    )
    found = scanned(table, section(max_categories=2, buckets=16, unknown="other"))
    assert found.features == (
        Feature("n", nullable=True),
        Feature("i"),
        Feature("t", "category", ("a", "b"), nullable=True, other=True),
        Feature("many", "hashed", buckets=16),
    )
    assert [note.split(":")[0] for note in found.notes] == [
        "column 'when' holds timestamp[ms]; events have numbers and texts",
        "column 'nothing' is left out",
    ]


@pytest.mark.parametrize(
    ("labels", "arguments", "task"),
    [
        (["b", "a", "b"], ("auto", "auto", "mlp"), "binary"),
        (["b", "a", "c"], ("auto", "auto", "mlp"), "multiclass"),
        ([0, 1, 1], ("auto", "auto", "mlp"), "binary"),
        ([True, False, True], ("auto", "auto", "mlp"), "binary"),
        ([0, 1, 2], ("auto", "auto", "mlp"), "regression"),
        ([0, 1, 2], ("auto", "cross_entropy", "mlp"), "multiclass"),
        ([0, 1, 2], ("auto", "auto", "logistic"), "multiclass"),
        ([0, 1, 1], ("auto", "auto", "linear"), "regression"),
        ([0, 1, 1], ("auto", "cross_entropy", "mlp"), "multiclass"),
        ([0, 1, 2], ("multiclass", "auto", "linear"), "multiclass"),
    ],
)
def test_the_task_follows_from_the_label_the_loss_and_the_architecture(
    labels: list[Any], arguments: tuple[str, str, str], task: str
) -> None:
    assert scanned(pa.table({"a": [1.0, 2.0, 3.0], "y": labels}), section()).task(*arguments) == task


def test_rows_are_coded_exactly_as_a_worker_codes_events(tmp_path: Path) -> None:
    table = weather(120)
    found = coded(table, section(types={"site": "hashed"}, buckets=64), tmp_path, "binary")
    packer = FeaturePacker(found.signature)
    events = table.drop_columns(["y"]).to_pylist()
    expected = np.stack([np.frombuffer(packer.exact(event), dtype="<f4") for event in events])
    assert np.isnan(expected).any()
    assert found.x_NF.tobytes() == expected.tobytes()
    assert found.y_N.tolist() == [float(label == "fine") for label in table["y"].to_pylist()]


def test_rows_that_cannot_be_used_are_dropped_and_counted(tmp_path: Path) -> None:
    table = pa.table(
        {
            "a": [1.0, math.inf, 3.0, 1e39, 5.0],
            "when": pa.array([3, 4, 5, 6, None], pa.timestamp("s")),
            "who": ["u", "v", "u", None, "w"],
            "y": [1.0, 2.0, None, 4.0, 5.0],
        }
    )
    found = coded(table, section(time="when", key="who"), tmp_path)
    assert found.dropped == {"no label": 1, "infinite or beyond float32": 2, "no time": 1}
    assert found.x_NF.tolist() == [[1.0]]
    assert found.times_N is not None and found.times_N.tolist() == [3000]


def test_keys_have_digests_of_their_text_and_times_their_order(tmp_path: Path) -> None:
    table = pa.table(
        {"a": [1.0, 2.0, 3.0], "k": ["x", "y", "x"], "t": ["2024-01-02", "2024-01-01", "2024-01-03"], "y": [1, 2, 3]}
    )
    found = coded(table, section(time="t", key="k"), tmp_path)
    assert found.keys_N is not None and found.times_N is not None
    assert found.keys_N[0] == found.keys_N[2] != found.keys_N[1]
    assert np.argsort(found.times_N).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"exclude": ("humidty",)}, "no column 'humidty' \\(did you mean 'humidity'\\?\\)", "the columns are"),
        ({"types": {"site": "float32"}}, "holds texts", "not numbers"),
        ({"types": {"hour": "category"}}, "holds numbers", "write the column as text"),
        ({"classes": ("damp", "dry")}, "the difference is dry, fine", "data.classes"),
    ],
)
def test_columns_that_are_not_as_the_recipe_says_are_refused_by_name(
    values: dict[str, Any], message: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        coded(weather(20), section(**values), tmp_path, "binary")
    assert remedy in str(caught.value.remedy)


def test_max_rows_limits_what_is_read() -> None:
    assert scanned(weather(200), section(max_rows=120)).rows == 120


def test_an_empty_table_and_labels_without_classes_are_refused() -> None:
    with pytest.raises(DataError, match="there are no rows"):
        scanned(weather(0), section())
    with pytest.raises(DataError, match="no classes"):
        scanned(pa.table({"a": [1.0, 2.0], "y": [0.5, 1.5]}), section()).classes(())


def test_dates_become_their_parts_as_a_worker_decodes_them(tmp_path: Path) -> None:
    texts = ["2013-07-01T23:30:00-05:00", "2013-07-06", None, "soon", "2013-12-31 09:05:01.5Z"]
    moments = pa.array([0, 1_372_636_800_000, None, 5, 6], pa.timestamp("ms"))
    table = pa.table({"t": texts, "n": [1_372_636_800, 0, 1, 2, 3], "a": moments, "x": [1.0] * 5, "y": [0.0] * 5})
    data = section(
        dates={"t": ("hour", "weekday_sin"), "n": ("days_since",), "a": ("year",)},
        date_unit="seconds",
        date_reference="2013-07-01",
    )
    found = coded(table, data, tmp_path)
    signature = found.signature
    assert signature.column_names == ("t.hour", "t.weekday_sin", "n.days_since", "a.year", "x")
    assert [feature.nullable for feature in signature.features] == [True, False, True, False]
    assert found.x_NF[:, 3].tolist()[:2] == [1970, 2013] and math.isnan(found.x_NF[2, 3])
    packer = FeaturePacker(signature)
    assert packer.times is not None
    for row, text in enumerate(texts):
        moment = moments[row].as_py()
        features = {"t": text, "n": table["n"][row].as_py(), "a": moment and moment.isoformat(), "x": 1.0}
        assert packer.times.matrix([packer.exact(features)]).tobytes() == found.x_NF[row : row + 1].tobytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"dates": {"t": ("hours",)}}, "data.dates: feature 't': parts is 'hours'; allowed are"),
        ({"dates": {"t": ("days_since",)}}, "data.dates: feature 't': a reference is needed"),
        ({"dates": {"t": ("hour",)}, "exclude": ("t",)}, "data.dates has 't', which is not a feature"),
        ({"dates": {"tt": ("hour",)}}, "there is no column 'tt' (did you mean 't'?)"),
        ({"dates": {"l": ("hour",)}}, "data.dates has 'l', which holds list<"),
    ],
)
def test_dates_that_cannot_be_read_are_refused(data: dict[str, Any], says: str) -> None:
    table = pa.table({"t": ["2013-07-01"], "l": [[1]], "y": [0.0]})
    with pytest.raises(DataError) as caught:
        scanned(table, section(**data))
    assert says in caught.value.message


def test_the_id_key_and_timestamp_of_a_topics_events_are_not_features() -> None:
    count = 40
    table = pa.table(
        {
            "id": [str(number) for number in range(count)],
            "timestamp": list(range(count)),
            "key": pa.nulls(count),
            "x": [number / 7 for number in range(count)],
            "y": [number * 1.5 for number in range(count)],
        }
    )
    data = DataSection(topic="topic://features", label="y")
    assert (data.id, data.time) == ("id", "timestamp")
    assert [feature.name for feature in scanned(table, data).features] == ["x"]
    assert DataSection(topic="topic://features", label="y", time="at").time == "at"


def test_the_id_key_and_timestamp_of_events_in_a_file_are_not_features(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [
        {"id": str(n), "key": "k", "timestamp": n, "features": {"x": n / 7, "city": "a"}, "y": n * 1.5}
        for n in range(40)
    ]
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    *_, found = scan("events.jsonl", open_source(str(path), TableOptions()).batches(16), section())
    assert isinstance(found, ScannedTable)
    assert [feature.name for feature in found.features] == ["x", "city"]
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(b"".join(orjson.dumps({"id": n, "x": n / 7, "y": n * 1.5}) + b"\n" for n in range(40)))
    *_, found = scan("plain.jsonl", open_source(str(plain), TableOptions()).batches(16), section())
    assert isinstance(found, ScannedTable)
    assert [feature.name for feature in found.features] == ["id", "x"]
