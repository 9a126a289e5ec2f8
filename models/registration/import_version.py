"""Import a version that was exported elsewhere: checked as a worker checks it, with its name, number and digests."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from forebay.models.artefacts.artefact import file_limits, read_version
from forebay.models.artefacts.files import MAX_OTHER_BYTES
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.progress import OnProgress
from forebay.models.artefacts.repository import MANIFEST_FILE, MAX_MANIFEST_BYTES, list_versions
from forebay.models.artefacts.signed_bundle import MAX_BUNDLE_BYTES
from forebay.models.artefacts.storage import sync_directory, write_synced
from forebay.models.artefacts.store import SIGNATURE_FILE, open_store
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.import_source import EXPORT_AGAIN, ImportSource, open_source
from forebay.models.serving.load_gate import load_version
from forebay.schemas.errors import ModelError, StorageError


@dataclass(frozen=True, slots=True)
class ImportedVersion:
    """A version that was imported. num_golden_rows: how many rows gave the answers that they gave where it was published."""

    name: str
    version: int
    backend: str
    manifest_sha256: str
    num_golden_rows: int


def import_version(
    path: Path,
    repository: Path | str,
    *,
    chosen: tuple[str, int] | None = None,
    trust: TrustPolicy = TRUST_NOTHING,
    on_progress: OnProgress | None = None,
) -> ImportedVersion:
    """Copy a version from an exported folder or zip file into a repository, under the same name and number.

    It is loaded as a worker loads it before anything is written to the repository: sizes, digests, trust policy, backend and
    golden rows. The manifest is copied byte by byte, so that its digest stays the same, and so is a signature.

    chosen: name and number of the version, if there are several.
    trust: a version with code of its own is imported only if this allows its manifest, or the repository.
    on_progress: called while large files are read and written.

    Raises ModelError if it cannot be served or the repository has the version already; StorageError if it cannot be written.
    """
    with open_source(path, on_progress) as source:
        name, version = _choose(path, source, chosen)
        _check_free(repository, name, version)
        inner = f"{name}/{version}"
        data = source.read(f"{inner}/{MANIFEST_FILE}", MAX_MANIFEST_BYTES)
        manifest = Manifest.from_json(data, f"{path}: {inner}/{MANIFEST_FILE}")
        files = _read_files(source, manifest, inner)
        inner_signature = f"{inner}/{SIGNATURE_FILE}"
        signature = source.read(inner_signature, MAX_BUNDLE_BYTES) if source.has_file(inner_signature) else None
    sha256 = hashlib.sha256(data).hexdigest()
    # The policy decides about where the version will be, not about where it is checked.
    trust.admit(
        manifest,
        repository=str(repository),
        manifest_sha256=sha256,
        place=f"{path}: {inner}/{MANIFEST_FILE}",
        read_signature=lambda: signature,
    )
    if signature is not None:
        files[SIGNATURE_FILE] = signature
    # The policy has admitted the manifest; where it is checked is another repository.
    trusted = TrustPolicy(manifests=frozenset({sha256}), modules=trust.modules)
    try:
        with tempfile.TemporaryDirectory(prefix=".import-", dir=_scratch_parent(repository)) as scratch:
            staged = Path(scratch, inner)
            staged.mkdir(parents=True)
            for file, content in {**files, MANIFEST_FILE: data}.items():
                write_synced(staged / file, content)
            sync_directory(staged)
            served = _load(path, Path(scratch), manifest, trust=trusted)
            if is_url(repository):
                from forebay.models.artefacts.remote_publication import publish_copy  # imports fsspec

                publish_copy(str(repository), manifest, data, files, on_progress=on_progress)
            else:
                _move(staged, local_folder(repository), name, version)
    except OSError as error:
        raise StorageError(
            f"{error.filename or repository}: cannot write the model: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error
    return ImportedVersion(name, version, manifest.backend, sha256, num_golden_rows=served)


def _choose(path: Path, source: ImportSource, chosen: tuple[str, int] | None) -> tuple[str, int]:
    versions = source.versions()
    listed = ", ".join(f"{name}@{version}" for name, version in versions[:10])
    if chosen is not None and chosen in versions:
        return chosen
    if chosen is not None:
        raise _error(
            f"{path}: there is no version {chosen[0]}@{chosen[1]}", f"choose {listed}" if listed else EXPORT_AGAIN
        )
    if not versions:
        raise _error(f"{path}: there is no <name>/<version>/{MANIFEST_FILE}", EXPORT_AGAIN)
    if len(versions) > 1:
        raise _error(f"{path}: there are {len(versions)} versions: {listed}", "name the one to import, as NAME@VERSION")
    return versions[0]


def _check_free(repository: Path | str, name: str, version: int) -> None:
    try:
        versions = list_versions(repository, name)
    except ModelError as error:
        if error.kind not in ("repository_not_found", "model_not_found"):
            raise
        return
    if version in versions:
        raise _taken(open_store(repository).place(name, str(version)))


def _read_files(source: ImportSource, manifest: Manifest, inner: str) -> dict[str, bytes]:
    """Return the listed files. Their digests are verified when the version is loaded, from these bytes."""
    limits = file_limits(manifest)
    return {file: source.read(f"{inner}/{file}", limits.get(file, MAX_OTHER_BYTES)) for file in manifest.files}


def _load(path: Path, scratch: Path, manifest: Manifest, *, trust: TrustPolicy) -> int:
    """Load the staged version as a worker does; return the number of its golden rows. The messages name the source."""
    try:
        stored = read_version(scratch, manifest.name, manifest.version)
        return load_version(stored, options=RunOptions(), trust=trust).num_golden_rows
    except ModelError as error:
        message = error.message.replace(f"{scratch}/", f"{path}: ").replace(f"{scratch.resolve()}/", f"{path}: ")
        raise ModelError(message, kind=error.kind, remedy=error.remedy) from None


def _scratch_parent(repository: Path | str) -> Path | None:
    """Return the folder in which a version is staged: on the disk of the repository, where a rename is atomic."""
    if is_url(repository):
        return None
    folder = local_folder(repository)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move(staged: Path, repository: Path, name: str, version: int) -> None:
    folder = repository / name
    folder.mkdir(exist_ok=True)
    target = folder / str(version)
    if target.exists() or target.is_symlink():
        raise _taken(str(target))
    try:
        os.rename(staged, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise _taken(str(target)) from None
        raise
    sync_directory(folder)
    sync_directory(repository)


def _taken(place: str) -> ModelError:
    return _error(
        f"{place}: this version exists already, and versions never change",
        "import into another repository, or delete the version with `forebay models gc` if it is not needed",
    )


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="import", remedy=remedy)
