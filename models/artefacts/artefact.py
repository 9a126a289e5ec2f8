"""Models on disk: `<repository>/<name>/<version>/` with manifest.json and weights.safetensors.

Versions are whole numbers from 1 and never change. A version appears completely or not at all. Loading runs no
code from the files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from forebay.models.artefacts.architectures import Net
from forebay.models.artefacts.manifest import Manifest, check_fit, outline
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.repository import (
    COPY_AGAIN,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    check_name,
    find_version,
    read_bounded,
)
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.validation import check_arguments, check_read_back
from forebay.models.artefacts.weights import dump_weights, load_weights
from forebay.schemas.errors import ModelError, StorageError

WEIGHTS_FILE: Final = "weights.safetensors"
MAX_WEIGHTS_BYTES: Final = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A loaded model: its manifest, its net (in evaluation mode, on the CPU), and its directory."""

    manifest: Manifest
    net: Net
    directory: Path


def save_artefact(
    repository: Path | str,
    name: str,
    net: Net,
    *,
    signature: Signature,
    preprocessing: Preprocessing | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    created_at: datetime,
    note: str = "",
) -> Path:
    """Publish `net` as the next version of `name`; return the version's directory.

    A published version can be loaded and gives the same predictions: it is read back before it appears. It is written to a
    temporary directory, synced and renamed into place, so that readers see all of it or nothing, and processes that publish
    at the same time each get a version of their own. The repository is created if it is missing.

    net: a net made by `build_net`.
    preprocessing: None for the identity.

    Raises ModelError if an argument cannot be stored, the parts do not fit together or the weights are not finite float32;
    StorageError if the files cannot be written.
    """
    preprocessing = Preprocessing.identity() if preprocessing is None else preprocessing
    check_name(name)
    check_arguments(name, net, signature=signature, preprocessing=preprocessing, metrics=metrics, created_at=created_at)
    repository = Path(repository)
    check_fit(net, signature, preprocessing, f"model {name!r}")
    weights = dump_weights(name, net, MAX_WEIGHTS_BYTES)
    manifest = Manifest(
        name=name,
        version=1,
        architecture=net.architecture,
        params=net.params,
        signature=signature,
        preprocessing=preprocessing,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        weights_bytes=len(weights),
        metrics=metrics,
        created_at=created_at,
        note=note,
    )
    check_read_back(manifest, weights, net, max_manifest_bytes=MAX_MANIFEST_BYTES)
    try:
        model_directory = repository / name
        model_directory.mkdir(parents=True, exist_ok=True)
        # On the repository's own disk, because a rename is atomic only there; hidden, so that it is not a
        # model's name.
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=repository) as scratch:
            staged = Path(scratch, "version")
            staged.mkdir()
            _write_synced(staged / WEIGHTS_FILE, weights)
            return _publish(staged, model_directory, manifest)
    except OSError as error:
        raise StorageError(
            f"{error.filename or repository}: cannot write the model: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error


def load_artefact(
    repository: Path | str,
    name: str,
    version: int | None = None,
    *,
    max_weights_bytes: int = MAX_WEIGHTS_BYTES,
) -> Artefact:
    """Return a version of a model, loaded. version: None for the highest.

    Raises ModelError for every fault; it names the file, what is wrong with it and the remedy.
    """
    repository = Path(repository)
    version, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    manifest = Manifest.from_json(read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file))
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    return Artefact(manifest, _load_net(repository, directory, manifest, max_weights_bytes), directory)


def _publish(staged: Path, model_directory: Path, manifest: Manifest) -> Path:
    while True:
        # Any entry whose name is a number counts as taken, even a stray file.
        taken = [int(entry) for entry in os.listdir(model_directory) if VERSION_NAME.fullmatch(entry)]
        version = max(taken, default=0) + 1
        _write_synced(staged / MANIFEST_FILE, replace(manifest, version=version).to_json())
        _sync_directory(staged)
        target = model_directory / str(version)
        try:
            os.rename(staged, target)
        except OSError as error:
            # Another process has taken the number meanwhile: list the versions again.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        _sync_directory(model_directory)
        _sync_directory(model_directory.parent)
        return target


def _load_net(repository: Path, directory: Path, manifest: Manifest, max_weights_bytes: int) -> Net:
    place, file = str(directory / MANIFEST_FILE), directory / WEIGHTS_FILE
    try:
        net = outline(manifest.architecture, manifest.params)
    except ModelError as error:
        raise ModelError(f"{place}: {error.message}", kind=error.kind, remedy=error.remedy) from None
    check_fit(net, manifest.signature, manifest.preprocessing, place)
    # Read only once: the bytes whose digest is checked are the bytes that are loaded, even if the file changes meanwhile.
    data = read_bounded(repository, file, max_weights_bytes)
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.weights_sha256 or len(data) != manifest.weights_bytes:
        raise ModelError(
            f"{file}: the file has sha256 {digest} and {len(data)} bytes, "
            f"but {MANIFEST_FILE} states {manifest.weights_sha256} and {manifest.weights_bytes}",
            kind="digest",
            remedy=COPY_AGAIN,
        )
    return load_weights(net, data, str(file))


def _write_synced(file: Path, data: bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
