"""A model repository, in a folder or behind a URL: its models and versions. Loads no net."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from forebay.models.artefacts.aliases import check_alias, read_aliases
from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.storage import check_contained
from forebay.models.artefacts.store import MANIFEST_FILE as MANIFEST_FILE
from forebay.models.artefacts.store import Store, open_store
from forebay.schemas.errors import ModelError

MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
VERSION_NAME: Final = re.compile(r"[1-9][0-9]{0,8}")
_MAX_LISTED: Final = 10


def read_signature(repository: Path | str, name: str, version: int | str | None = None) -> Signature:
    """Return the signature of a version of a model, without loading the model.

    version: a number, an alias, or None for the highest.

    Raises ModelError that names the file, what is wrong with it and the remedy.
    """
    data, file = read_manifest_file(repository, name, version)[1:]
    fields = JsonObject(decode_json(data, file), file)
    return Signature.read(fields.child("signature"))


def read_manifest_file(repository: Path | str, name: str, version: int | str | None = None) -> tuple[int, bytes, str]:
    """Return the number of a version, the bytes of its manifest, and the manifest's path or URL. Raises ModelError.

    version: a number, an alias, or None for the highest. Behind a URL, a number is read without listing the repository.
    """
    store = open_store(repository)
    if isinstance(version, int) and is_url(repository):
        check_name(name)
        try:
            data = store.read(name, str(version), MANIFEST_FILE, max_bytes=MAX_MANIFEST_BYTES)
        except ModelError as error:
            if error.kind != "unreadable":
                raise
            resolve_version(repository, name, version)  # raises a better error if there is no such version
            raise
        return version, data, store.place(name, str(version), MANIFEST_FILE)
    number = resolve_version(repository, name, version)
    names = (name, str(number), MANIFEST_FILE)
    return number, store.read(*names, max_bytes=MAX_MANIFEST_BYTES), store.place(*names)


def find_version(repository: Path, name: str, version: int | str | None) -> tuple[int, Path]:
    """Return the number and the directory of a version in a folder. Raises ModelError if it does not exist.

    version: a number, an alias, or None for the highest.
    """
    number = resolve_version(repository, name, version)
    directory = local_folder(repository) / name / str(number)
    check_contained(local_folder(repository), directory)
    return number, directory


def resolve_version(repository: Path | str, name: str, version: int | str | None) -> int:
    """Return the number of a version. Raises ModelError if it does not exist.

    version: a number, an alias, or None for the highest.
    """
    versions = list_versions(repository, name)
    place = open_store(repository).place(name)
    if not versions:
        raise ModelError(
            f"{place}: the model has no version yet",
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
            f"{place}: there is no version {version}{origin}",
            kind="version_not_found",
            remedy=f"choose {_one_of([str(number) for number in reversed(versions)])}",
        )
    return version


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
    store = open_store(repository)
    return [name for name in _model_folders(store) if _holds_model(store, name)]


def list_versions(repository: Path | str, name: str) -> list[int]:
    """Return the versions of a model, lowest first. Raises ModelError if the repository or the model does not exist."""
    check_name(name)
    store = open_store(repository)
    if name not in _model_folders(store):
        models = list_models(repository)
        near = get_close_matches(name, models, n=1)
        choice = f"choose {_one_of(models)}" if models else "publish a model there first"
        raise ModelError(
            f"{store.place()}: there is no model {name!r}",
            kind="model_not_found",
            remedy=f"did you mean {near[0]!r}? Otherwise {choice}" if near else choice,
        )
    return _version_numbers(store, name)


def check_name(name: str) -> None:
    """Raise ModelError unless this is a valid model name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(
            f"the model's name is {name!r}",
            kind="name",
            remedy="use letters, digits, '.', '_' and '-', at most 128, not starting with a dot",
        )


def _aliased_version(repository: Path | str, name: str, alias: str) -> int:
    check_alias(alias)
    versions = read_aliases(repository, name).versions
    if alias not in versions:
        near = get_close_matches(alias, versions, n=1)
        known = f"choose {_listed(list(versions))}" if versions else "the model has no aliases: give a version"
        raise ModelError(
            f"{open_store(repository).place(name)}: there is no alias {alias!r}",
            kind="alias",
            remedy=f"did you mean {near[0]!r}? Otherwise {known}" if near else known,
        )
    return versions[alias]


def _model_folders(store: Store) -> list[str]:
    return sorted(folder for folder in store.folders() if _NAME.fullmatch(folder))


def _holds_model(store: Store, name: str) -> bool:
    try:
        return any(store.has_file(name, str(version), MANIFEST_FILE) for version in _version_numbers(store, name))
    except (ModelError, OSError):  # not readable
        return False


def _version_numbers(store: Store, name: str) -> list[int]:
    return sorted(int(folder) for folder in store.versions(name) if VERSION_NAME.fullmatch(folder))


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return shown + (f" (and {len(names) - _MAX_LISTED} more)" if len(names) > _MAX_LISTED else "")
