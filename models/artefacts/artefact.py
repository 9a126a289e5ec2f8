"""Read a version of a model: its manifest, the backend's files and golden rows, in a folder or behind a URL.

Reading verifies everything that the manifest states and interprets nothing but the manifest and the golden rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.files import GOLDEN_FILE, MAX_GOLDEN_BYTES, MAX_OTHER_BYTES, check_own_file, read_verified
from forebay.models.artefacts.golden import GoldenRows, load_golden
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.manifest import FORMAT, Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE, find_version, read_manifest_file
from forebay.schemas.errors import ModelError

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress
    from forebay.models.artefacts.version_cache import RemoteVersion

_DAMAGED: Final = frozenset({"digest", "path", "too_large", "unreadable"})
"""The kinds of the errors that a damaged copy of a version causes."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version whose manifest has been read, and nothing else.

    repository: its folder or URL.
    directory: the version's folder; for a version behind a URL, that of its copy on this machine, which need not exist yet.
    manifest_sha256: in hexadecimal digits.
    remote: the version behind a URL; None for one in a folder.
    """

    repository: Path | str
    directory: Path
    manifest: Manifest
    manifest_sha256: str
    remote: RemoteVersion | None = None

    @property
    def manifest_file(self) -> Path:
        return self.directory / MANIFEST_FILE

    @property
    def place(self) -> str:
        """The path or URL of the version, for messages."""
        return str(self.directory) if self.remote is None else self.remote.place


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A version with its files, which are as the manifest states.

    contents: the backend's files by name.
    golden: rows with the outputs that the model must give; None in format 1.
    """

    manifest: Manifest
    directory: Path
    contents: Mapping[str, bytes]
    golden: GoldenRows | None


def read_version(repository: Path | str, name: str, version: int | str | None = None) -> StoredVersion:
    """Read the manifest of a version.

    version: a number, an alias, or None for the highest.

    Raises ModelError that names the file, what is wrong with it and the remedy.
    """
    version, data, file = read_manifest_file(repository, name, version)
    manifest = Manifest.from_json(data, file)
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name[:128]} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    sha256 = hashlib.sha256(data).hexdigest()
    if not is_url(repository):
        folder = local_folder(repository)
        return StoredVersion(folder, find_version(folder, name, version)[1], manifest, sha256)
    from forebay.models.artefacts.remote_store import RemoteStore  # imports fsspec
    from forebay.models.artefacts.version_cache import RemoteVersion, cache_folder

    store = RemoteStore(str(repository))
    remote = RemoteVersion(store, manifest, data, cache_folder(os.environ))
    return StoredVersion(store.url, remote.directory, manifest, sha256, remote=remote)


def read_artefact(stored: StoredVersion, on_progress: OnProgress | None = None) -> Artefact:
    """Read the files of a version; all files that the manifest lists have the stated size and SHA-256.

    A version behind a URL is downloaded first, unless this machine has an undamaged copy.

    on_progress: called during a download.

    Raises ModelError that names the file, what is wrong with it and the remedy; StorageError if a download cannot be stored.
    """
    manifest = stored.manifest
    contents = _read_verified(stored, file_limits(manifest), on_progress)
    golden = None
    if manifest.tolerance is not None:
        place = f"{stored.place}/{GOLDEN_FILE}"
        golden = load_golden(contents.pop(GOLDEN_FILE), manifest.signature, manifest.tolerance, place)
    return Artefact(manifest, stored.directory, contents, golden)


def read_all_files(stored: StoredVersion, on_progress: OnProgress | None = None) -> dict[str, bytes]:
    """Return the content of every file that the manifest lists, after it was verified. Raises like `read_artefact`."""
    others = dict.fromkeys(stored.manifest.files, MAX_OTHER_BYTES)
    return _read_verified(stored, {**others, **file_limits(stored.manifest)}, on_progress)


def file_limits(manifest: Manifest) -> dict[str, int]:
    """Return how many bytes each of the files may have that a worker reads."""
    return {**BACKENDS[manifest.backend].max_bytes, GOLDEN_FILE: MAX_GOLDEN_BYTES}


def _read_verified(
    stored: StoredVersion, limits: Mapping[str, int], on_progress: OnProgress | None
) -> dict[str, bytes]:
    if stored.remote is None:
        return _read_files(stored, limits)
    stored.remote.fetch(on_progress)
    try:
        return _read_files(stored, limits)
    except ModelError as error:
        if error.kind not in _DAMAGED:
            raise
    stored.remote.discard()
    stored.remote.fetch(on_progress)
    return _read_files(stored, limits)


def _read_files(stored: StoredVersion, limits: Mapping[str, int]) -> dict[str, bytes]:
    manifest, directory = stored.manifest, stored.directory
    root = directory if isinstance(stored.repository, str) else stored.repository
    is_own = manifest.format == FORMAT
    if is_own:
        check_own_file(directory, stored.manifest_file)
    return read_verified(root, directory, manifest.files, is_own=is_own, limits=limits)
