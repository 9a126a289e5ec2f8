"""Delete versions that are no longer needed, abandoned publications and old copies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.clean_up import (
    Rules,
    delete_versions,
    find_leftovers,
    find_old_copies,
    plan_versions,
)
from forebay.models.artefacts.repository import list_versions
from forebay.schemas.errors import ModelError
from tests.models.artefacts.remote import FOLDER, URL
from tests.models.build import CREATED_AT, publish

LATER = CREATED_AT + timedelta(days=40)
RULES = Rules(keep_newest=1, min_age=timedelta(days=30))


@pytest.fixture(params=["folder", "url"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, memory: MemoryFileSystem) -> Iterator[str]:
    """A model with six versions: 2 has an alias, 4 was made from 1, 5 is young, 6 is the newest."""
    at = str(tmp_path / "models") if request.param == "folder" else URL
    for more in ({}, {}, {}, {"parent": 1}, {"created_at": LATER - timedelta(days=3)}, {"parent": 4}):
        publish(at, **more)
    move_alias(at, "delays", "champion", 2, by="anna", at=CREATED_AT)
    yield at


def kept(repository: str, rules: Rules = RULES) -> dict[int, str]:
    return {plan.version: plan.kept for plan in plan_versions(repository, "delays", rules, LATER)}


def test_versions_in_use_are_kept_with_the_reason(repository: str) -> None:
    assert kept(repository) == {
        1: "parent of version 4",
        2: "alias champion",
        3: "",
        4: "parent of version 6",
        5: "younger than 30 days",
        6: "one of the newest 1",
    }


def test_only_what_the_rules_do_not_keep_is_deleted(repository: str) -> None:
    (deleted,) = delete_versions(repository, "delays", RULES, LATER)
    assert (deleted.name, deleted.version, deleted.created_at) == ("delays", 3, CREATED_AT)
    assert list_versions(repository, "delays") == [1, 2, 4, 5, 6]
    assert delete_versions(repository, "delays", RULES, LATER) == []


def test_parents_are_deleted_if_asked_for(repository: str) -> None:
    delete_versions(repository, "delays", Rules(1, timedelta(days=30), delete_parents=True), LATER)
    assert list_versions(repository, "delays") == [2, 5, 6]


def test_the_newest_is_always_kept(repository: str) -> None:
    delete_versions(repository, "delays", Rules(0, timedelta(0), delete_parents=True), LATER)
    assert list_versions(repository, "delays") == [2, 6]
    assert publish(repository).name == "7"


def test_a_version_with_a_damaged_manifest_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        folder = publish(tmp_path)
    (folder.parent / "1" / "manifest.json").write_text("{")
    assert kept(str(tmp_path))[1] == "its manifest cannot be read"


def test_nothing_is_deleted_while_an_alias_moves(memory: MemoryFileSystem) -> None:
    for _ in range(2):
        publish(URL)
    memory.pipe_file(f"{FOLDER}/delays/aliases.json.lock", b"")
    with pytest.raises(ModelError, match="another process is changing the aliases"):
        delete_versions(URL, "delays", RULES, LATER)
    assert list_versions(URL, "delays") == [1, 2]


def made(folder: Path, days_ago: int, now: datetime) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text("")
    moment = (now - timedelta(days=days_ago)).timestamp()
    os.utime(folder, (moment, moment))
    return folder


def test_publications_that_were_interrupted_are_found(tmp_path: Path) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    old = made(tmp_path / ".publish-old", 2, now)
    young = made(tmp_path / ".publish-young", 0, now)
    other = made(tmp_path / "other", 90, now)
    (leftover,) = find_leftovers(tmp_path, [], now)
    assert (leftover.what, leftover.place) == ("publication", str(old))
    leftover.delete()
    assert [path.exists() for path in (old, young, other)] == [False, True, True]


def test_versions_that_were_not_published_are_found_behind_a_url(memory: MemoryFileSystem) -> None:
    publish(URL)
    memory.pipe_file(f"{FOLDER}/delays/2/claim.json", b"{}")
    memory.pipe_file(f"{FOLDER}/delays/2/weights.safetensors", b"half")
    now = datetime.now(UTC)
    assert list(find_leftovers(URL, ["delays"], now)) == []  # it may still be going to be published
    (leftover,) = find_leftovers(URL, ["delays"], now + timedelta(days=2))
    assert leftover.place == f"{URL}/delays/2"
    leftover.delete()
    assert not memory.exists(f"{FOLDER}/delays/2") and list_versions(URL, "delays") == [1]


def test_old_copies_and_interrupted_downloads_are_found(tmp_path: Path) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    copy = made(tmp_path / ("a" * 64), 31, now)
    made(tmp_path / ("b" * 64), 29, now)
    download = made(tmp_path / ".fetch-x", 2, now)
    found = find_old_copies(tmp_path, timedelta(days=30), now)
    assert sorted(leftover.place for leftover in found) == sorted([str(copy), str(download)])
    assert list(find_old_copies(tmp_path / "missing", timedelta(0), now)) == []
