"""Read versions out of an exported folder or zip file. Nothing is unpacked: single files are read by their names, bounded.

Names within are `<name>/<version>/<file>`; anything else in a zip file is refused, and links are refused in both.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from forebay.models.artefacts.files import check_own_file
from forebay.models.artefacts.progress import CHUNK_BYTES, OnProgress, Progress
from forebay.models.artefacts.repository import MANIFEST_FILE, list_models, list_versions
from forebay.models.artefacts.storage import read_bounded
from forebay.schemas.errors import ModelError

MAX_ENTRIES: Final = 100_000
EXPORT_AGAIN: Final = "export the version again with `forebay models export`"

_ENTRY: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})/(?P<version>[1-9][0-9]{0,8})/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
)
_FOLDER: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}/([1-9][0-9]{0,8}/)?")
_ENCRYPTED: Final = 0x1


class ImportSource(Protocol):
    """Versions in a folder or zip file."""

    def versions(self) -> list[tuple[str, int]]:
        """Return the name and number of each version, sorted."""

    def has_file(self, inner: str) -> bool:
        """Return whether there is the file `<name>/<version>/<file>`."""

    def read(self, inner: str, max_bytes: int) -> bytes:
        """Return the bytes of the file `<name>/<version>/<file>`. Raises ModelError if it is larger or cannot be read."""


@contextmanager
def open_source(path: Path, on_progress: OnProgress | None = None) -> Iterator[ImportSource]:
    """Provide the versions in an exported folder or zip file. Raises ModelError if it is neither."""
    if path.is_dir():
        yield _Folder(path, on_progress)
        return
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise _error(
            f"{path}: there is no such file or folder", "give the path of an exported zip file or folder"
        ) from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _error(f"{path}: this is not a folder, and cannot be read as a zip file: {error}", EXPORT_AGAIN) from None
    with archive:
        yield _Archive(path, archive, on_progress)


class _Folder:
    def __init__(self, folder: Path, on_progress: OnProgress | None) -> None:
        self._folder = folder
        self._on_progress = on_progress

    def versions(self) -> list[tuple[str, int]]:
        return [(name, version) for name in list_models(self._folder) for version in list_versions(self._folder, name)]

    def has_file(self, inner: str) -> bool:
        file = self._folder / inner
        return file.exists() or file.is_symlink()

    def read(self, inner: str, max_bytes: int) -> bytes:
        file = self._folder / inner
        for part in (file, file.parent, file.parent.parent):
            if part.is_symlink():
                raise ModelError(
                    f"{part}: this is a symbolic link; allowed are regular files and folders",
                    kind="path",
                    remedy="copy what it leads to instead of linking to it",
                )
        check_own_file(file.parent, file)
        return read_bounded(file.parent, file, max_bytes, self._on_progress)


class _Archive:
    def __init__(self, path: Path, archive: zipfile.ZipFile, on_progress: OnProgress | None) -> None:
        self._path = path
        self._archive = archive
        self._on_progress = on_progress
        self._entries: dict[str, zipfile.ZipInfo] = {}
        infos = archive.infolist()
        if len(infos) > MAX_ENTRIES:
            raise _error(
                f"{path}: the zip file has {len(infos)} entries; allowed are at most {MAX_ENTRIES}", EXPORT_AGAIN
            )
        for info in infos:
            self._add(info)

    def versions(self) -> list[tuple[str, int]]:
        found = (_ENTRY.fullmatch(inner) for inner in self._entries if inner.endswith(f"/{MANIFEST_FILE}"))
        return sorted((match["name"], int(match["version"])) for match in found if match is not None)

    def has_file(self, inner: str) -> bool:
        return inner in self._entries

    def read(self, inner: str, max_bytes: int) -> bytes:
        place = f"{self._path}: {inner}"
        info = self._entries.get(inner)
        if info is None:
            raise ModelError(f"{place}: the zip file has no such file", kind="unreadable", remedy=EXPORT_AGAIN)
        if info.file_size > max_bytes:
            raise _too_large(place, info.file_size, max_bytes)
        progress = Progress(place, info.file_size, self._on_progress)
        data = bytearray()
        try:
            with self._archive.open(info) as stream:
                # The stated size need not be true.
                while chunk := stream.read(min(CHUNK_BYTES, max_bytes + 1 - len(data))):
                    data += chunk
                    progress.add(len(chunk))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise ModelError(f"{place}: cannot be read: {error}", kind="unreadable", remedy=EXPORT_AGAIN) from None
        if len(data) > max_bytes:
            raise _too_large(place, len(data), max_bytes)
        return bytes(data)

    def _add(self, info: zipfile.ZipInfo) -> None:
        name = info.orig_filename
        mode = info.external_attr >> 16
        problem = None
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "is a link or a special file; allowed are regular files"
        elif info.flag_bits & _ENCRYPTED:
            problem = "is encrypted"
        elif name in self._entries:
            problem = "is present twice"
        elif not _ENTRY.fullmatch(name) and not (info.is_dir() and _FOLDER.fullmatch(name)):
            problem = "is not a file of a version; allowed is <name>/<version>/<file>"
        if problem is not None:
            raise ModelError(f"{self._path}: the entry {name[:200]!r} {problem}", kind="path", remedy=EXPORT_AGAIN)
        if not info.is_dir():
            self._entries[name] = info


def _too_large(place: str, found: int, allowed: int) -> ModelError:
    return ModelError(
        f"{place}: the file has {found} bytes or more; allowed are at most {allowed}",
        kind="too_large",
        remedy="publish a smaller model",
    )


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="import", remedy=remedy)
