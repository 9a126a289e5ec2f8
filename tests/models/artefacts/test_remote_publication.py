"""Publish to repositories behind URLs, and move aliases there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.remote_publication import CLAIM_FILE, LOCK_FILE
from forebay.models.artefacts.repository import list_models, list_versions, read_signature
from forebay.schemas.errors import StorageError
from tests.models.artefacts.remote import AT, FOLDER, URL, load, publish_remotely, refused
from tests.models.build import make_net, make_signature, publish


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
    assert error.remedy == "choose one of 3, 1"
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


def test_a_version_that_appears_after_the_listing_is_not_overwritten(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_remotely()
    before = {path: memory.cat(path) for path in memory.find(f"{FOLDER}/delays/1")}
    with monkeypatch.context() as stale:
        stale.setattr(MemoryFileSystem, "ls", lambda self, path, **more: [])
        assert publish_remotely(net=make_net(seed=1)).name == "2"
    assert {path: memory.cat(path) for path in memory.find(f"{FOLDER}/delays/1")} == before


def test_a_store_in_which_no_number_can_be_claimed_is_reported(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "exists", lambda self, path, **more: True)
    with pytest.raises(
        StorageError, match="delays: no version number could be claimed in 50 attempts; the last was 50"
    ):
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
