"""Models on disk: `<repository>/<name>/<version>/` with manifest.json and weights.safetensors.

Versions are whole numbers from 1 and never change. A version appears whole or not at all. Loading runs no
code from the files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

import safetensors
import safetensors.torch
import torch

from models.manifest import Manifest, check_fit, outline
from models.nets import Net
from models.preprocess import Preprocessing
from models.signature import Signature
from schemas.errors import ModelError, StorageError

MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "weights.safetensors"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
MAX_WEIGHTS_BYTES: Final = 4 * 1024 * 1024 * 1024

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_MOST_LISTED: Final = 10
_DAMAGED: Final = "copy the version again from where it was published, or publish the model again"


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A model as loaded: its manifest, its net (in evaluation mode, on the CPU), and where it lay."""

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
    """Publish `net` as the next version of `name`; gives the version's directory. No `preprocessing` is identity.

    It is written aside, synced and renamed into place, so readers see all of it or nothing, and of several
    that publish at once each gets a version of its own. The repository is made where it is missing. Raises
    ModelError where the parts do not fit together or the weights are not finite float32, StorageError where
    the disk refuses.
    """
    repository, preprocessing = Path(repository), preprocessing or Preprocessing.identity()
    _check_name(name)
    if created_at.tzinfo is None:
        raise ModelError("created_at has no time zone", kind="manifest", remedy="give a time with tzinfo, such as UTC")
    check_fit(net, signature, preprocessing, f"model {name!r}")
    weights = _dump_weights(name, net)
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
    try:
        model_directory = repository / name
        model_directory.mkdir(parents=True, exist_ok=True)
        # On the repository's own disk, because only there is a rename atomic; hidden, so that it is no
        # model's name.
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=repository) as scratch:
            staged = Path(scratch, "version")
            staged.mkdir()
            _write_synced(staged / WEIGHTS_FILE, weights)
            return _publish(staged, model_directory, manifest)
    except OSError as error:
        raise StorageError(
            f"{error.filename or repository}: the model cannot be written: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error


def load_artefact(
    repository: Path | str,
    name: str,
    version: int | None = None,
    *,
    max_weights_bytes: int = MAX_WEIGHTS_BYTES,
) -> Artefact:
    """Load a version of a model, or its highest where `version` is None.

    Raises ModelError, which names the file, what is wrong with it and the remedy, for every fault.
    """
    repository = Path(repository)
    _check_name(name)
    versions = list_versions(repository, name)
    if not versions:
        raise ModelError(
            f"{repository / name}: the model has no version yet",
            kind="version_not_found",
            remedy="publish one, and look that the repository was copied whole",
        )
    if version is None:
        version = versions[-1]
    elif version not in versions:
        raise ModelError(
            f"{repository / name}: there is no version {version}",
            kind="version_not_found",
            remedy=f"choose {_listed([str(each) for each in reversed(versions)])}, or none for the highest",
        )
    directory = repository / name / str(version)
    _check_contained(repository, directory)
    file = directory / MANIFEST_FILE
    manifest = Manifest.from_json(_read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file))
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    return Artefact(manifest, _load_net(repository, directory, manifest, max_weights_bytes), directory)


def list_models(repository: Path | str) -> list[str]:
    """The names of the models there, sorted. Raises ModelError where there is no such repository."""
    repository = Path(repository)
    if not repository.is_dir():
        raise ModelError(
            f"{repository}: there is no such model repository",
            kind="repository_not_found",
            remedy="check the repository's path (a relative one starts at the directory of the command)",
        )
    return sorted(entry for entry in _entries(repository) if _NAME.fullmatch(entry) and (repository / entry).is_dir())


def list_versions(repository: Path | str, name: str) -> list[int]:
    """The versions of a model, lowest first. Raises ModelError where there is no such repository or model."""
    repository = Path(repository)
    _check_name(name)
    models = list_models(repository)
    if name not in models:
        near = get_close_matches(name, models, n=1)
        choice = f"choose {_listed(models)}" if models else "publish a model there first"
        raise ModelError(
            f"{repository}: there is no model {name!r}",
            kind="model_not_found",
            remedy=f"did you mean {near[0]!r}? Otherwise {choice}" if near else choice,
        )
    directory = repository / name
    return sorted(int(entry) for entry in _entries(directory) if _is_version(directory, entry))


def _publish(staged: Path, model_directory: Path, manifest: Manifest) -> Path:
    while True:
        # Whatever has a number's name counts as taken, a stray file too.
        taken = [int(entry) for entry in os.listdir(model_directory) if _VERSION.fullmatch(entry)]
        version = max(taken, default=0) + 1
        _write_synced(staged / MANIFEST_FILE, replace(manifest, version=version).to_json())
        _sync_directory(staged)
        target = model_directory / str(version)
        try:
            os.rename(staged, target)
        except OSError as error:
            # Somebody else took the number after it was read: look again.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        _sync_directory(model_directory)
        _sync_directory(model_directory.parent)
        return target


def _dump_weights(name: str, net: Net) -> bytes:
    tensors = {key: value.detach().to("cpu").contiguous() for key, value in net.state_dict().items()}
    for key, value in tensors.items():
        if value.dtype != torch.float32 or not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"model {name!r}: the weights {key} are not all finite float32",
                kind="weights",
                remedy="train again with a lower learning rate, and publish a float32 net",
            )
    return safetensors.torch.save(tensors)


def _load_net(repository: Path, directory: Path, manifest: Manifest, max_weights_bytes: int) -> Net:
    place, file = str(directory / MANIFEST_FILE), directory / WEIGHTS_FILE
    try:
        net = outline(manifest.architecture, manifest.params)
    except ModelError as error:
        raise ModelError(f"{place}: {error.message}", kind=error.kind, remedy=error.remedy) from None
    check_fit(net, manifest.signature, manifest.preprocessing, place)
    # Read once: the bytes that were digested are those that are used, whatever happens to the file meanwhile.
    data = _read_bounded(repository, file, max_weights_bytes)
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.weights_sha256 or len(data) != manifest.weights_bytes:
        raise ModelError(
            f"{file}: the file has sha256 {digest} and {len(data)} bytes, "
            f"but {MANIFEST_FILE} states {manifest.weights_sha256} and {manifest.weights_bytes}",
            kind="digest",
            remedy=_DAMAGED,
        )
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: this is not a safetensors file: {error}", kind="weights", remedy=_DAMAGED) from None
    wanted = net.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [f"{key} is not expected" for key in tensors if key not in wanted]
    problems += [
        f"{key} is {_described(tensors[key])} instead of {_described(value)}"
        for key, value in wanted.items()
        if key in tensors and (tensors[key].shape != value.shape or tensors[key].dtype != value.dtype)
    ]
    if problems:
        raise ModelError(
            f"{file}: the weights are not those of the {manifest.architecture} in {MANIFEST_FILE}: "
            + "; ".join(problems[:_MOST_LISTED])
            + (f"; and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""),
            kind="weights",
            remedy="publish the model again, with the parameters that it was trained with",
        )
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False).eval()


def _described(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(
            f"the model's name is {name!r}",
            kind="name",
            remedy="use letters, digits, '.', '_' and '-', at most 128, not starting with a dot",
        )


def _is_version(directory: Path, entry: str) -> bool:
    return _VERSION.fullmatch(entry) is not None and (directory / entry).is_dir()


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise _unreadable(directory, error) from error


def _check_contained(repository: Path, path: Path) -> None:
    # Links may lead about within the repository (mounted volumes are made of them) but not out of it.
    if not path.resolve().is_relative_to(repository.resolve()):
        raise ModelError(
            f"{path}: this leads out of the repository, to {path.resolve()}",
            kind="path",
            remedy="copy the version into the repository instead of linking to it",
        )


def _read_bounded(repository: Path, file: Path, most_bytes: int) -> bytes:
    _check_contained(repository, file)
    try:
        # A named pipe in the file's place would otherwise be waited for without end.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{file}: this is not a regular file", kind="unreadable", remedy=_DAMAGED)
            # One more than allowed, in case the file grows after it was measured.
            data = b"" if status.st_size > most_bytes else stream.read(most_bytes + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if max(status.st_size, len(data)) > most_bytes:
        raise ModelError(
            f"{file}: the file has {max(status.st_size, len(data))} bytes; allowed are at most {most_bytes}",
            kind="too_large",
            remedy="publish a smaller model",
        )
    return data


def _unreadable(path: Path, error: OSError) -> ModelError:
    remedy = _DAMAGED if isinstance(error, FileNotFoundError) else "check the permissions of the repository"
    return ModelError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable", remedy=remedy)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_LISTED])
    return shown + (f" (and {len(names) - _MOST_LISTED} more)" if len(names) > _MOST_LISTED else "")


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
