"""Move an alias of a model to a version, with an entry in its history."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from forebay.models.artefacts.aliases import (
    ALIASES_FILE,
    MAX_ALIASES_BYTES,
    Aliases,
    AliasMove,
    VersionCopy,
    check_alias,
    read_aliases,
)
from forebay.models.artefacts.argument_checks import describe
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.repository import list_versions, resolve_version
from forebay.models.artefacts.storage import sync_directory, write_synced
from forebay.models.artefacts.store import open_store
from forebay.schemas.errors import ModelError, StorageError

_MAX_BY_CHARS: Final = 200
_MAX_REASON_CHARS: Final = 2000


def move_alias(
    repository: Path | str,
    name: str,
    alias: str,
    version: int | str | None,
    *,
    by: str,
    at: datetime,
    reason: str = "",
) -> AliasMove | None:
    """Move an alias to a version, and return the move; None if it is at that version already.

    The file with the aliases is replaced as a whole. Processes that move aliases of a model at the same time wait for each
    other, so that the history has every move. Behind a URL, a process that finds another one at it is refused and can try
    again.

    version: a number or another alias; None to remove the alias.
    by: who moves it.
    at: a time with a time zone.

    Raises ModelError if there is no such version or alias, or an argument cannot be stored; StorageError if the file cannot
    be written.
    """
    check_alias(alias)
    _check_texts(by=by, reason=reason)
    _check_time(at)
    list_versions(repository, name)
    place = open_store(repository).place(name)

    def move(aliases: Aliases) -> Aliases | None:
        before = aliases.versions.get(alias)
        if version is None and before is None:
            raise _error(f"{place}: there is no alias {alias!r}", _listed(aliases))
        after = None if version is None else resolve_version(repository, name, version)
        if before == after:
            return None
        moved = AliasMove(at=at, by=by, alias=alias, before=before, after=after, reason=reason)
        return replace(aliases, history=(*aliases.history, moved))

    changed = _change(repository, name, move)
    return None if changed is None else changed.history[-1]


def record_copy(
    repository: Path | str, name: str, version: int, source: Mapping[str, object], *, by: str, at: datetime
) -> None:
    """Write into the history of a model that a version was copied from a registry. Aliases stay where they are.

    source, by, at: as in `VersionCopy`.

    Raises like `move_alias`.
    """
    check_by(by)
    _check_time(at)
    copy = VersionCopy(at, by, resolve_version(repository, name, version), source)
    _change(repository, name, lambda aliases: replace(aliases, copies=(*aliases.copies, copy)))


def check_by(by: object) -> None:
    """Raise ModelError unless this can be stored as who moved an alias or copied a version."""
    _check_texts(by=by)


def _check_time(at: object) -> None:
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise _error(f"the time of the move is {describe(at)}", "give a time such as datetime.now(UTC)")


def _change(repository: Path | str, name: str, move: Callable[[Aliases], Aliases | None]) -> Aliases | None:
    """Change the aliases of a model while no other process does, and return them; None if `move` changes nothing."""
    with aliases_locked(repository, name) as write:
        aliases = move(read_aliases(repository, name))
        if aliases is not None:
            write(aliases)
        return aliases


@contextmanager
def aliases_locked(repository: Path | str, name: str) -> Iterator[Callable[[Aliases], None]]:
    """Keep other processes from moving the aliases of a model, and provide the function that writes them.

    Raises ModelError if another process is moving one behind the same URL; StorageError if the repository cannot be written.
    """
    if is_url(repository):
        from forebay.models.artefacts.remote_publication import aliases_lock  # imports fsspec

        with aliases_lock(str(repository), name) as store:
            place = store.place(name, ALIASES_FILE)
            yield lambda aliases: store.write(name, ALIASES_FILE, data=_encoded(aliases, place))
        return
    directory = local_folder(repository) / name
    try:
        with _lock(directory):
            yield lambda aliases: _replace(directory, aliases)
    except OSError as error:
        raise StorageError(
            f"{error.filename or directory}: cannot move the alias: {error.strerror or error}",
            remedy="check the repository's permissions and the free space",
        ) from error


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    # The directory itself is locked, so that no file is left over.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _encoded(aliases: Aliases, file: str) -> bytes:
    data = aliases.to_json()
    if len(data) > MAX_ALIASES_BYTES:
        raise _error(
            f"{file}: the history would have {len(data)} bytes; allowed are at most {MAX_ALIASES_BYTES}",
            "move the file away to keep it, and set the aliases again",
        )
    return data


def _replace(directory: Path, aliases: Aliases) -> None:
    data = _encoded(aliases, str(directory / ALIASES_FILE))
    with tempfile.TemporaryDirectory(prefix=".aliases-", dir=directory) as scratch:
        staged = Path(scratch, ALIASES_FILE)
        write_synced(staged, data)
        os.replace(staged, directory / ALIASES_FILE)
    sync_directory(directory)


def _check_texts(**texts: object) -> None:
    for key, value in texts.items():
        limit = _MAX_BY_CHARS if key == "by" else _MAX_REASON_CHARS
        is_text = isinstance(value, str) and len(value) <= limit and value.encode(errors="replace").decode() == value
        if not is_text or (key == "by" and not value):
            raise _error(
                f"{key} is {describe(value)}",
                f"give {'a text from 1' if key == 'by' else 'a text of 0'} to {limit} characters of valid Unicode",
            )


def _listed(aliases: Aliases) -> str:
    known = ", ".join(aliases.versions)
    return f"choose one of {known}" if known else "the model has no aliases"


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="alias", remedy=remedy)
