"""Find and delete versions that are no longer needed, and what publications and downloads left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal

from forebay.models.artefacts.alias_moves import aliases_locked
from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import VERSION_NAME, list_versions, read_manifest_file
from forebay.schemas.errors import ModelError, StorageError

ABANDONED_AFTER: Final = timedelta(days=1)
"""A publication or download that has not ended by then was interrupted."""

_TEMPORARY: Final = (".publish-", ".delete-", ".fetch-")


@dataclass(frozen=True, slots=True)
class Rules:
    """Which versions are kept.

    keep_newest: this many of each model, at least one.
    min_age: younger versions are kept; their age is counted from `created_at`.
    delete_parents: whether versions may be deleted that a kept version names as its parent.
    in_rollout: the versions of each model that its rollout names; they are kept.
    """

    keep_newest: int
    min_age: timedelta
    delete_parents: bool = False
    in_rollout: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionPlan:
    """What becomes of a version. kept: why it is kept; empty if it is deleted.

    num_bytes, created_at: None if the manifest cannot be read.
    """

    name: str
    version: int
    kept: str
    created_at: datetime | None
    num_bytes: int | None


@dataclass(frozen=True, slots=True)
class Leftover:
    """A temporary folder or an unpublished version that was abandoned, or an old copy. what: which of these it is."""

    what: Literal["publication", "copy"]
    place: str
    delete: Callable[[], None]


def plan_versions(repository: Path | str, name: str, rules: Rules, now: datetime) -> list[VersionPlan]:
    """Return what becomes of each version of a model, lowest first. Raises ModelError if the model cannot be read."""
    numbers = list_versions(repository, name)
    aliases = read_aliases(repository, name)
    manifests = {number: _manifest(repository, name, number) for number in numbers}
    kept: dict[int, str] = {}
    for number in numbers:
        manifest = manifests[number]
        if own := aliases.of_version(number):
            kept[number] = f"alias {', '.join(own)}"
        elif number in rules.in_rollout.get(name, ()):
            kept[number] = "its rollout names it"
        elif number in numbers[-max(1, rules.keep_newest) :]:
            kept[number] = f"one of the newest {max(1, rules.keep_newest)}"
        elif manifest is None:
            kept[number] = "its manifest cannot be read"
        elif now - manifest.provenance.created_at < rules.min_age:
            kept[number] = f"younger than {rules.min_age.days} days"
    if not rules.delete_parents:
        _keep_parents(manifests, kept)
    return [_plan(name, number, kept.get(number, ""), manifests[number]) for number in numbers]


def delete_versions(repository: Path | str, name: str, rules: Rules, now: datetime) -> list[VersionPlan]:
    """Delete the versions of a model that the rules do not keep, and return them.

    No alias can move meanwhile. Each version disappears as a whole: in a folder by a rename, behind a URL with its manifest.

    Raises ModelError if the model cannot be read, StorageError if it cannot be changed.
    """
    with aliases_locked(repository, name):
        deleted = [plan for plan in plan_versions(repository, name, rules, now) if not plan.kept]
        for plan in deleted:
            _delete(repository, name, str(plan.version))
    return deleted


def find_leftovers(repository: Path | str, models: list[str], now: datetime) -> Iterator[Leftover]:
    """Yield what publications in a repository left behind at least a day ago."""
    if is_url(repository):
        yield from _unpublished(str(repository), models, now)
    else:
        folder = local_folder(repository)
        yield from _old_folders(folder, now - ABANDONED_AFTER, "publication", only_temporary=True)


def find_old_copies(cache: Path, min_age: timedelta, now: datetime) -> Iterator[Leftover]:
    """Yield copies of versions behind URLs that were downloaded that long ago, and downloads that were interrupted."""
    if not cache.is_dir():
        return
    yield from _old_folders(cache, now - ABANDONED_AFTER, "copy", only_temporary=True)
    yield from _old_folders(cache, now - min_age, "copy", only_temporary=False)


def _plan(name: str, version: int, kept: str, manifest: Manifest | None) -> VersionPlan:
    if manifest is None:
        return VersionPlan(name, version, kept, created_at=None, num_bytes=None)
    size = sum(entry.num_bytes for entry in manifest.files.values())
    return VersionPlan(name, version, kept, created_at=manifest.provenance.created_at, num_bytes=size)


def _manifest(repository: Path | str, name: str, version: int) -> Manifest | None:
    try:
        _, data, file = read_manifest_file(repository, name, version)
        return Manifest.from_json(data, file)
    except ModelError:
        return None


def _keep_parents(manifests: Mapping[int, Manifest | None], kept: dict[int, str]) -> None:
    """Keep the parents of kept versions, their parents too, and so on. A parent has a lower number."""
    for number in sorted(manifests, reverse=True):
        manifest = manifests[number]
        parent = None if manifest is None else manifest.provenance.parent
        if number in kept and parent is not None and parent in manifests and parent not in kept:
            kept[parent] = f"parent of version {number}"


def _delete(repository: Path | str, name: str, version: str) -> None:
    if is_url(repository):
        from forebay.models.artefacts.remote_store import RemoteStore  # imports fsspec

        store = RemoteStore(str(repository))
        store.delete(name, version, "manifest.json")  # from here on, readers do not see the version
        store.delete(name, version)
        return
    folder = local_folder(repository)
    with tempfile.TemporaryDirectory(prefix=".delete-", dir=folder) as scratch:
        os.rename(folder / name / version, Path(scratch, version))


def _old_folders(
    folder: Path, before: datetime, what: Literal["publication", "copy"], *, only_temporary: bool
) -> Iterator[Leftover]:
    for path in sorted(folder.iterdir()):
        temporary = path.name.startswith(_TEMPORARY)
        if temporary != only_temporary or path.is_symlink() or not path.is_dir():
            continue
        with suppress(FileNotFoundError):  # deleted by its own process meanwhile
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) <= before:
                yield Leftover(what, str(path), partial(_remove, path))


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"{error.filename or path}: cannot be deleted: {error.strerror or error}", remedy="check its permissions"
        ) from error


def _unpublished(url: str, models: list[str], now: datetime) -> Iterator[Leftover]:
    from forebay.models.artefacts.remote_publication import CLAIM_FILE  # imports fsspec
    from forebay.models.artefacts.remote_store import RemoteStore

    store = RemoteStore(url)
    for name in models:
        published = {str(number) for number in list_versions(url, name)}
        for version in sorted(set(store.taken_versions(name)) - published):
            if not VERSION_NAME.fullmatch(version):
                continue
            since = store.modified(name, version, CLAIM_FILE)
            if since is not None and since <= now - ABANDONED_AFTER:
                yield Leftover("publication", store.place(name, version), partial(store.delete, name, version))
