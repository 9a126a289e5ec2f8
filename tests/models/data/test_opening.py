"""Tables of all formats: the same contract for each of them."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from forebay.models.data.opening import open_source
from forebay.models.data.table_options import TableFormat, TableOptions
from forebay.schemas.errors import ConfigError, DataError

TABLE = pa.table(
    {
        "i": pa.array([1, None, -(2**53) - 1, *range(3000)], pa.int64()),
        "f": pa.array([0.1, None, -1e300, *(0.5 + n for n in range(3000))], pa.float64()),
        "t": ["a", None, 'quote " comma , line\nend', *("UA" for _ in range(3000))],
        "b": [True, None, False, *(n % 2 == 0 for n in range(3000))],
    }
)


def write_csv(table: pa.Table, path: Path) -> None:
    pacsv.write_csv(table, path)


def write_tsv(table: pa.Table, path: Path) -> None:
    pacsv.write_csv(table, path, pacsv.WriteOptions(delimiter="\t"))


def write_lines(table: pa.Table, path: Path) -> None:
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist()))


def write_stream(table: pa.Table, path: Path) -> None:
    with ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=100)


def compressed(write: Callable[[pa.Table, Path], None]) -> Callable[[pa.Table, Path], None]:
    def write_compressed(table: pa.Table, path: Path) -> None:
        plain = path.with_name("plain")
        write(table, plain)
        data = plain.read_bytes()
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(data))
        else:
            path.write_bytes(pa.Codec("zstd").compress(data, asbytes=True))
        plain.unlink()

    return write_compressed


FORMATS: dict[str, Callable[[pa.Table, Path], None]] = {
    "a.csv": write_csv,
    "a.tsv": write_tsv,
    "a.jsonl": write_lines,
    "a.parquet": lambda table, path: pq.write_table(table, path, row_group_size=1000),
    "a.feather": feather.write_feather,
    "a.arrows": write_stream,
    "a.csv.gz": compressed(write_csv),
    "a.csv.zst": compressed(write_csv),
    "a.jsonl.gz": compressed(write_lines),
    "a.jsonl.zst": compressed(write_lines),
}


def read(location: Path | str, options: TableOptions | None = None, rows: int = 65_536) -> pa.Table:
    return pa.Table.from_batches(open_source(str(location), options).batches(rows))


@pytest.fixture(params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    FORMATS[request.param](TABLE, path)
    return path


def test_a_table_is_read_as_it_was_written(file: Path) -> None:
    table = read(file)
    assert table.schema.names == TABLE.schema.names
    assert table.schema.types == TABLE.schema.types
    assert table.to_pydict() == TABLE.to_pydict()


def test_a_source_can_be_read_again_and_its_batches_have_the_asked_size(file: Path) -> None:
    source = open_source(str(file))
    for _ in range(2):
        batches = list(source.batches(1000))
        assert [batch.num_rows for batch in batches] == [1000, 1000, 1000, 3]
        assert {batch.schema for batch in batches} == {batches[0].schema}
    assert source.name == str(file) and source.fraction() == 1 and source.skipped.count == 0


@pytest.mark.parametrize("options", [TableOptions(workers=3), TableOptions(prefetch=0)], ids=["workers", "no prefetch"])
def test_workers_and_prefetching_do_not_change_the_rows(file: Path, options: TableOptions) -> None:
    assert read(file, options).to_pydict() == TABLE.to_pydict()


def test_columns_are_chosen_in_the_asked_order(file: Path) -> None:
    table = read(file, TableOptions(columns=("b", "i")))
    assert table.to_pydict() == TABLE.select(["b", "i"]).to_pydict()
    with pytest.raises(ConfigError, match="there is no column 'ii'") as caught:
        read(file, TableOptions(columns=("ii",)))
    assert caught.value.remedy == "did you mean 'i'?"


def test_many_files_are_one_table(file: Path) -> None:
    for name in ("b", "c"):
        (file.parent / file.name.replace("a", name, 1)).write_bytes(file.read_bytes())
    pattern = f"{file.parent}/?{''.join(file.suffixes)}"
    assert read(pattern).to_pydict() == pa.concat_tables([TABLE] * 3).to_pydict()


def test_a_file_with_other_columns_is_named(tmp_path: Path, file: Path) -> None:
    other = file.parent / file.name.replace("a", "b", 1)
    FORMATS[file.name](TABLE.rename_columns(["i", "f", "t", "x"]), other)
    with pytest.raises(DataError) as caught:
        read(f"{file.parent}/?{''.join(file.suffixes)}")
    assert str(other) in caught.value.message
    assert "lacks 'b' and also has 'x'" in caught.value.message or "column 'x' is not in" in caught.value.message


def test_a_url_is_read(file: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/opening/{file.name}", file.read_bytes())
    try:
        assert read(f"memory://opening/{file.name}").to_pydict() == TABLE.to_pydict()
        assert read(f"memory://opening/?{''.join(file.suffixes)}").num_rows == TABLE.num_rows
        with pytest.raises(DataError, match="there is no such file"):
            read("memory://opening/none.csv")
        with pytest.raises(DataError, match="no file matches the pattern"):
            read("memory://opening/*.none")
    finally:
        memory.rm("/opening", recursive=True)


def test_a_damaged_file_is_reported_by_name(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + b"\0\xff{" * 9)
    with pytest.raises(DataError) as caught:
        read(file)
    assert str(file) in caught.value.message and caught.value.remedy


def test_an_empty_file_is_reported(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet", "a.arrow"):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_missing_files_and_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no file matches the pattern"):
        read(tmp_path / "*.csv")
    with pytest.raises(DataError, match="this is a folder") as caught:
        read(tmp_path)
    assert "*.csv" in str(caught.value.remedy)
    with pytest.raises(ConfigError, match="cannot be inferred"):
        (tmp_path / "a.data").touch()
        read(tmp_path / "a.data")


def test_a_missing_pyarrow_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "forebay.models.data.file_table")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as caught:
        open_source(str(tmp_path))
    assert "forebay[files]" in str(caught.value.remedy)


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
def test_a_pipe_is_read_once(monkeypatch: pytest.MonkeyPatch, file_format: TableFormat) -> None:
    data = b'{"x":1}\n{"x":2}\n' if file_format == "jsonl" else b"x\n1\n2\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    source = open_source("-", TableOptions(format=None if file_format == "jsonl" else file_format))
    assert pa.Table.from_batches(source.batches()).to_pydict() == {"x": [1, 2]}
    assert source.fraction() is None
    with pytest.raises(DataError, match="a pipe can be read only once"):
        next(source.batches())
