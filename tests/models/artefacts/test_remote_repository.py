"""Repositories behind URLs: reading, copies on this machine, publishing, aliases."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.files import FileEntry
from forebay.models.artefacts.remote_publication import CLAIM_FILE, LOCK_FILE
from forebay.models.artefacts.repository import list_models, list_versions, read_signature
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError, StorageError
from tests.models.build import make_net, make_signature, publish

URL = "memory://bucket/models"
FOLDER = "/bucket/models"
AT = datetime(2026, 11, 3, tzinfo=UTC)
ROWS = np.array([[0.5, -1.0, 2.0]], np.float32)


def publish_remotely(name: str = "delays", **more: Any) -> Path:
    return publish(URL, name, **more)


def load(version: int | str | None = None, url: str = URL) -> np.ndarray[Any, Any]:
    model = load_model(url, "delays", version, options=RunOptions("cpu"))
    return model.forward(model.prepare(ROWS)).values_BO


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


def refused(call: Callable[[], object], kind: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        call()
    assert caught.value.kind == kind, caught.value
    assert caught.value.remedy
    return caught.value


# ---- publishing


def test_a_version_behind_a_url_is_served_as_one_in_a_folder(memory: MemoryFileSystem, tmp_path: Path) -> None:
    local = publish(tmp_path / "local")
    copy = publish_remotely()
    assert sorted(memory.ls(f"{FOLDER}/delays/1", detail=False)) == sorted(
        f"{FOLDER}/delays/1/{file.name}" for file in local.iterdir()
    )
    for file in local.iterdir():
        assert memory.cat(f"{FOLDER}/delays/1/{file.name}") == file.read_bytes() == (copy / file.name).read_bytes()
    np.testing.assert_array_equal(load(), load(url=str(tmp_path / "local")))


def test_versions_are_numbered_and_listed(memory: MemoryFileSystem) -> None:
    publish_remotely()
    assert publish_remotely(parent=1, net=make_net(seed=1)).name == "2"
    publish_remotely("prices")
    assert list_models(URL) == ["delays", "prices"]
    assert list_versions(URL, "delays") == [1, 2]
    assert read_version(URL, "delays").manifest.version == 2
    assert read_signature(URL, "delays", 1) == make_signature(labels=("no", "yes"))
    refused(lambda: publish_remotely(parent=7), "version_not_found")


def test_a_version_without_a_manifest_does_not_exist_and_keeps_its_number(memory: MemoryFileSystem) -> None:
    publish_remotely()
    memory.pipe_file(f"{FOLDER}/delays/2/{CLAIM_FILE}", b"{}")
    memory.pipe_file(f"{FOLDER}/delays/2/weights.safetensors", b"half of a model")
    assert list_versions(URL, "delays") == [1]
    assert read_version(URL, "delays").manifest.version == 1
    assert publish_remotely().name == "3"
    error = refused(lambda: read_version(URL, "delays", 2), "version_not_found")
    assert error.remedy == "choose 3, 1, or none for the highest"
    assert memory.cat(f"{FOLDER}/delays/2/weights.safetensors") == b"half of a model"


def test_publishers_at_the_same_time_get_versions_of_their_own(tmp_path: Path) -> None:
    # local:// creates files exclusively, as S3 does; memory:// does not.
    url = f"local://{tmp_path}/models"
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda seed: publish(url, net=make_net(seed=seed)), range(6)))
    assert sorted(int(folder.name) for folder in folders) == [1, 2, 3, 4, 5, 6]
    for version in range(1, 7):
        load(version, url=url)  # its golden rows agree
    assert not list((tmp_path / "models").rglob(CLAIM_FILE))


def test_a_claim_that_another_process_has_replaced_is_given_up(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = MemoryFileSystem.open

    def open_file(self: Any, path: str, mode: str = "rb", **more: Any) -> Any:
        if mode == "rb" and path.endswith(f"/1/{CLAIM_FILE}"):
            memory.pipe_file(path, b"of another process")
        return written(self, path, mode, **more)

    monkeypatch.setattr(MemoryFileSystem, "open", open_file)
    assert publish_remotely().name == "2"
    assert memory.cat(f"{FOLDER}/delays/1/{CLAIM_FILE}") == b"of another process"


def test_a_store_in_which_no_number_can_be_claimed_is_reported(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_remotely()
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda self, path, **more: [])  # a listing that never changes
    with pytest.raises(StorageError, match="delays: no version number could be claimed in 50 attempts; the last was 1"):
        publish_remotely()


def test_a_publication_that_fails_leaves_nothing_that_readers_see(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_remotely()
    put = memory.pipe_file

    def fail(path: str, value: bytes, **more: Any) -> None:
        if path.endswith("golden.safetensors"):
            raise OSError(28, "No space left on device")
        put(path, value, **more)

    monkeypatch.setattr(memory, "pipe_file", fail)
    with pytest.raises(
        StorageError, match=r"memory://bucket/models/delays/2/golden.safetensors: cannot be written: No space"
    ):
        publish_remotely()
    assert not memory.exists(f"{FOLDER}/delays/2")
    monkeypatch.undo()
    assert list_versions(URL, "delays") == [1]


# ---- reading


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


def drop(cache: Path) -> None:
    """Delete all copies."""
    for entry in list(cache.iterdir()):
        entry.rename(cache.parent / f"dropped-{entry.name}")


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


# ---- aliases


def test_aliases_move_behind_a_url(memory: MemoryFileSystem) -> None:
    publish_remotely()
    publish_remotely()
    move_alias(URL, "delays", "champion", 1, by="anna", at=AT)
    move_alias(URL, "delays", "champion", 2, by="ben", at=AT, reason="better")
    assert move_alias(URL, "delays", "champion", 2, by="ben", at=AT) is None
    aliases = read_aliases(URL, "delays")
    assert (dict(aliases.versions), [move.by for move in aliases.history]) == ({"champion": 2}, ["anna", "ben"])
    assert read_version(URL, "delays", "champion").manifest.version == 2
    refused(lambda: move_alias(URL, "delays", "champion", 9, by="anna", at=AT), "version_not_found")
    assert not memory.exists(f"{FOLDER}/delays/{LOCK_FILE}")


def test_an_alias_is_not_moved_while_another_process_moves_one(memory: MemoryFileSystem) -> None:
    publish_remotely()
    memory.pipe_file(f"{FOLDER}/delays/{LOCK_FILE}", b"another")
    error = refused(lambda: move_alias(URL, "delays", "champion", 1, by="anna", at=AT), "alias")
    assert error.message == f"{URL}/delays/{LOCK_FILE}: another process is changing the aliases of this model"
    assert memory.cat(f"{FOLDER}/delays/{LOCK_FILE}") == b"another"
