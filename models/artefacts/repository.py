"""A model repository on disk: its models, versions and files. Loads no net."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from forebay.models.artefacts.aliases import check_alias, read_aliases
from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.storage import check_contained, read_bounded, unreadable
from forebay.schemas.errors import ModelError

MANIFEST_FILE: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
VERSION_NAME: Final = re.compile(r"[1-9][0-9]{0,8}")
_MAX_LISTED: Final = 10


def read_signature(repository: Path | str, name: str, version: int | str | None = None) -> Signature:
    """Return the signature of a version of a model, without loading the model.

    version: a number, an alias, or None for the highest.

    Raises ModelError that names the file, what is wrong with it and the remedy.
    """
    repository = Path(repository)
    _, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    fields = JsonObject(decode_json(read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file)), str(file))
    return Signature.read(fields.child("signature"))


def find_version(repository: Path, name: str, version: int | str | None) -> tuple[int, Path]:
    """Return the number and the directory of a version. Raises ModelError if it does not exist.

    version: a number, an alias, or None for the highest.
    """
    versions = list_versions(repository, name)
    if not versions:
        raise ModelError(
            f"{repository / name}: the model has no version yet",
            kind="version_not_found",
            remedy="publish a version, or check that the repository was copied completely",
        )
    alias = version if isinstance(version, str) else None
    if alias is not None:
        version = _aliased_version(repository, name, alias)
    if version is None:
        version = versions[-1]
    elif version not in versions:
        origin = "" if alias is None else f", where the alias {alias!r} leads"
        raise ModelError(
            f"{repository / name}: there is no version {version}{origin}",
            kind="version_not_found",
            remedy=f"choose {_listed([str(number) for number in reversed(versions)])}, or none for the highest",
        )
    directory = repository / name / str(version)
    check_contained(repository, directory)
    return version, directory


def split_reference(reference: str) -> tuple[str, int | str | None]:
    """Return the name and the version in `NAME`, `NAME@VERSION` or `NAME@ALIAS`. Raises ModelError for other texts.

    The version is None without one, which means the highest.
    """
    name, at, version = reference.partition("@")
    check_name(name)
    if not at:
        return name, None
    return name, int(version) if VERSION_NAME.fullmatch(version) else check_alias(version)


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


def _aliased_version(repository: Path, name: str, alias: str) -> int:
    check_alias(alias)
    versions = read_aliases(repository, name).versions
    if alias not in versions:
        near = get_close_matches(alias, versions, n=1)
        known = f"choose {_listed(list(versions))}" if versions else "the model has no aliases: give a version"
        raise ModelError(
            f"{repository / name}: there is no alias {alias!r}",
            kind="alias",
            remedy=f"did you mean {near[0]!r}? Otherwise {known}" if near else known,
        )
    return versions[alias]


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


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return shown + (f" (and {len(names) - _MAX_LISTED} more)" if len(names) > _MAX_LISTED else "")
