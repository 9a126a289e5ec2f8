"""Read repositories behind URLs; copies on this machine."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.files import FileEntry
from forebay.models.artefacts.repository import list_models, list_versions
from forebay.schemas.errors import ModelError, StorageError
from tests.models.artefacts.remote import FOLDER, URL, drop, load, publish_remotely, refused
from tests.models.build import publish


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, memory: MemoryFileSystem) -> list[str]:
    """The paths of files that were opened for reading, and of folders that were listed (with a slash)."""
    found: list[str] = []
    opened, listed = MemoryFileSystem.open, MemoryFileSystem.ls

    def open_file(self: Any, path: str, mode: str = "rb", **more: Any) -> Any:
        if mode == "rb":
            found.append(path.removeprefix(f"{FOLDER}/"))
        return opened(self, path, mode, **more)

    def ls(self: Any, path: str, **more: Any) -> Any:
        found.append(f"{path}/".removeprefix(f"{FOLDER}/"))
        return listed(self, path, **more)

    # In the class: fsspec has an instance for each thread.
    monkeypatch.setattr(MemoryFileSystem, "open", open_file)
    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    return found


def test_a_pinned_version_with_a_copy_reads_only_the_manifest(reads: list[str], cache: Path) -> None:
    publish_remotely()
    for entry in cache.iterdir():
        entry.rename(cache.parent / entry.name)
    reads.clear()
    first = load(1)
    assert reads[0] == "delays/1/manifest.json" and "delays/1/weights.safetensors" in reads
    reads.clear()
    np.testing.assert_array_equal(load(1), first)
    assert reads == ["delays/1/manifest.json"]


def test_a_download_is_logged_once(caplog: pytest.LogCaptureFixture, memory: MemoryFileSystem, cache: Path) -> None:
    publish_remotely()
    drop(cache)
    with caplog.at_level(logging.INFO, "forebay.repository"):
        load()
        load()
    (record,) = [record for record in caplog.records if record.name == "forebay.repository"]
    assert record.getMessage().startswith("downloaded memory://bucket/models/delays/1: ")


def test_progress_is_reported(memory: MemoryFileSystem, cache: Path) -> None:
    publish_remotely()
    drop(cache)
    stored, seen = read_version(URL, "delays"), []
    read_artefact(stored, lambda place, done, total: seen.append((place, done, total)))
    total = sum(entry.num_bytes for entry in stored.manifest.files.values())
    assert seen[-1] == (f"{URL}/delays/1", total, total)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "linked"])
def test_a_damaged_copy_is_fetched_again(
    memory: MemoryFileSystem, reads: list[str], damage: str, tmp_path: Path
) -> None:
    folder = publish_remotely()
    expected, file = load(1), folder / "weights.safetensors"
    data = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncated":
        file.write_bytes(data[:10])
    elif damage == "linked":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    reads.clear()
    np.testing.assert_array_equal(load(1), expected)
    assert "delays/1/weights.safetensors" in reads
    assert file.read_bytes() == data and not file.is_symlink()


@pytest.mark.parametrize("damage", ["changed", "longer", "shorter"])
def test_a_file_that_differs_from_the_manifest_is_not_kept(memory: MemoryFileSystem, cache: Path, damage: str) -> None:
    publish_remotely()
    drop(cache)
    path = f"{FOLDER}/delays/1/weights.safetensors"
    data: bytes = memory.cat(path)
    memory.pipe_file(
        path, {"changed": data[:-1] + b"\xff", "longer": data + b"more" * 1000, "shorter": data[:-1]}[damage]
    )
    error = refused(lambda: load(1), "digest")
    assert error.message.startswith(f"{URL}/delays/1/weights.safetensors: the file has ")
    assert [entry.name for entry in cache.iterdir() if not entry.name.endswith(".lock")] == []


def test_no_more_is_downloaded_than_the_manifest_states(memory: MemoryFileSystem, cache: Path) -> None:
    publish_remotely()
    drop(cache)
    edit_manifest(memory, lambda document: document["files"]["weights.safetensors"].update(bytes=5 << 30))
    error = refused(lambda: load(1), "too_large")
    assert "has 5368709120 bytes; allowed are at most" in error.message
    assert not cache.exists() or list(cache.iterdir()) == []
    memory.pipe_file(f"{FOLDER}/delays/1/manifest.json", b" " * (16 * 1024 * 1024 + 1))
    refused(lambda: load(1), "too_large")


def edit_manifest(memory: MemoryFileSystem, edit: Callable[[Any], object]) -> None:
    path = f"{FOLDER}/delays/1/manifest.json"
    document = json.loads(memory.cat(path))
    edit(document)
    memory.pipe_file(path, json.dumps(document).encode())


@pytest.mark.parametrize("file", ["../../../outside", "/outside", "a/b", "..", ".hidden", "a\\..\\b\x00"])
def test_names_in_a_manifest_do_not_leave_the_copy(
    memory: MemoryFileSystem, cache: Path, tmp_path: Path, file: str
) -> None:
    publish_remotely()
    drop(cache)
    before = sorted(tmp_path.rglob("*"))
    edit_manifest(memory, lambda document: document["files"].update({file: FileEntry.of(b"x").to_dict()}))
    refused(lambda: load(1), "manifest")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_manifest_of_another_model_is_refused(memory: MemoryFileSystem) -> None:
    publish_remotely()
    edit_manifest(memory, lambda document: document.update(name="../../outside"))
    error = refused(lambda: load(1), "manifest")
    assert error.message == f"{URL}/delays/1/manifest.json: this is the manifest of ../../outside version 1"


def test_names_that_a_store_invents_are_ignored(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_remotely()
    listed = memory.ls

    def ls(path: str, detail: bool = True, **more: Any) -> Any:
        names = ["..", "/etc/..", "../../9", "8/../../x", "", "0", "7 ", "1e3", ".publish-1", "9" * 500]
        lies = [{"name": f"{path}/{name}", "type": "directory", "size": 0} for name in names]
        found = listed(path, detail=True, **more) + lies + [{"type": "directory"}]
        return found if detail else [entry["name"] for entry in found if "name" in entry]

    monkeypatch.setattr(memory, "ls", ls)
    monkeypatch.setattr(
        memory, "find", lambda path, **more: ["/etc/9/manifest.json", f"{FOLDER}/delays/1/manifest.json"]
    )
    assert list_versions(URL, "delays") == [1]
    assert read_version(URL, "delays").manifest.version == 1


def test_processes_that_start_together_download_once(reads: list[str], cache: Path) -> None:
    publish_remotely()
    drop(cache)
    reads.clear()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(load, [1] * 4))
    assert all(np.array_equal(result, results[0]) for result in results)
    assert reads.count("delays/1/weights.safetensors") == 1


def test_a_copy_that_cannot_be_written_is_reported(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish_remotely()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot keep a copy of the model: Not a directory") as caught:
        load(1)
    assert "FOREBAY_CACHE_DIR" in str(caught.value.remedy)
    with pytest.raises(StorageError, match="delays/2 is published, but"):
        publish_remotely()


# ---- faults of stores and URLs


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (PermissionError(13, "Access Denied"), "cannot be read: Access Denied"),
        (TimeoutError(), "cannot be read: TimeoutError"),
        (RuntimeError("no credentials"), "cannot be read: no credentials"),
    ],
    ids=["permission", "time", "credentials"],
)
def test_faults_of_a_store_name_the_url(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, fault: Exception, found: str
) -> None:
    publish_remotely()

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(memory, "ls", fail)
    monkeypatch.setattr(memory, "open", fail)
    for call in (lambda: list_models(URL), lambda: load(), lambda: load(1)):
        error = refused(call, "unreadable")
        assert error.message.startswith(URL) and found in error.message


def test_a_missing_repository_model_or_version_is_reported(memory: MemoryFileSystem) -> None:
    refused(lambda: list_models("memory://elsewhere/models"), "repository_not_found")
    publish_remotely()
    assert "did you mean 'delays'?" in str(refused(lambda: read_version(URL, "delay"), "model_not_found").remedy)
    assert refused(lambda: load(4), "version_not_found").message == f"{URL}/delays: there is no version 4"
    refused(lambda: load("champion"), "alias")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://bucket/models", "cannot be opened"),
        ("memory://bucket/../models", "not the URL of a model repository"),
        ("s3://", "not the URL of a model repository"),
        ("ftp://user:secret@host/models", "holds a login"),
        ("file://otherhost/models", "names the host 'otherhost'"),
    ],
)
def test_wrong_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        list_models(url)
    assert message in caught.value.message and caught.value.remedy
    assert "secret" not in caught.value.message


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    error = refused(lambda: list_models("gs://bucket/models"), "repository")
    assert error.remedy == "pip install 'forebay[gcs]'"


def test_file_urls_are_folders(tmp_path: Path, cache: Path) -> None:
    publish(tmp_path / "with space")
    assert list_models((tmp_path / "with space").as_uri()) == ["delays"]
    load(url=(tmp_path / "with space").as_uri())
    assert not cache.exists()


def test_a_slash_at_the_end_of_a_url_changes_nothing(memory: MemoryFileSystem) -> None:
    publish_remotely()
    stored = read_version(f"{URL}/", "delays")
    assert (stored.repository, stored.place) == (URL, f"{URL}/delays/1")


def test_a_local_repository_does_not_import_fsspec(tmp_path: Path) -> None:
    publish(tmp_path)
    script = (
        "import sys; from forebay.models.artefacts.artefact import read_artefact, read_version; "
        "read_artefact(read_version(sys.argv[1], 'delays')); print('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
