"""Large models are read and written in parts, and each part is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.models.artefacts import progress, remote_store, storage
from forebay.models.artefacts.progress import Progress, in_chunks
from forebay.models.artefacts.remote_store import RemoteStore
from forebay.models.artefacts.storage import read_bounded, write_synced
from forebay.stream.cli.models_render import ByteBar

DATA = bytes(range(10))

Reports = list[tuple[str, int, int]]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (progress, remote_store, storage):
        monkeypatch.setattr(module, "CHUNK_BYTES", 4)


@pytest.fixture
def reports() -> Reports:
    return []


def progress_to(reports: Reports, place: str) -> Progress:
    return Progress(place, len(DATA), lambda *report: reports.append(report))


def test_data_is_divided_without_a_rest() -> None:
    assert [bytes(chunk) for chunk in in_chunks(DATA)] == [DATA[:4], DATA[4:8], DATA[8:]]
    assert list(in_chunks(b"")) == []


def test_a_file_is_written_and_read_in_parts(tmp_path: Path, reports: Reports) -> None:
    file = tmp_path / "file"
    write_synced(file, DATA, progress_to(reports, "written"))
    assert reports == [("written", 4, 10), ("written", 8, 10), ("written", 10, 10)]
    reports.clear()
    assert read_bounded(tmp_path, file, 10, lambda *report: reports.append(report)) == DATA
    assert reports == [(str(file), 4, 10), (str(file), 8, 10), (str(file), 10, 10)]


def test_a_file_is_uploaded_in_parts(reports: Reports) -> None:
    store = RemoteStore("memory://progress/models")
    try:
        store.write("m", "1", "file", data=DATA, progress=progress_to(reports, "uploaded"))
        assert store.read("m", "1", "file", max_bytes=10) == DATA
    finally:
        store.delete("m")
    assert reports == [("uploaded", 4, 10), ("uploaded", 8, 10), ("uploaded", 10, 10)]


def test_the_bar_shows_one_place_after_the_other_and_no_small_one() -> None:
    bar = ByteBar(disable=True)
    bar.show("small", 1, 999_999)
    assert bar.progress.tasks == []
    for place, num_bytes in (("[red]a", 1), ("[red]a", 2_000_000), ("b", 500_000)):
        bar.show(place, num_bytes, 2_000_000)
    (task,) = bar.progress.tasks
    assert (task.description, task.completed, task.percentage) == ("b", 500_000, 25.0)
