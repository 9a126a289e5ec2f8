"""The cache of parsed tables."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.models.data import file_table
from forebay.models.data.opening import open_cached
from forebay.models.data.table_cache import CachedTable, TableCache, tables_folder
from forebay.models.data.table_options import TableOptions

DATA = b"a,b\n" + b"1,x\n" * 1000


@pytest.fixture
def cache(tmp_path: Path) -> TableCache:
    return TableCache(tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files that are parsed from now on."""
    names: list[str] = []
    original = file_table._open_table

    def spy(file: object, *others: object) -> object:
        names.append(file.name)  # type: ignore[attr-defined]
        return original(file, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(file_table, "_open_table", spy)
    return names


def read(location: Path | str, cache: TableCache, options: TableOptions | None = None, rows: int = 300) -> pa.Table:
    return pa.Table.from_batches(open_cached(str(location), options, cache).batches(rows))


def entries(cache: TableCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def test_a_table_is_parsed_once(file: Path, cache: TableCache, opened: list[str]) -> None:
    first, second = read(file, cache), read(file, cache, rows=7)
    assert opened == ["a.csv"]
    assert first.equals(second) and first.num_rows == 1000
    assert [batch.num_rows for batch in first.to_batches()] == [300, 300, 300, 100]
    assert len(entries(cache)) == 1


def test_other_content_and_other_options_are_parsed_again(file: Path, cache: TableCache, opened: list[str]) -> None:
    read(file, cache)
    assert read(file, cache, TableOptions(columns=("b",))).column_names == ["b"]
    assert read(file, cache, TableOptions(types={"a": "float64"})).schema.field("a").type == pa.float64()
    status = file.stat()
    file.write_bytes(DATA.replace(b"1", b"2"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read(file, cache)["a"].to_pylist() == [2] * 1000, "found by content, not by time"
    assert len(opened) == 4
    read(file, cache, TableOptions(workers=2, prefetch=0))
    assert len(opened) == 4, "these options do not change the rows"


def test_skipped_rows_are_remembered(file: Path, cache: TableCache, opened: list[str]) -> None:
    file.write_bytes(DATA + b"1\n")
    for _ in range(2):
        table = open_cached(str(file), TableOptions(skip_invalid=True), cache)
        list(table.batches())
        assert table.skipped.count == 1 and table.skipped.first[0].place == f"{file}, line 1002"
        assert table.fraction() == 1 and table.name == str(file)
    assert opened == ["a.csv"]


@pytest.mark.parametrize("damage", ["changed", "cut", "no description", "wrong description", "no table"])
def test_a_damaged_entry_is_parsed_again(file: Path, cache: TableCache, opened: list[str], damage: str) -> None:
    expected = read(file, cache)
    (entry,) = entries(cache)
    table, description = entry / "table.arrow", entry / "table.json"
    data = bytearray(table.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 1
        table.write_bytes(data)
    elif damage == "cut":
        table.write_bytes(data[:-100])
    elif damage == "wrong description":
        description.write_text("[]")
    else:
        (table if damage == "no table" else description).unlink()
    assert read(file, cache).equals(expected) and read(file, cache).equals(expected)
    assert opened == ["a.csv"] * 2, "and is kept again"


def test_the_least_recently_used_entries_are_deleted(tmp_path: Path, cache: TableCache, opened: list[str]) -> None:
    files = [tmp_path / f"{name}.csv" for name in "abcd"]
    for number, path in enumerate(files):
        path.write_bytes(DATA.replace(b"x", b"%d" % number))
    for number, path in enumerate(files[:3]):
        before = set(entries(cache)) if number else set()
        read(path, cache)
        (entry,) = set(entries(cache)) - before
        os.utime(entry / "table.json", (number, number))
    size = sum((entry / "table.arrow").stat().st_size for entry in entries(cache))
    small = TableCache(cache.folder, max_bytes=size)
    read(files[0], small)  # used now, and b is the one that was not used for the longest time
    read(files[3], small)
    opened.clear()
    for path in (files[0], files[2], files[3]):
        read(path, small)
    assert opened == []
    read(files[1], small)
    assert opened == ["b.csv"]


def test_a_table_larger_than_the_cache_is_not_kept(file: Path, tmp_path: Path) -> None:
    cache = TableCache(tmp_path / "cache", max_bytes=100)
    assert read(file, cache).num_rows == 1000
    assert entries(cache) == []


def test_a_reading_that_ends_early_keeps_nothing(file: Path, cache: TableCache) -> None:
    batches = open_cached(str(file), None, cache).batches(10)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert entries(cache) == []


def test_a_file_that_changes_while_it_is_read_is_not_kept(file: Path, cache: TableCache) -> None:
    batches = open_cached(str(file), None, cache).batches(10)
    next(batches)
    file.write_bytes(DATA + b"2,y\n")
    list(batches)
    assert entries(cache) == []


def test_a_folder_that_cannot_be_written_does_not_prevent_reading(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert read(file, TableCache(tmp_path / "cache" / "tables")).num_rows == 1000


def test_only_text_is_kept(tmp_path: Path, cache: TableCache) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    table = open_cached(str(tmp_path / "a.parquet"), None, cache)
    assert isinstance(table, CachedTable) and pa.Table.from_batches(table.batches()).num_rows == 1
    assert not cache.folder.exists()


def test_a_url_without_a_version_is_not_kept(cache: TableCache) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/cache/a.csv", DATA)
    try:
        assert read("memory://cache/a.csv", cache).num_rows == 1000
        assert not cache.folder.exists()
    finally:
        memory.rm("/cache", recursive=True)


def test_the_folder_is_beside_that_of_the_models(tmp_path: Path) -> None:
    assert tables_folder({"FOREBAY_CACHE_DIR": str(tmp_path)}) == tmp_path / "tables"
