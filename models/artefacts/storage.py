"""Read and write files of a model repository: within the repository, of limited size, and synced to the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from forebay.models.artefacts.progress import CHUNK_BYTES, OnProgress, Progress, in_chunks
from forebay.schemas.errors import ModelError

COPY_AGAIN: Final = "copy the version again from where it was published, or publish the model again"


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


def read_bounded(folder: Path, file: Path, max_bytes: int, on_progress: OnProgress | None = None) -> bytes:
    """Return the bytes of a regular file in the folder. Raises ModelError if it is larger or cannot be read."""
    check_contained(folder, file)
    try:
        # Non-blocking, because opening a named pipe in place of the file could wait forever.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{file}: this is not a regular file", kind="unreadable", remedy=COPY_AGAIN)
            # Read one byte more than allowed, in case the file has grown since its size was read.
            wanted = 0 if status.st_size > max_bytes else max_bytes + 1
            if on_progress is None:
                data = stream.read(wanted)
            else:
                data = _read(stream, wanted, Progress(str(file), status.st_size, on_progress))
    except OSError as error:
        raise unreadable(file, error) from error
    if max(status.st_size, len(data)) > max_bytes:
        raise ModelError(
            f"{file}: the file has {max(status.st_size, len(data))} bytes; allowed are at most {max_bytes}",
            kind="too_large",
            remedy="publish a smaller model",
        )
    return data


def _read(stream: BinaryIO, wanted: int, progress: Progress) -> bytes:
    chunks = []
    while chunk := stream.read(min(wanted, CHUNK_BYTES)):
        chunks.append(chunk)
        wanted -= len(chunk)
        progress.add(len(chunk))
    return b"".join(chunks)


def unreadable(path: Path, error: OSError) -> ModelError:
    """Return the error for a path that cannot be read."""
    remedy = COPY_AGAIN if isinstance(error, FileNotFoundError) else "check the permissions of the repository"
    return ModelError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable", remedy=remedy)


def write_synced(file: Path, data: bytes, progress: Progress | None = None) -> None:
    """Write a file and wait until it is on the disk. Raises OSError."""
    with open(file, "wb") as stream:
        for chunk in in_chunks(data):
            stream.write(chunk)
            if progress is not None:
                progress.add(len(chunk))
        stream.flush()
        os.fsync(stream.fileno())


def sync_directory(directory: Path) -> None:
    """Wait until the entries of a directory are on the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
