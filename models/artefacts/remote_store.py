"""A model repository behind a URL, such as s3://bucket/models, through fsspec.

What a store lists is not trusted: only the last part of each listed name is used, and only if it can be the name of a model, a
version or a file. Every read is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import fsspec

from forebay.models.artefacts.location import checked_url
from forebay.models.artefacts.progress import CHUNK_BYTES, Progress, in_chunks
from forebay.models.artefacts.storage import COPY_AGAIN
from forebay.models.artefacts.store import MANIFEST_FILE, repository_not_found
from forebay.schemas.errors import ModelError, StorageError

T = TypeVar("T")

_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
"""The extra of Forebay that reads URLs of a scheme, by s3fs, gcsfs or huggingface_hub. These stores have no folders that must
be created."""
_CHECK_STORE: Final = "check the URL, the login for the store and the network"


class RemoteStore:
    """A repository behind a URL. See `Store`; the methods that write are for publishing.

    url: without slashes at its end. Trust policies compare it.
    """

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)
        self._scheme = self.url.partition("://")[0].lower()
        self._files, self._root = self._open()

    def place(self, *names: str) -> str:
        """Return the URL of what the names lead to."""
        return "/".join((self.url, *names))

    def folders(self, *names: str) -> list[str]:
        """Return the names of the folders in a folder, in no order. Raises ModelError if it cannot be read."""
        return [_last_part(entry) for entry in self._list(*names) if entry.get("type") == "directory"]

    def versions(self, model: str) -> list[str]:
        """Return the names of the folders of a model that hold a manifest: those without one are not published."""
        folders = self.folders(model)
        start = f"{self._path(model)}/".lstrip("/")
        found = self._ask(partial(self._files.find, self._path(model), maxdepth=2), model)
        files = {str(path).lstrip("/") for path in found}
        return [folder for folder in folders if f"{start}{folder}/{MANIFEST_FILE}" in files]

    def has_file(self, *names: str) -> bool:
        """Return whether there is such a file. Raises ModelError if that cannot be found out."""

        def look() -> bool:
            self._files.invalidate_cache()
            return bool(self._files.isfile(self._path(*names)))

        return self._ask(look, *names)

    def read(self, *names: str, max_bytes: int) -> bytes:
        """Return the bytes of a file. Raises ModelError if it is larger or cannot be read."""
        data = b""
        for chunk in self.chunks(*names, max_bytes=max_bytes + 1):
            data += chunk
        if len(data) > max_bytes:
            raise ModelError(
                f"{self.place(*names)}: the file has more than {max_bytes} bytes, which are allowed at most",
                kind="too_large",
                remedy="publish a smaller model",
            )
        return data

    def chunks(self, *names: str, max_bytes: int) -> Iterator[bytes]:
        """Yield the content of a file in parts, up to this many bytes in all. Raises ModelError if it cannot be read."""
        path = self._path(*names)
        stream = self._ask(partial(self._files.open, path, "rb"), *names)
        try:
            while max_bytes > 0:
                wanted = min(max_bytes, CHUNK_BYTES)
                chunk: bytes = self._ask(partial(stream.read, wanted), *names)
                if not chunk:
                    return
                yield chunk[:max_bytes]
                max_bytes -= len(chunk)
        finally:
            stream.close()

    def taken_versions(self, model: str) -> list[str]:
        """Return the names of all entries in the folder of a model, published or not; none if it does not exist."""
        try:
            return [_last_part(entry) for entry in self._list(model)]
        except ModelError as error:
            if error.kind == "repository_not_found":
                return []
            raise

    def modified(self, *names: str) -> datetime | None:
        """Return when a file was written; None if it does not exist or the store does not say."""
        try:
            moment = self._files.modified(self._path(*names))
        except Exception:  # each store raises errors of its own
            return None
        if not isinstance(moment, datetime):
            return None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    def write(self, *names: str, data: bytes, progress: Progress | None = None) -> None:
        """Write a file, replacing it if it exists. Raises StorageError."""
        path = self._path(*names)

        def put() -> None:
            self._create_folder(path)
            if progress is None or len(data) <= CHUNK_BYTES:
                self._files.pipe_file(path, data)
                if progress is not None:
                    progress.add(len(data))
                return
            with self._files.open(path, "wb") as stream:
                for chunk in in_chunks(data):
                    stream.write(chunk)
                    progress.add(len(chunk))

        self._change(put, *names)

    def create(self, *names: str, data: bytes) -> bool:
        """Write a file that does not exist yet; return whether it was written. Raises StorageError.

        Stores with conditional writes, such as Amazon S3, do that in one step. In others, two processes that create the file
        at the same moment can both believe that they did; compare what was written afterwards.
        """
        path = self._path(*names)

        def put() -> bool:
            self._files.invalidate_cache()
            if self._files.exists(path):
                return False
            self._create_folder(path)
            try:
                self._write_exclusively(path, data)
            except FileExistsError:
                return False
            return True

        return self._change(put, *names)

    def delete(self, *names: str) -> None:
        """Delete a file or a folder with everything in it, if it exists. Raises StorageError."""
        path = self._path(*names)

        def delete() -> None:
            self._files.invalidate_cache()
            if self._files.exists(path):
                self._files.rm(path, recursive=True)

        self._change(delete, *names)

    def _open(self) -> tuple[Any, str]:
        try:
            files, root = fsspec.url_to_fs(self.url)
        except ImportError as error:
            extra = _EXTRAS.get(self._scheme)
            raise ModelError(
                f"{self.url}: the package that reads {self._scheme}:// is not installed",
                kind="repository",
                remedy=f"pip install 'forebay[{extra}]'" if extra else str(error),
            ) from None
        except Exception as error:
            raise ModelError(
                f"{self.url}: this repository cannot be opened: {error}",
                kind="repository",
                remedy="give a path, or a URL that begins with file://, s3://, gs:// or hf://",
            ) from error
        return files, str(root)

    def _path(self, *names: str) -> str:
        return "/".join((self._root.rstrip("/"), *names))

    def _list(self, *names: str) -> list[dict[str, Any]]:
        def list_entries() -> list[dict[str, Any]]:
            self._files.invalidate_cache()
            return list(self._files.ls(self._path(*names), detail=True))

        return self._ask(list_entries, *names)

    def _create_folder(self, path: str) -> None:
        # Object stores have no folders; s3fs would even create a bucket.
        if self._scheme not in _EXTRAS:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _write_exclusively(self, path: str, data: bytes) -> None:
        try:
            stream = self._files.open(path, "xb")
        except (NotImplementedError, ValueError):  # the store knows no such mode
            self._files.pipe_file(path, data)
            return
        with stream:
            stream.write(data)

    def _ask(self, request: Callable[[], T], *names: str) -> T:
        """Return the answer to a request that changes nothing; raise a ModelError for whatever the store raises."""
        try:
            return request()
        except FileNotFoundError as error:
            if len(names) < 2:
                raise repository_not_found(self.place(*names), _CHECK_STORE) from error
            raise self._unreadable(error, COPY_AGAIN, *names) from error
        except Exception as error:  # each store raises errors of its own
            raise self._unreadable(error, _CHECK_STORE, *names) from error

    def _change(self, request: Callable[[], T], *names: str) -> T:
        try:
            return request()
        except Exception as error:  # each store raises errors of its own
            raise StorageError(
                f"{self.place(*names)}: cannot be written: {_describe(error)}",
                remedy="check the URL, the permission to write there and the network",
            ) from error

    def _unreadable(self, error: Exception, remedy: str, *names: str) -> ModelError:
        return ModelError(f"{self.place(*names)}: cannot be read: {_describe(error)}", kind="unreadable", remedy=remedy)


def _last_part(entry: dict[str, Any]) -> str:
    return str(entry.get("name", "")).rstrip("/").rpartition("/")[2]


def _describe(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
