"""Files by path, pattern or URL, and standard input: where the bytes of a source are."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from forebay.models.artefacts.location import is_url, local_folder
from forebay.schemas.errors import ConfigError, DataError

STDIN: Final = "-"
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a source.

    name: the last part of its path. place: the whole path or URL, as messages show it.
    open: opens its bytes. size: in bytes, None if unknown.
    path: where it is on this machine, None for a URL or a pipe.
    version: what changes when the content behind a URL changes, if the store says so.
    """

    name: str
    place: str
    open: Callable[[], BinaryIO]
    size: int | None = None
    path: Path | None = None
    version: str | None = None
    is_pipe: bool = False


def find_files(location: str) -> list[DataFile]:
    """Return the files of a path, a pattern such as `data/*.csv`, a URL, or `-`, sorted by name.

    Raises DataError if there are none; ConfigError for a URL that needs a package that is not installed.
    """
    if location == STDIN:
        return [DataFile("stdin", "standard input", lambda: sys.stdin.buffer, is_pipe=True)]
    if is_url(location):
        return _find_urls(location)
    path = Path(local_folder(location))
    if path.is_dir():
        raise DataError(
            f"{location}: this is a folder", kind="unreadable", remedy=f"name its files with a pattern: '{path}/*.csv'"
        )
    if path.exists():
        return [_local_file(path, str(path))]
    if not glob.has_magic(str(path)):
        raise DataError(f"{location}: there is no such file", kind="unreadable", remedy="check the path")
    found = sorted(name for name in glob.glob(str(path), recursive=True) if not os.path.isdir(name))
    if not found:
        raise DataError(f"{location}: no file matches the pattern", kind="unreadable", remedy="check the pattern")
    return [_local_file(Path(name), name) for name in found]


def _local_file(path: Path, place: str) -> DataFile:
    try:
        regular, size = path.is_file(), path.stat().st_size
    except OSError as error:
        raise _cannot_read(place, error) from error
    return DataFile(
        path.name,
        place,
        lambda: path.open("rb"),
        size=size if regular else None,
        path=path if regular else None,
        is_pipe=not regular,
    )


def _find_urls(location: str) -> list[DataFile]:
    files, root = _open_store(location)
    with _store_errors(location):
        if glob.has_magic(root):
            found = sorted(path for path, entry in files.glob(root, detail=True).items() if entry["type"] == "file")
        elif files.isdir(root):
            raise DataError(
                f"{location}: this is a folder",
                kind="unreadable",
                remedy=f"name its files with a pattern: '{location.rstrip('/')}/*.csv'",
            )
        else:
            found = [root] if files.exists(root) else []
        if not found:
            what = "no file matches the pattern" if glob.has_magic(root) else "there is no such file"
            raise DataError(f"{location}: {what}", kind="unreadable", remedy="check the URL")
        return [_remote_file(files, path) for path in found]


def _remote_file(files: Any, path: str) -> DataFile:
    place = str(files.unstrip_protocol(path))
    details = files.info(path)
    marks = [str(details[key]) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime") if details.get(key)]
    size = details.get("size")

    def open_file() -> BinaryIO:
        with _store_errors(place):
            return cast("BinaryIO", files.open(path, "rb"))

    return DataFile(
        path.rstrip("/").rpartition("/")[2],
        place,
        open_file,
        size=size,
        version=f"{size} {' '.join(marks)}" if marks else None,
    )


def _open_store(location: str) -> tuple[Any, str]:
    import fsspec

    scheme = location.partition("://")[0].lower()
    try:
        files, root = fsspec.url_to_fs(location)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        raise ConfigError(
            f"{location}: the package that reads {scheme}:// is not installed",
            kind="files_missing",
            remedy=f"pip install 'forebay[{extra}]'" if extra else str(error),
        ) from None
    except Exception as error:
        raise DataError(
            f"{location}: this URL cannot be opened: {error}",
            kind="unreadable",
            remedy="give a path, or a URL such as s3://bucket/data/*.csv",
        ) from error
    return files, str(root)


@contextmanager
def _store_errors(place: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # each store raises errors of its own
        raise _cannot_read(place, error) from error


def _cannot_read(place: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or error or type(error).__name__
    return DataError(
        f"{place}: cannot be read: {reason}",
        kind="unreadable",
        remedy="check the path, the permissions and the network",
    )
