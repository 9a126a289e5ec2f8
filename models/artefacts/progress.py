"""Report how many bytes of a file, or of a version's files, have been read or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""How much of a file is read or written between two reports."""

OnProgress = Callable[[str, int, int], None]
"""Called with the path or URL that is read or written, the bytes that have been, and those of all its files."""


class Progress:
    """The bytes of one place. on_progress: None for no reports."""

    def __init__(self, place: str, total: int, on_progress: OnProgress | None) -> None:
        self._place = place
        self._total = total
        self._on_progress = on_progress
        self._done = 0

    def add(self, num_bytes: int) -> None:
        """Report that more bytes have been read or written."""
        self._done += num_bytes
        if self._on_progress is not None:
            self._on_progress(self._place, self._done, self._total)


def in_chunks(data: bytes) -> Iterator[memoryview]:
    """Yield the data in parts of at most `CHUNK_BYTES`, without copying it."""
    view = memoryview(data)
    for start in range(0, len(data), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]
