"""A model repository on disk: which models and versions it holds, and the files of a version. Loads no net."""

from __future__ import annotations

import os
import re
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from forebay.models.artefacts.document import Table, decode_json
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError

MANIFEST_FILE: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
DAMAGED: Final = "copy the version again from where it was published, or publish the model again"

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
VERSION_NAME: Final = re.compile(r"[1-9][0-9]{0,8}")
_MOST_LISTED: Final = 10


def read_signature(repository: Path | str, name: str, version: int | None = None) -> Signature:
    """What a version of a model takes and gives, or its highest where `version` is None, without loading the model.

    Raises ModelError, which names the file, what is wrong with it and the remedy.
    """
    repository = Path(repository)
    _, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    table = Table(decode_json(read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file)), str(file))
    return Signature.read(table.table("signature"))


def find_version(repository: Path, name: str, version: int | None) -> tuple[int, Path]:
    """The number and the directory of a version, or of the highest where `version` is None. Raises ModelError."""
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
    check_contained(repository, directory)
    return version, directory


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
    check_name(name)
    models = list_models(repository)
    if name not in models:
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
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(
            f"the model's name is {name!r}",
            kind="name",
            remedy="use letters, digits, '.', '_' and '-', at most 128, not starting with a dot",
        )


def _is_version(directory: Path, entry: str) -> bool:
    return VERSION_NAME.fullmatch(entry) is not None and (directory / entry).is_dir()


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise unreadable(directory, error) from error


def check_contained(repository: Path, path: Path) -> None:
    # Links may lead about within the repository (mounted volumes are made of them) but not out of it.
    try:
        target = path.resolve()
    except (RuntimeError, OSError):  # before Python 3.13 a RuntimeError
        raise ModelError(f"{path}: this is a symbolic link that leads to itself", kind="path", remedy=DAMAGED) from None
    if not target.is_relative_to(repository.resolve()):
        raise ModelError(
            f"{path}: this leads out of the repository, to {target}",
            kind="path",
            remedy="copy the version into the repository instead of linking to it",
        )


def read_bounded(repository: Path, file: Path, most_bytes: int) -> bytes:
    check_contained(repository, file)
    try:
        # A named pipe in the file's place would otherwise be waited for without end.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{file}: this is not a regular file", kind="unreadable", remedy=DAMAGED)
            # One more than allowed, in case the file grows after it was measured.
            data = b"" if status.st_size > most_bytes else stream.read(most_bytes + 1)
    except OSError as error:
        raise unreadable(file, error) from error
    if max(status.st_size, len(data)) > most_bytes:
        raise ModelError(
            f"{file}: the file has {max(status.st_size, len(data))} bytes; allowed are at most {most_bytes}",
            kind="too_large",
            remedy="publish a smaller model",
        )
    return data


def unreadable(path: Path, error: OSError) -> ModelError:
    remedy = DAMAGED if isinstance(error, FileNotFoundError) else "check the permissions of the repository"
    return ModelError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable", remedy=remedy)


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_LISTED])
    return shown + (f" (and {len(names) - _MOST_LISTED} more)" if len(names) > _MOST_LISTED else "")
