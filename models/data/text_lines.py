"""Lines of text of bounded length, and blocks of whole lines."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from forebay.models.data import line_readers

_READ_BYTES: Final = 1 << 20
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


class TextLines(Iterator[str]):
    """The lines of a file as text with their ends, for a CSV parser. A carriage return alone ends a line too.

    readline: returns the next bytes up to a line feed, at most the given number; nothing at the end.
    number: the number of lines that were read.

    Bytes that are not UTF-8 become surrogates. Raises csv.Error for a line that is too long, and skips that line.
    """

    def __init__(self, readline: Callable[[int], bytes], number: int = 0) -> None:
        self._readline = readline
        self._pending: deque[str] = deque()
        self.number = number

    @property
    def is_between_lines(self) -> bool:
        """Whether everything that was read from the file was also returned."""
        return not self._pending

    def take_pending(self) -> bytes:
        """Return the lines that were read from the file but not returned, and forget them."""
        data = "".join(self._pending).encode("utf-8", "surrogateescape")
        self._pending.clear()
        return data

    def __next__(self) -> str:
        if self._pending:
            self.number += 1
            return self._pending.popleft()
        limit = line_readers.MAX_LINE_BYTES
        data = self._readline(limit + 2)
        if not data:
            raise StopIteration
        self.number += 1
        if len(data) > limit and len(data.removesuffix(b"\n").removesuffix(b"\r")) > limit:
            while not data.endswith(b"\n") and (data := self._readline(limit)):
                pass  # the rest of the line
            raise csv.Error(f"the line is longer than {limit:,} bytes")
        text = data.decode("utf-8", "surrogateescape")
        if "\r" in text and text.count("\r") != text.endswith("\r\n"):
            self._pending.extend(_LINE.findall(text))
            return self._pending.popleft()
        return text


class BlockReader:
    """Reads a file in parts of any size, or line by line. position: the number of bytes that were taken."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._start = 0
        self._ended = False
        self.position = 0

    def peek(self, num_bytes: int) -> bytes:
        """Return the next bytes without taking them: more than `num_bytes` only if they were read already, fewer at the end."""
        while len(self._buffer) - self._start < num_bytes and self._fill():
            pass
        if self._start:
            self._buffer, self._start = self._buffer[self._start :], 0
        return self._buffer

    @property
    def ended(self) -> bool:
        """Whether `peek` returned everything up to the end of the file."""
        return self._ended

    def take(self, num_bytes: int) -> bytes:
        """Take the next bytes, which `peek` returned."""
        taken = self._buffer[self._start : self._start + num_bytes]
        self._start += len(taken)
        self.position += len(taken)
        return taken

    def put_back(self, data: bytes) -> None:
        """Put back the bytes that were taken last."""
        self._buffer, self._start = data + self._buffer[self._start :], 0
        self.position -= len(data)

    def readline(self, limit: int) -> bytes:
        """Take the next bytes up to a line feed, at most `limit`; nothing at the end."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", self._start + searched, self._start + limit)
            if end >= 0:
                return self.take(end + 1 - self._start)
            searched = len(self._buffer) - self._start
            if searched >= limit or not self._fill():
                return self.take(limit)

    def _fill(self) -> bool:
        if self._ended:
            return False
        rest = self._buffer[self._start :]
        data = self._stream.read(max(_READ_BYTES, len(rest)))
        self._buffer, self._start = rest + data if rest else data, 0
        self._ended = not data
        return bool(data)


def count_lines(data: bytes) -> int:
    """Return the number of line ends: line feeds, carriage returns, or both together."""
    lines = data.count(b"\n")
    if b"\r" in data:
        lines += data.count(b"\r") - data.count(b"\r\n")
    return lines
