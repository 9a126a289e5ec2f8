"""JSON lines as columns: equal to the row reader, whatever the file holds."""

from __future__ import annotations

import io

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.data import json_table, line_readers, text_lines
from forebay.models.data.blocks import ParsedBlock
from forebay.models.data.input_row import InvalidRow
from forebay.models.data.json_table import JsonTable
from forebay.models.data.object_columns import infer_type
from forebay.models.data.table_options import TableOptions
from forebay.schemas.errors import DataError


def read(data: bytes, options: TableOptions | None = None) -> tuple[pa.Table, list[InvalidRow]]:
    table = JsonTable(io.BytesIO(data), "file", options or TableOptions(), None)
    blocks: list[ParsedBlock] = [task() for task in table.tasks()]
    batches = [block.batch for block in blocks]
    return pa.Table.from_batches(batches, table.schema), [row for block in blocks for row in block.invalid]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few lines be a block."""
    monkeypatch.setattr(json_table, "BLOCK_BYTES", 60)
    monkeypatch.setattr(text_lines, "_READ_BYTES", 8)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
NESTED = (
    VALUES
    | st.lists(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False), max_size=2)
    | st.just({"q": 1})
    | st.just({"z": 1})
)


def lines_of(rows: list[dict[str, object]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def is_number(value: object) -> bool:
    return type(value) in (int, float)


def fits(row: dict[str, object]) -> bool:
    a, b, c = row.get("a"), row.get("b"), row.get("c")
    return (
        (a is None or (isinstance(a, list) and all(map(is_number, a))))
        and (b is None or (type(b) is int and -(2**63) <= b < 2**63))
        and (c is None or is_number(c))
    )


@given(st.lists(st.fixed_dictionaries({}, optional={"a": NESTED, "b": VALUES, "c": VALUES}), min_size=1, max_size=12))
@settings(max_examples=50)
def test_each_row_is_read_or_reported(rows: list[dict[str, object]]) -> None:
    rows = [{"a": [1.5], "b": 1, "c": None}, *rows]
    table, invalid = read(lines_of(rows), TableOptions(types={"b": "int64", "c": "float64"}))
    assert [row.place for row in invalid] == [f"file, line {n}" for n, row in enumerate(rows, 1) if not fits(row)]
    good = [row for row in rows if fits(row)]
    assert table["b"].to_pylist() == [row.get("b") for row in good]
    # Whole numbers beyond 2^53 are rounded to float64.
    assert table["c"].to_pylist() == [None if (c := row.get("c")) is None else float(c) for row in good]  # type: ignore[arg-type]
    lists = [row.get("a") for row in good]
    assert table["a"].to_pylist() == [None if a is None else list(map(float, a)) for a in lists]  # type: ignore[call-overload]


EVENTS = [{"id": f"e{n}", "timestamp": n, "features": {"x": n + 0.5, "c": "UA"}, "label": n % 2} for n in range(9)]


def test_the_features_of_events_become_columns_without_the_row_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonTable, "_parse_rows", None)
    table, _ = read(lines_of(EVENTS))
    assert table.column_names == ["id", "timestamp", "label", "x", "c"]
    assert table["x"].to_pylist() == [n + 0.5 for n in range(9)] and table["label"].to_pylist() == [
        n % 2 for n in range(9)
    ]
    table, _ = read(lines_of(EVENTS), TableOptions(columns=("c", "label")))
    assert table.column_names == ["c", "label"] and table["c"].to_pylist() == ["UA"] * 9


def test_an_array_of_features_becomes_columns() -> None:
    table, (row,) = read(
        lines_of([{"id": n, "features": [n, None, "x"]} for n in range(5)]) + b'{"features":[1,2,3,4]}\n'
    )
    assert table["feature_0"].to_pylist() == list(range(5)) and table["feature_2"].to_pylist() == ["x"] * 5
    assert row.place == "file, line 6"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":1.5}', "column a is 1.5, but the column holds whole numbers"),
        (b'{"a":true}', "column a is True"),
        (b'{"a":9223372036854775808}', "column a is 9223372036854775808"),
        (b'{"b":1}', "column b is 1, but the column holds text"),
        (b'{"n":1}', "column n is 1, but the column holds no values in the first rows"),
        (b'{"z":1}', "column 'z' is not in the first lines"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":1}{"a":2}', "not JSON"),
        (b'{"b":"\xff"}', "not JSON"),
        (b"[1]", "a JSON array"),
    ],
)
def test_a_line_that_does_not_fit_is_reported(line: bytes, reason: str) -> None:
    good = b'{"a":1,"b":"x","n":null}\n' * 9
    table, (row,) = read(good + line + b"\n\n" + good)
    assert row.place == "file, line 10" and reason in row.reason and row.remedy
    assert table["a"].to_pylist() == [1] * 18


def test_an_object_over_two_lines_is_not_read_as_one() -> None:
    table, invalid = read(b'{"a":1}\n{"a":\n2}\n{"a":3}{"a":4}\n{"a":5}\n')
    assert table["a"].to_pylist() == [1, 5] and [row.place[-1] for row in invalid] == ["2", "3", "4"]


def test_a_line_that_is_too_long_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_readers, "MAX_LINE_BYTES", 100)
    table, (row,) = read(b'{"a":1}\n' + b"x" * 1000 + b'\n{"a":2}\n{"a":3}' + b" " * 80)
    assert table["a"].to_pylist() == [1, 2, 3] and row.place == "file, line 2"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "none of the first lines"),
        ('{"a":1}\n'.encode("utf-16"), "UTF-16"),
        (b'{"a":"\0"}', "zero bytes"),
    ],
)
def test_an_unusable_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data)


def test_a_byte_order_mark_and_blank_lines_are_left_out() -> None:
    table, invalid = read(b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":2}')
    assert table["a"].to_pylist() == [1, 2] and invalid == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], pa.null()),
        ([None, True], pa.bool_()),
        ([1, 2.5], pa.float64()),
        ([1, "x", 2.5], pa.int64()),
        (["x", 1], pa.string()),
        ([True, 1], pa.bool_()),
        ([[1], None, []], pa.list_(pa.int64())),
    ],
)
def test_the_type_is_that_of_the_values_up_to_the_first_that_differs(values: list[object], kind: pa.DataType) -> None:
    assert infer_type(values) == kind


def test_a_field_that_is_stated_to_be_a_time_is_one() -> None:
    data = (
        b'{"when": "2013-07-01", "n": 1}\n{"when": 1372636800000}\n{"when": null}\n{"when": "soon"}\n{"when": true}\n'
    )
    table, invalid = read(data, TableOptions(types={"when": "timestamp"}))
    assert table["when"].cast(pa.int64()).to_pylist() == [1372636800000000] * 2 + [None]
    assert [row.place for row in invalid] == ["file, line 4", "file, line 5"]
