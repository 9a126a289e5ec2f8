"""A model repository on disk: its models, versions and files. Loads no net."""

from __future__ import annotations

import os
import re
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError

MANIFEST_FILE: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
COPY_AGAIN: Final = "copy the version again from where it was published, or publish the model again"

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
VERSION_NAME: Final = re.compile(r"[1-9][0-9]{0,8}")
_MAX_LISTED: Final = 10


def read_signature(repository: Path | str, name: str, version: int | None = None) -> Signature:
    """Return the signature of a version of a model, without loading the model. version: None for the highest.

    Raises ModelError that names the file, what is wrong with it and the remedy.
    """
    repository = Path(repository)
    _, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    fields = JsonObject(decode_json(read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file)), str(file))
    return Signature.read(fields.child("signature"))


def find_version(repository: Path, name: str, version: int | None) -> tuple[int, Path]:
    """Return the number and the directory of a version. Raises ModelError if it does not exist.

    version: None for the highest.
    """
    versions = list_versions(repository, name)
    if not versions:
        raise ModelError(
            f"{repository / name}: the model has no version yet",
            kind="version_not_found",
            remedy="publish a version, or check that the repository was copied completely",
        )
    if version is None:
        version = versions[-1]
    elif version not in versions:
        raise ModelError(
            f"{repository / name}: there is no version {version}",
            kind="version_not_found",
            remedy=f"choose {_listed([str(number) for number in reversed(versions)])}, or none for the highest",
        )
    directory = repository / name / str(version)
    check_contained(repository, directory)
    return version, directory


def list_models(repository: Path | str) -> list[str]:
    """Return the names of the models in a repository, sorted: the directories that hold a version with a manifest.

    Raises ModelError if the repository does not exist.
    """
    repository = Path(repository)
    return [name for name in _directories(repository) if _holds_model(repository / name)]


def list_versions(repository: Path | str, name: str) -> list[int]:
    """Return the versions of a model, lowest first. Raises ModelError if the repository or the model does not exist."""
    repository = Path(repository)
    check_name(name)
    if name not in _directories(repository):
        models = list_models(repository)
        near = get_close_matches(name, models, n=1)
        choice = f"set model.name to {_one_of(models)}" if models else "publish a model there first"
        raise ModelError(
            f"{repository}: there is no model {name!r}",
            kind="model_not_found",
            remedy=f"did you mean {near[0]!r}? Otherwise {choice}" if near else choice,
        )
    directory = repository / name
    return sorted(int(entry) for entry in _entries(directory) if _is_version(directory, entry))


def check_name(name: str) -> None:
    """Raise ModelError unless this is a valid model name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(
            f"the model's name is {name!r}",
            kind="name",
            remedy="use letters, digits, '.', '_' and '-', at most 128, not starting with a dot",
        )


def _directories(repository: Path) -> list[str]:
    if not repository.is_dir():
        raise ModelError(
            f"{repository}: there is no such model repository",
            kind="repository_not_found",
            remedy="check the repository's path (a relative path starts at the working directory)",
        )
    return sorted(entry for entry in _entries(repository) if _NAME.fullmatch(entry) and (repository / entry).is_dir())


def _holds_model(directory: Path) -> bool:
    try:
        return any(
            _is_version(directory, entry) and (directory / entry / MANIFEST_FILE).is_file()
            for entry in _entries(directory)
        )
    except (ModelError, OSError):  # not readable
        return False


def _is_version(directory: Path, entry: str) -> bool:
    return VERSION_NAME.fullmatch(entry) is not None and (directory / entry).is_dir()


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise unreadable(directory, error) from error


def check_contained(folder: Path, path: Path, folder_name: str = "the repository") -> None:
    """Raise ModelError if a path leads out of a folder: the repository, or the folder of a version.

    Links within the folder are allowed: mounted volumes consist of them.

    folder_name: the folder in the message.
    """
    try:
        target = path.resolve()
    except (RuntimeError, OSError):  # before Python 3.13 a RuntimeError
        raise ModelError(f"{path}: this symbolic link leads to itself", kind="path", remedy=COPY_AGAIN) from None
    if not target.is_relative_to(folder.resolve()):
        raise ModelError(
            f"{path}: this path leads out of {folder_name}, to {target}",
            kind="path",
            remedy="copy the version into the repository instead of linking to it",
        )


def read_bounded(folder: Path, file: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file in the folder. Raises ModelError if it is larger or cannot be read."""
    check_contained(folder, file)
    try:
        # Non-blocking, because opening a named pipe in place of the file could wait forever.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{file}: this is not a regular file", kind="unreadable", remedy=COPY_AGAIN)
            # Read one byte more than allowed, in case the file has grown since its size was read.
            data = b"" if status.st_size > max_bytes else stream.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(file, error) from error
    if max(status.st_size, len(data)) > max_bytes:
        raise ModelError(
            f"{file}: the file has {max(status.st_size, len(data))} bytes; allowed are at most {max_bytes}",
            kind="too_large",
            remedy="publish a smaller model",
        )
    return data


def unreadable(path: Path, error: OSError) -> ModelError:
    """Return the error for a path that cannot be read."""
    remedy = COPY_AGAIN if isinstance(error, FileNotFoundError) else "check the permissions of the repository"
    return ModelError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable", remedy=remedy)


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return shown + (f" (and {len(names) - _MAX_LISTED} more)" if len(names) > _MAX_LISTED else "")
