"""Opening of files: formats, compression, missing and damaged files."""

from __future__ import annotations

import gzip
import sys
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.row_source import ReadOptions, open_rows
from forebay.models.data.table_options import TableFormat
from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.publish.event_builder import Columns, EventBuilder


def rows_of(path: Path, options: ReadOptions | None = None) -> list[InputRow | InvalidRow | None]:
    with open_rows(str(path), options or ReadOptions()) as source:
        return list(source.rows)


def values_of(path: Path, options: ReadOptions | None = None) -> list[object]:
    rows = rows_of(path, options)
    assert all(isinstance(row, InputRow) for row in rows), rows
    return [row.values for row in rows if isinstance(row, InputRow)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"x": 1, "y": "b"}\n'),
        ("a.NDJSON", b'{"x": 1, "y": "b"}\n'),
        ("a.csv", b"x,y\n1,b\n"),
        ("a.tsv", b"x\ty\n1\tb\n"),
    ],
)
def test_the_format_is_inferred_from_the_name_also_of_compressed_files(
    tmp_path: Path, name: str, content: bytes
) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert values_of(plain) == values_of(packed) == [{"x": 1, "y": "b"}]


def test_an_unknown_suffix_needs_the_format_option(tmp_path: Path) -> None:
    path = tmp_path / "events.data"
    path.write_bytes(b'{"x":1}\n')
    with pytest.raises(ConfigError, match=r"events\.data") as caught:
        rows_of(path)
    assert "--format" in str(caught.value.remedy)
    assert values_of(path, ReadOptions("jsonl")) == [{"x": 1}]


def test_raw_sends_the_lines_of_any_text_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{broken\n")
    assert rows_of(path, ReadOptions(raw=True)) == [InputRow(1, None, b"{broken")]


def test_the_part_that_was_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"x":1}\n' * 200_000)
    with open_rows(str(path), ReadOptions()) as source:
        assert source.fraction() == 0
        for _ in range(100_000):
            next(source.rows)
        assert source.fraction() == pytest.approx(0.5, abs=0.06)
        list(source.rows)
        assert source.fraction() == 1


def test_a_missing_or_cut_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        rows_of(tmp_path / "none.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"x\n" + b"1234567\n" * 10_000)[:-20])
    with pytest.raises(DataError, match=r"cut\.csv\.gz: reading failed"):
        rows_of(cut)
    wrong = tmp_path / "wrong.csv.gz"
    wrong.write_bytes(b"x\n1\n")
    with pytest.raises(DataError, match=r"wrong\.csv\.gz"):
        rows_of(wrong)


def test_parquet_with_every_type_that_becomes_an_event(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "id": ["a", None],
            "timestamp": pa.array([moment, moment], pa.timestamp("ms", tz="UTC")),
            "delay": pa.array([1.5, float("nan")], pa.float32()),
            "carrier": ["UA", None],
        }
    )
    pq.write_table(table, path)
    builder = EventBuilder("a.parquet", now_ms=lambda: 0)
    rows = rows_of(path)
    ms = int(moment.timestamp() * 1000)
    assert [builder.build(row).value for row in rows if isinstance(row, InputRow)] == [
        b'{"id":"a","timestamp":%d,"features":{"delay":1.5,"carrier":"UA"}}' % ms,
        b'{"id":"a.parquet:2","timestamp":%d,"features":{"delay":null,"carrier":null}}' % ms,
    ]


def test_parquet_with_the_features_in_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [7], "timestamp": [5], "features": [[1.0, 2.0]]}), path)
    (row,) = rows_of(path)
    assert isinstance(row, InputRow)
    assert EventBuilder("a", now_ms=lambda: 0).build(row).value == b'{"id":"7","timestamp":5,"features":[1.0,2.0]}'


def test_invalid_parquet_and_missing_pyarrow_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match=r"a\.parquet: the file cannot be read as Parquet"):
        rows_of(path)
    monkeypatch.delitem(sys.modules, "forebay.models.data.parquet_rows")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as caught:
        rows_of(path)
    assert caught.value.remedy is not None and "[files]" in caught.value.remedy


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_missing_column_is_reported_before_any_row_is_read(tmp_path: Path, file_format: TableFormat) -> None:
    path = tmp_path / f"a.{file_format}"
    if file_format == "csv":
        path.write_bytes(b"tailnum,x\nN1,1\n")
    else:
        pq.write_table(pa.table({"tailnum": ["N1"], "x": [1]}), path)
    with (
        open_rows(str(path), ReadOptions(), Columns(key="tailnm").check) as source,
        pytest.raises(ConfigError, match="--key-column 'tailnm'") as caught,
    ):
        next(source.rows)
    assert caught.value.remedy == "did you mean 'tailnum'?"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is a folder"):
        rows_of(tmp_path)
    (tmp_path / "parts.parquet").mkdir()
    with pytest.raises(DataError, match="this is a folder"):
        rows_of(tmp_path / "parts.parquet")


def test_a_missing_file_is_reported_as_missing_whatever_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        rows_of(tmp_path / "events.data")


def test_arrow_files_have_the_same_rows_as_parquet(tmp_path: Path) -> None:
    table = pa.table({"x": [1, None], "c": pa.array(["UA", "AA"]).dictionary_encode(), "l": [[1.5], []]})
    pq.write_table(table, tmp_path / "a.parquet")
    with ipc.new_file(tmp_path / "a.feather", table.schema) as file:
        file.write_table(table)
    with ipc.new_stream(tmp_path / "a.arrows", table.schema) as stream:
        stream.write_table(table)
    expected = values_of(tmp_path / "a.parquet")
    assert values_of(tmp_path / "a.feather") == values_of(tmp_path / "a.arrows") == expected
    (tmp_path / "a.arrow").write_bytes(b"no Arrow at all")
    with pytest.raises(DataError, match=r"a\.arrow: the file cannot be read as Arrow"):
        rows_of(tmp_path / "a.arrow")


def test_a_pattern_reads_all_files_and_rows_name_theirs(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"x\n3\n")
    (tmp_path / "a.csv").write_bytes(b"x\n1\n2\n")
    with open_rows(f"{tmp_path}/*.csv", ReadOptions()) as source:
        rows = [row for row in source.rows if isinstance(row, InputRow)]
        assert source.name == f"{tmp_path}/*.csv" and source.fraction() == 1
    assert [(row.file, row.number, row.values) for row in rows] == [
        ("a.csv", 1, {"x": 1}),
        ("a.csv", 2, {"x": 2}),
        ("b.csv", 1, {"x": 3}),
    ]
    builder = EventBuilder("pattern", now_ms=lambda: 0)
    assert [orjson.loads(builder.build(row).value)["id"] for row in rows] == ["a.csv:1", "a.csv:2", "b.csv:1"]


def test_urls_and_zstandard_are_read(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/rows/a.jsonl.zst", pa.Codec("zstd").compress(b'{"x":1}\n' * 3, asbytes=True))
    try:
        with open_rows("memory://rows/*.zst", ReadOptions()) as source:
            assert [row.values for row in source.rows if isinstance(row, InputRow)] == [{"x": 1}] * 3
    finally:
        memory.rm("/rows", recursive=True)
