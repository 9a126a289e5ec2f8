"""Copies of versions from a repository behind a URL: `<cache>/<digest of the manifest>/<name>/<version>/`.

A copy is a repository with one version, so everything that reads folders reads it. It is written to a temporary directory,
verified while it is downloaded, and renamed, so that other processes see all of it or nothing.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.files import GOLDEN_FILE, MAX_GOLDEN_BYTES, MAX_OTHER_BYTES, FileEntry
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.progress import OnProgress, Progress
from forebay.models.artefacts.remote_store import RemoteStore
from forebay.models.artefacts.storage import COPY_AGAIN, sync_directory, write_synced
from forebay.models.artefacts.store import MANIFEST_FILE
from forebay.schemas.errors import ModelError, StorageError

CACHE_VARIABLE: Final = "FOREBAY_CACHE_DIR"
TEMPORARY_PREFIX: Final = ".fetch-"
LOCK_SUFFIX: Final = ".lock"

log = logging.getLogger("forebay.repository")


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder that holds the copies: in $FOREBAY_CACHE_DIR, or else in the user's cache.

    Raises StorageError if the user has no home folder.
    """
    if environ.get(CACHE_VARIABLE):
        return Path(environ[CACHE_VARIABLE]) / "models"
    # The XDG specification requires that a relative path is ignored.
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            raise StorageError(
                "this user has no home folder to keep copies of models in", remedy=f"set {CACHE_VARIABLE} to a folder"
            ) from None
    return base / "forebay" / "models"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A version behind a URL and the place of its copy.

    data: the bytes of its manifest.
    """

    store: RemoteStore
    manifest: Manifest
    data: bytes
    cache: Path

    @property
    def entry(self) -> Path:
        """The folder of the copy; a repository with this version only."""
        return self.cache / hashlib.sha256(self.data).hexdigest()

    @property
    def directory(self) -> Path:
        """The folder of the version in the copy."""
        return self.entry / self.manifest.name / str(self.manifest.version)

    @property
    def place(self) -> str:
        """The URL of the version."""
        return self.store.place(self.manifest.name, str(self.manifest.version))

    def is_cached(self) -> bool:
        """Return whether there is a copy. Whether its files are undamaged is checked when they are read."""
        return (self.directory / MANIFEST_FILE).is_file()

    def fetch(self, on_progress: OnProgress | None = None) -> None:
        """Download the version unless there is a copy.

        Raises ModelError if the repository cannot be read or its files are not as the manifest states; StorageError if the
        copy cannot be written.
        """
        if self.is_cached():
            return
        self._check_sizes()
        with _storage_errors(self.cache):
            self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Workers that start together download a model once; the others wait.
            with _lock(self.cache / f".{self.entry.name}{LOCK_SUFFIX}"):
                if not self.is_cached():
                    self._download(on_progress)

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Store a copy from files that are in memory because they have just been published. Raises StorageError."""
        with _storage_errors(self.cache):
            self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._new_copy() as folder:
                for file, data in files.items():
                    write_synced(folder / file, data)

    def discard(self) -> None:
        """Delete the copy, because it is damaged. Raises StorageError."""
        with (
            _storage_errors(self.cache),
            tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=self.cache) as scratch,
            suppress(FileNotFoundError),
        ):  # another process has deleted it
            os.rename(self.entry, Path(scratch, "damaged"))

    def _check_sizes(self) -> None:
        limits = {**BACKENDS[self.manifest.backend].max_bytes, GOLDEN_FILE: MAX_GOLDEN_BYTES}
        for file, entry in self.manifest.files.items():
            allowed = limits.get(file, MAX_OTHER_BYTES)
            if entry.num_bytes > allowed:
                raise ModelError(
                    f"{self.place}/{file}: the file has {entry.num_bytes} bytes; allowed are at most {allowed}",
                    kind="too_large",
                    remedy="publish a smaller model",
                )

    def _download(self, on_progress: OnProgress | None) -> None:
        total = sum(entry.num_bytes for entry in self.manifest.files.values())
        progress = Progress(self.place, total, on_progress)
        with self._new_copy() as folder:
            for file, entry in self.manifest.files.items():
                with open(folder / file, "xb") as target:
                    for chunk in self._verified_chunks(file, entry):
                        target.write(chunk)
                        progress.add(len(chunk))
                    target.flush()
                    os.fsync(target.fileno())
        log.info("downloaded %s: %d files, %d bytes", self.place, len(self.manifest.files), total)

    def _verified_chunks(self, file: str, entry: FileEntry) -> Iterator[bytes]:
        """Yield the content of a file, not a byte more than the manifest states; raise ModelError at the end if it differs."""
        digest, size = hashlib.sha256(), 0
        names = (self.manifest.name, str(self.manifest.version), file)
        for chunk in self.store.chunks(*names, max_bytes=entry.num_bytes + 1):
            size += len(chunk)
            if size > entry.num_bytes:
                break
            digest.update(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (entry.num_bytes, entry.sha256):
            found = f"sha256 {digest.hexdigest()} and {size} bytes"
            if size > entry.num_bytes:
                found = f"more than {entry.num_bytes} bytes"
            raise ModelError(
                f"{self.place}/{file}: the file has {found}, but {MANIFEST_FILE} states {entry.sha256} and "
                f"{entry.num_bytes}",
                kind="digest",
                remedy=COPY_AGAIN,
            )

    @contextmanager
    def _new_copy(self) -> Iterator[Path]:
        """Provide a folder for the files, and make it the copy afterwards, with the manifest."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=self.cache) as scratch:
            staged = Path(scratch, "entry")
            folder = staged / self.manifest.name / str(self.manifest.version)
            folder.mkdir(parents=True)
            yield folder
            write_synced(folder / MANIFEST_FILE, self.data)
            sync_directory(folder)
            try:
                os.rename(staged, self.entry)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if self.is_cached():  # by another process
                    return
                shutil.rmtree(self.entry)  # what is left of a copy
                os.rename(staged, self.entry)
            sync_directory(self.cache)


@contextmanager
def _storage_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or cache}: cannot keep a copy of the model: {error.strerror or error}",
            remedy=f"free disk space, or set {CACHE_VARIABLE} to a folder that can be written",
        ) from error


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with suppress(OSError):  # some network file systems have no locks: then each process downloads
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
