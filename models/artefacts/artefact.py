"""Read a version of a model: `<repository>/<name>/<version>/` with a manifest, the backend's files and golden rows.

Reading verifies everything that the manifest states and interprets nothing but the manifest and the golden rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.files import GOLDEN_FILE, MAX_GOLDEN_BYTES, check_own_file, read_verified
from forebay.models.artefacts.golden import GoldenRows, load_golden
from forebay.models.artefacts.manifest import FORMAT, Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE, MAX_MANIFEST_BYTES, find_version
from forebay.models.artefacts.storage import read_bounded
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version whose manifest has been read, and nothing else.

    manifest_sha256: in hexadecimal digits.
    """

    repository: Path
    directory: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def manifest_file(self) -> Path:
        return self.directory / MANIFEST_FILE


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
    repository = Path(repository)
    version, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    data = read_bounded(repository, file, MAX_MANIFEST_BYTES)
    manifest = Manifest.from_json(data, str(file))
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name[:128]} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    return StoredVersion(repository, directory, manifest, hashlib.sha256(data).hexdigest())


def read_artefact(stored: StoredVersion) -> Artefact:
    """Read the files of a version; all files that the manifest lists have the stated size and SHA-256.

    Raises ModelError that names the file, what is wrong with it and the remedy.
    """
    manifest, directory = stored.manifest, stored.directory
    is_own = manifest.format == FORMAT
    if is_own:
        check_own_file(directory, stored.manifest_file)
    limits = {**BACKENDS[manifest.backend].max_bytes, GOLDEN_FILE: MAX_GOLDEN_BYTES}
    contents = read_verified(stored.repository, directory, manifest.files, is_own=is_own, limits=limits)
    golden = None
    if manifest.tolerance is not None:
        place = str(directory / GOLDEN_FILE)
        golden = load_golden(contents.pop(GOLDEN_FILE), manifest.signature, manifest.tolerance, place)
    return Artefact(manifest, directory, contents, golden)
