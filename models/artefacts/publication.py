"""Publish a version of a model: check that it reads back unchanged, and write it so that readers see all of it or nothing."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.draft_checks import check_parent
from forebay.models.artefacts.files import GOLDEN_FILE, FileEntry
from forebay.models.artefacts.golden import GoldenRows, dump_golden
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.manifest import Manifest, OutputKind, Provenance, default_outputs
from forebay.models.artefacts.ml_bom import BOM_FILE, bill_of_materials
from forebay.models.artefacts.model_card import CARD_FILE, model_card
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.progress import OnProgress, Progress
from forebay.models.artefacts.repository import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    check_name,
)
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.storage import sync_directory, write_synced
from forebay.schemas.errors import ModelError, StorageError

_MORE_DIGITS: Final = 48  # the final version number and the sizes of the descriptions may have more digits
_STORABLE: Final = "give what the message allows: an artefact holds nothing else"


@dataclass(frozen=True, slots=True)
class Draft:
    """A version before it is published: everything but its number and its golden rows.

    files: the backend's files, and others that only people and tools read. A model card and a bill of materials are added.
    outputs: None for logits or, for regression, values.
    architecture, params, calibration, threshold: as in `Manifest`.
    """

    name: str
    backend: str
    files: Mapping[str, bytes]
    signature: Signature
    preprocessing: Preprocessing
    provenance: Provenance
    outputs: OutputKind | None = None
    architecture: str = ""
    params: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    calibration: Calibration | None = None
    threshold: float | None = None

    def manifest(self, golden: GoldenRows) -> Manifest:
        """Return the manifest, with a provisional version number."""
        files = {**self.files, GOLDEN_FILE: dump_golden(golden)}
        parent = self.provenance.parent
        return Manifest(
            name=self.name,
            version=1 if parent is None else parent + 1,
            architecture=self.architecture,
            params=self.params,
            signature=self.signature,
            preprocessing=self.preprocessing,
            files={file: FileEntry.of(data) for file, data in files.items()},
            tolerance=golden.tolerance,
            provenance=self.provenance,
            outputs=default_outputs(self.signature.task) if self.outputs is None else self.outputs,
            backend=self.backend,
            calibration=self.calibration,
            threshold=self.threshold,
        )


def publish_version(
    repository: Path | str, draft: Draft, golden: GoldenRows, on_progress: OnProgress | None = None
) -> Path:
    """Publish the draft as the next version of its model; return the version's directory.

    It is written to a temporary directory, synced and renamed into place, so that readers see all of it or nothing, and
    processes that publish at the same time each get a version of their own. The repository is created if it is missing.
    Behind a URL the manifest is written last, because a version without one does not exist for readers; the returned
    directory is the copy of the version on this machine.

    golden: with outputs that are finite.
    on_progress: called while the files are written.

    Raises ModelError if the manifest would not read back unchanged or a file is too large; StorageError if the files cannot be
    written.
    """
    check_name(draft.name)
    check_parent(repository, draft.name, draft.provenance.parent)
    for file, max_bytes in BACKENDS[draft.backend].max_bytes.items():
        if len(draft.files[file]) > max_bytes:
            raise _error(
                f"model {draft.name!r}: {file} has {len(draft.files[file])} bytes; allowed are at most {max_bytes}",
                "too_large",
                "publish a smaller model",
            )
    if taken := {CARD_FILE, BOM_FILE} & draft.files.keys():
        raise _error(
            f"model {draft.name!r}: the files include {min(taken)}, which Forebay writes itself",
            "manifest",
            "name that file differently",
        )
    manifest = draft.manifest(golden)
    undescribed = dict.fromkeys((CARD_FILE, BOM_FILE), FileEntry.of(b""))
    _check_reads_back(replace(manifest, files={**manifest.files, **undescribed}), max_bytes=MAX_MANIFEST_BYTES)
    files = {**draft.files, GOLDEN_FILE: dump_golden(golden)}
    if not is_url(repository):
        return _write(local_folder(repository), manifest, files, on_progress)
    from forebay.models.artefacts.remote_publication import publish_remotely  # imports fsspec

    def prepare(version: int) -> tuple[Manifest, Mapping[str, bytes]]:
        described, descriptions = _describe(replace(manifest, version=version))
        return described, {**files, **descriptions}

    return publish_remotely(str(repository), draft.name, prepare, on_progress)


def _check_reads_back(manifest: Manifest, *, max_bytes: int) -> None:
    """Raise ModelError unless the manifest would be read back unchanged."""
    place = f"model {manifest.name!r}"
    stored = manifest.to_json()
    if len(stored) > max_bytes - _MORE_DIGITS:
        raise _error(
            f"{place}: the manifest has {len(stored)} bytes; allowed are at most {max_bytes}",
            "too_large",
            "shorten the note, the names of features and categories, or the reference statistics",
        )
    try:
        read = Manifest.from_json(stored, place)
    except ModelError as error:
        raise ModelError(error.message, kind=error.kind, remedy=_STORABLE) from None
    if _served(read) != _served(manifest):
        raise _error(
            f"{place}: the signature, the preprocessing or the calibration does not read back unchanged",
            "manifest",
            _STORABLE,
        )


def _served(manifest: Manifest) -> tuple[object, ...]:
    """Return the parts of a manifest that predictions depend on."""
    return manifest.signature, manifest.preprocessing, manifest.calibration, manifest.threshold


def _write(repository: Path, manifest: Manifest, files: Mapping[str, bytes], on_progress: OnProgress | None) -> Path:
    try:
        model_directory = repository / manifest.name
        model_directory.mkdir(parents=True, exist_ok=True)
        # On the repository's own disk, because a rename is atomic only there; hidden, so that it is not a
        # model's name.
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=repository) as scratch:
            staged = Path(scratch, "version")
            staged.mkdir()
            progress = Progress(str(model_directory), sum(map(len, files.values())), on_progress)
            for file, data in files.items():
                write_synced(staged / file, data, progress)
            return _publish(staged, model_directory, manifest)
    except OSError as error:
        raise StorageError(
            f"{error.filename or repository}: cannot write the model: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error


def _publish(staged: Path, model_directory: Path, manifest: Manifest) -> Path:
    while True:
        # Any entry whose name is a number counts as taken, even a stray file.
        taken = [int(entry) for entry in os.listdir(model_directory) if VERSION_NAME.fullmatch(entry)]
        version = max(taken, default=0) + 1
        described, descriptions = _describe(replace(manifest, version=version))
        for file, data in descriptions.items():
            write_synced(staged / file, data)
        write_synced(staged / MANIFEST_FILE, described.to_json())
        sync_directory(staged)
        target = model_directory / str(version)
        try:
            os.rename(staged, target)
        except OSError as error:
            # Another process has taken the number meanwhile: list the versions again.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        sync_directory(model_directory)
        sync_directory(model_directory.parent)
        return target


def _describe(manifest: Manifest) -> tuple[Manifest, Mapping[str, bytes]]:
    """Return the manifest with the entries of the model card and the bill of materials, and these two files."""
    files: dict[str, bytes] = {}
    for name, write in ((CARD_FILE, model_card), (BOM_FILE, bill_of_materials)):
        files[name] = write(manifest)
        manifest = replace(manifest, files={**manifest.files, name: FileEntry.of(files[name])})
    return manifest, files


def _error(message: str, kind: str, remedy: str) -> ModelError:
    return ModelError(message, kind=kind, remedy=remedy)
