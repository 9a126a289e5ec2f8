"""Write to a repository behind a URL: publish a version, and change aliases.

A store has no rename that is atomic for a folder. So a number is claimed by a file that only one process can create, then the
files are written, and the manifest last: readers ignore a version without one.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from forebay.models.artefacts.aliases import ALIASES_FILE
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.progress import OnProgress, Progress
from forebay.models.artefacts.remote_store import RemoteStore
from forebay.models.artefacts.repository import MANIFEST_FILE, VERSION_NAME
from forebay.models.artefacts.version_cache import RemoteVersion, cache_folder
from forebay.schemas.errors import ModelError, StorageError

CLAIM_FILE: Final = "claim.json"
"""In the folder of a version while it is published. If it stays there without a manifest, the publication was abandoned."""
LOCK_FILE: Final = f"{ALIASES_FILE}.lock"

_MAX_CLAIM_BYTES: Final = 4096
_MAX_ATTEMPTS: Final = 50

Prepare = Callable[[int], tuple[Manifest, Mapping[str, bytes]]]
"""Returns the manifest and the files of a version with this number."""


def publish_remotely(url: str, name: str, prepare: Prepare, on_progress: OnProgress | None = None) -> Path:
    """Publish the next version of a model behind a URL; return the directory of its copy on this machine.

    Raises ModelError or StorageError, after deleting what was written.
    """
    store = RemoteStore(url)
    number = _claim_version(store, name)
    with _deleted_on_failure(store, name, number):
        manifest, files = prepare(number)
        version = _write(store, manifest, manifest.to_json(), files, on_progress=on_progress)
    _keep(version, files)
    return version.directory


def publish_copy(
    url: str,
    manifest: Manifest,
    data: bytes,
    files: Mapping[str, bytes],
    *,
    on_progress: OnProgress | None = None,
) -> None:
    """Publish a version behind a URL that was published elsewhere, under the same number.

    data: the bytes of the manifest.

    Raises ModelError if the number is taken, or StorageError, after deleting what was written.
    """
    store, name, number = RemoteStore(url), manifest.name, manifest.version
    if str(number) in store.taken_versions(name) or not _create_token(store, name, str(number), CLAIM_FILE):
        raise ModelError(
            f"{store.place(name, str(number))}: this version exists already, or is being published",
            kind="import",
            remedy="import into another repository; versions never change",
        )
    with _deleted_on_failure(store, name, number):
        version = _write(store, manifest, data, files, on_progress=on_progress)
    _keep(version, files)


@contextmanager
def _deleted_on_failure(store: RemoteStore, name: str, number: int) -> Iterator[None]:
    """Delete a version whose publication fails, and the claim of one that succeeds."""
    try:
        yield
    except BaseException:
        with suppress(StorageError):
            if not store.has_file(name, str(number), MANIFEST_FILE):
                store.delete(name, str(number))
        raise
    with suppress(StorageError):  # the version is published whatever becomes of the claim
        store.delete(name, str(number), CLAIM_FILE)


def _write(
    store: RemoteStore,
    manifest: Manifest,
    data: bytes,
    files: Mapping[str, bytes],
    *,
    on_progress: OnProgress | None,
) -> RemoteVersion:
    """Write the files of a version whose number is claimed, and the manifest last."""
    names = (manifest.name, str(manifest.version))
    cache = cache_folder(os.environ)
    progress = Progress(store.place(*names), sum(map(len, files.values())), on_progress)
    for file, content in files.items():
        store.write(*names, file, data=content, progress=progress)
    if not store.create(*names, MANIFEST_FILE, data=data):
        raise StorageError(
            f"{store.place(*names, MANIFEST_FILE)}: another process has written this file meanwhile",
            remedy="publish the model again",
        )
    return RemoteVersion(store, manifest, data, cache)


def _keep(version: RemoteVersion, files: Mapping[str, bytes]) -> None:
    try:
        version.keep(files)
    except StorageError as error:
        raise StorageError(f"{version.place} is published, but {error.message}", remedy=error.remedy) from error


@contextmanager
def aliases_lock(url: str, name: str) -> Iterator[RemoteStore]:
    """Keep other processes from changing the aliases of a model. Raises ModelError if one is at it."""
    store = RemoteStore(url)
    if not _create_token(store, name, LOCK_FILE):
        raise ModelError(
            f"{store.place(name, LOCK_FILE)}: another process is changing the aliases of this model",
            kind="alias",
            remedy="try again; if no process is changing aliases, because one was ended in the middle, delete this file",
        )
    try:
        yield store
    finally:
        store.delete(name, LOCK_FILE)


def _claim_version(store: RemoteStore, name: str) -> int:
    """Return the next number, which no other process can claim. Any entry whose name is a number counts as taken."""
    number = 0
    for _ in range(_MAX_ATTEMPTS):
        taken = [int(entry) for entry in store.taken_versions(name) if VERSION_NAME.fullmatch(entry)]
        number = max(number, *taken, 0) + 1
        if not _create_token(store, name, str(number), CLAIM_FILE):
            continue
        # Another process may have published this number, and deleted its claim, since the versions were listed.
        if not store.has_file(name, str(number), MANIFEST_FILE):
            return number
        store.delete(name, str(number), CLAIM_FILE)
    raise StorageError(
        f"{store.place(name)}: no version number could be claimed in {_MAX_ATTEMPTS} attempts; the last was {number}",
        remedy="check that the store lists what is written to it, and that no others publish all the time",
    )


def _create_token(store: RemoteStore, *names: str) -> bool:
    """Create a file with a random word and return whether it is ours.

    It is read again, because some stores replace a file that another process created at the same moment.
    """
    data = json.dumps({"by": secrets.token_hex(16)}).encode()
    return store.create(*names, data=data) and store.read(*names, max_bytes=_MAX_CLAIM_BYTES) == data
