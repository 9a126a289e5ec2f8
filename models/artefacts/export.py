"""Export a version: as a folder or a zip file that is a repository with this version, or the model's file alone."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay.models.artefacts.artefact import StoredVersion, read_all_files
from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.repository import read_manifest_file
from forebay.models.artefacts.signing import read_signature_file
from forebay.models.artefacts.storage import write_synced
from forebay.models.artefacts.store import MANIFEST_FILE, SIGNATURE_FILE
from forebay.schemas.errors import ModelError, StorageError

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress

_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip file, so that the same version gives the same bytes."""


def export_version(stored: StoredVersion, target: Path, on_progress: OnProgress | None = None) -> str:
    """Write a verified version to `target`, which must not exist; return what was written: "folder", "zip" or the file's name.

    A name that ends with .zip becomes a zip file; one that ends like a file of the model's backend, such as .onnx, becomes a
    copy of that file; any other name becomes a folder. Folder and zip file hold `<name>/<version>/` with all files, and
    the signature if there is one.

    Raises ModelError if the version cannot be read or the target exists; StorageError if it cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise ModelError(f"{target}: this exists already", kind="export", remedy="give another path, or move it away")
    manifest = stored.manifest
    contents = read_all_files(stored, on_progress)
    data = read_manifest_file(stored.repository, manifest.name, manifest.version)[1]
    single = next((file for file in BACKENDS[manifest.backend].max_bytes if Path(file).suffix == target.suffix), None)
    inner = f"{manifest.name}/{manifest.version}"
    files = {f"{inner}/{file}": content for file, content in contents.items()} | {f"{inner}/{MANIFEST_FILE}": data}
    signature = read_signature_file(stored.repository, manifest.name, manifest.version)
    if signature is not None:
        files[f"{inner}/{SIGNATURE_FILE}"] = signature
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.absolute().parent) as scratch:
            staged = Path(scratch, "export")
            if target.suffix == ".zip":
                _write_zip(staged, files)
            elif single is not None and target.suffix:
                write_synced(staged, contents[single])
            else:
                _write_folder(staged, files)
            os.rename(staged, target)
    except OSError as error:
        raise StorageError(
            f"{error.filename or target}: cannot be written: {error.strerror or error}",
            remedy="check the path, its permissions and the free space",
        ) from error
    if target.suffix == ".zip":
        return "zip"
    return single if single is not None and target.suffix else "folder"


def _write_zip(file: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), data, zipfile.ZIP_DEFLATED)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_synced(folder / name, data)
