"""Move an alias of a model to a version, with an entry in its history."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from forebay.models.artefacts.aliases import (
    ALIASES_FILE,
    MAX_ALIASES_BYTES,
    Aliases,
    AliasMove,
    check_alias,
    read_aliases,
)
from forebay.models.artefacts.argument_checks import describe
from forebay.models.artefacts.repository import find_version, list_versions
from forebay.models.artefacts.storage import sync_directory, write_synced
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
    other, so that the history has every move.

    version: a number or another alias; None to remove the alias.
    by: who moves it.
    at: a time with a time zone.

    Raises ModelError if there is no such version or alias, or an argument cannot be stored; StorageError if the file cannot
    be written.
    """
    repository = Path(repository)
    check_alias(alias)
    _check_texts(by=by, reason=reason)
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise _error(f"the time of the move is {describe(at)}", "give a time such as datetime.now(UTC)")
    list_versions(repository, name)
    directory = repository / name
    try:
        with _lock(directory):
            aliases = read_aliases(repository, name)
            before = aliases.versions.get(alias)
            if version is None and before is None:
                raise _error(f"{directory}: there is no alias {alias!r}", _listed(aliases))
            after = None if version is None else find_version(repository, name, version)[0]
            if before == after:
                return None
            move = AliasMove(at=at, by=by, alias=alias, before=before, after=after, reason=reason)
            _replace(directory, Aliases((*aliases.history, move)))
            return move
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


def _replace(directory: Path, aliases: Aliases) -> None:
    data = aliases.to_json()
    if len(data) > MAX_ALIASES_BYTES:
        raise _error(
            f"{directory / ALIASES_FILE}: the history would have {len(data)} bytes; allowed are at most {MAX_ALIASES_BYTES}",
            "move the file away to keep it, and set the aliases again",
        )
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
