"""Read a repository the same way in a folder and behind a URL: list its names, read its small files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.storage import read_bounded, unreadable
from forebay.schemas.errors import ModelError

MANIFEST_FILE: Final = "manifest.json"
SIGNATURE_FILE: Final = "model.sig"
"""A signature of the manifest and all files that it lists. No manifest can list it: it is added when a version is signed."""


class Store(Protocol):
    """The folders and files of a model repository. Names are single names of folders and files, never paths."""

    def place(self, *names: str) -> str:
        """Return the path or URL of what the names lead to, for messages."""

    def folders(self, *names: str) -> list[str]:
        """Return the names of the folders in a folder, in no order. Raises ModelError if it cannot be read."""

    def versions(self, model: str) -> list[str]:
        """Return the names of the folders of a model that can be versions. Raises ModelError if they cannot be read."""

    def has_file(self, *names: str) -> bool:
        """Return whether there is such a file. Raises ModelError if that cannot be found out."""

    def read(self, *names: str, max_bytes: int) -> bytes:
        """Return the bytes of a file. Raises ModelError if it is larger or cannot be read."""


class LocalStore:
    """A repository in a folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, *names: str) -> str:
        return str(self._folder.joinpath(*names))

    def folders(self, *names: str) -> list[str]:
        folder = self._folder.joinpath(*names)
        if not names and not folder.is_dir():
            raise repository_not_found(
                str(folder), "check the repository's path (a relative path starts at the working directory)"
            )
        try:
            return [entry for entry in os.listdir(folder) if (folder / entry).is_dir()]
        except OSError as error:
            raise unreadable(folder, error) from error

    def versions(self, model: str) -> list[str]:
        return self.folders(model)

    def has_file(self, *names: str) -> bool:
        file = self._folder.joinpath(*names)
        return file.exists() or file.is_symlink()

    def read(self, *names: str, max_bytes: int) -> bytes:
        return read_bounded(self._folder, self._folder.joinpath(*names), max_bytes)


def open_store(repository: Path | str) -> Store:
    """Return the store of a repository, given as a path or a URL.

    Raises ModelError if the package that reads such URLs is not installed, or the URL is not one of a repository.
    """
    if not is_url(repository):
        return LocalStore(local_folder(repository))
    from forebay.models.artefacts.remote_store import RemoteStore  # imports fsspec

    return RemoteStore(str(repository))


def repository_not_found(place: str, remedy: str) -> ModelError:
    """Return the error for a repository that does not exist."""
    return ModelError(f"{place}: there is no such model repository", kind="repository_not_found", remedy=remedy)
