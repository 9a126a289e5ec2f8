from __future__ import annotations

import errno
import os
import stat
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import forebay.models.artefacts.alias_moves
from forebay.models.artefacts.alias_moves import move_alias, record_copy
from forebay.models.artefacts.aliases import AliasMove, VersionCopy, read_aliases
from forebay.schemas.errors import ModelError, StorageError
from tests.models.build import CREATED_AT, publish


@pytest.fixture(autouse=True)
def repository(tmp_path: Path) -> Path:
    """A repository with two versions of a model."""
    publish(tmp_path)
    publish(tmp_path)
    return tmp_path


def move(repository: Path, alias: str = "champion", version: Any = 1, **more: Any) -> AliasMove | None:
    return move_alias(repository, "delays", alias, version, **({"by": "anna", "at": CREATED_AT} | more))


def test_every_move_is_in_the_history(repository: Path) -> None:
    first = move(repository, reason="the best one")
    assert first == AliasMove(CREATED_AT, "anna", "champion", before=None, after=1, reason="the best one")
    second = move(repository, version=2, by="bert")
    third = move(repository, alias="previous", version="champion")
    fourth = move(repository, version=None, reason="retired")
    assert fourth is not None and (fourth.before, fourth.after) == (2, None)
    aliases = read_aliases(repository, "delays")
    assert aliases.history == (first, second, third, fourth)
    assert dict(aliases.versions) == {"previous": 2}


def test_a_copy_from_a_registry_moves_no_alias(repository: Path) -> None:
    move(repository)
    source = {"uri": "models:/delays@champion", "resolved": "models:/delays/7"}
    record_copy(repository, "delays", 2, source, by="bert", at=CREATED_AT)
    aliases = read_aliases(repository, "delays")
    assert aliases.copies == (VersionCopy(CREATED_AT, "bert", 2, source),)
    assert aliases.copies[0].uri == "models:/delays@champion (models:/delays/7)"
    move(repository, version=2)
    assert read_aliases(repository, "delays").copies == aliases.copies and dict(aliases.versions) == {"champion": 1}
    with pytest.raises(ModelError, match="there is no version 9"):
        record_copy(repository, "delays", 9, source, by="bert", at=CREATED_AT)
    with pytest.raises(ModelError, match="by is ''"):
        record_copy(repository, "delays", 2, source, by="", at=CREATED_AT)


def test_a_move_to_where_the_alias_is_changes_nothing(repository: Path) -> None:
    move(repository)
    file = repository / "delays" / "aliases.json"
    before = file.read_bytes()
    assert move(repository, reason="again") is None
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"alias": "latest"}, "alias", "the alias is 'latest'"),
        ({"alias": "3"}, "alias", "the alias is '3'"),
        ({"alias": None}, "alias", "the alias is None"),
        ({"version": 3}, "version_not_found", "there is no version 3"),
        ({"version": "other"}, "alias", "there is no alias 'other'"),
        ({"version": None}, "alias", "there is no alias 'champion'"),
        ({"by": ""}, "alias", "by is ''"),
        ({"by": None}, "alias", "by is None"),
        ({"by": "x" * 201}, "alias", "by is 'xxx"),
        ({"reason": "\ud800"}, "alias", "reason is"),
        ({"at": datetime(2026, 1, 1)}, "alias", "the time of the move is"),
        ({"at": "now"}, "alias", "the time of the move is 'now'"),
    ],
)
def test_other_moves_are_refused(repository: Path, given: dict[str, Any], kind: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        move(repository, **given)
    assert caught.value.kind == kind and caught.value.remedy
    assert says in caught.value.message
    assert sorted(os.listdir(repository / "delays")) == ["1", "2"]


def test_an_unknown_model_is_refused(repository: Path) -> None:
    with pytest.raises(ModelError, match="there is no model 'other'"):
        move_alias(repository, "other", "champion", 1, by="anna", at=CREATED_AT)


def test_moves_at_the_same_time_are_all_in_the_history(repository: Path) -> None:
    barrier = threading.Barrier(6)

    def move_some(number: int) -> None:
        barrier.wait()
        for count in range(5):
            move(repository, f"alias-{number}", 1 + count % 2)

    threads = [threading.Thread(target=move_some, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    aliases = read_aliases(repository, "delays")
    assert len(aliases.history) == 30
    assert dict(aliases.versions) == {f"alias-{number}": 1 for number in range(6)}
    assert sorted(os.listdir(repository / "delays")) == ["1", "2", "aliases.json"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(repository)
    seen: list[dict[str, int]] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(dict(read_aliases(repository, "delays").versions))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    move(repository, version=2)
    assert seen == [{"champion": 1}, {"champion": 2}]


def test_a_failed_write_changes_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move(repository)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot move the alias: No space left on device") as caught:
        move(repository, version=2)
    assert caught.value.remedy
    assert dict(read_aliases(repository, "delays").versions) == {"champion": 1}
    assert sorted(os.listdir(repository / "delays")) == ["1", "2", "aliases.json"]


def test_other_users_may_read_the_file(repository: Path) -> None:
    previous = os.umask(0o022)
    try:
        move(repository)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((repository / "delays" / "aliases.json").stat().st_mode) == 0o644


def test_a_damaged_file_is_not_overwritten(repository: Path) -> None:
    file = repository / "delays" / "aliases.json"
    file.write_text("{")
    with pytest.raises(ModelError, match="not a JSON document"):
        move(repository)
    assert file.read_text() == "{"


def test_a_history_that_could_not_be_read_again_is_not_written(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(repository)
    monkeypatch.setattr(forebay.models.artefacts.alias_moves, "MAX_ALIASES_BYTES", 300)
    with pytest.raises(ModelError, match="the history would have"):
        move(repository, version=2)
    assert dict(read_aliases(repository, "delays").versions) == {"champion": 1}
