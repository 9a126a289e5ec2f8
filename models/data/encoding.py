"""Detection of files that are not UTF-8, by their first bytes."""

from __future__ import annotations

import codecs
from pathlib import PurePath
from typing import Final

from forebay.schemas.errors import DataError

BOM: Final = codecs.BOM_UTF8

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PROBE_BYTES: Final = 4096


def check_encoding(start: bytes, name: str) -> None:
    """Raise DataError if the first bytes of a file are not UTF-8 text."""
    encoding = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if encoding is None and b"\0" in start[:_PROBE_BYTES]:
        # In UTF-16 without a byte order mark, every second byte of ASCII text is zero.
        encoding = "UTF-16" if b"\0" in start[:2] and start[:2] != b"\0\0" else None
        if encoding is None:
            raise DataError(
                f"{name}: the file is not text: it contains zero bytes",
                kind="encoding",
                remedy="check the file, or set its format with --format",
            )
    if encoding is not None:
        raise DataError(
            f"{name}: the encoding of the file is {encoding}, not UTF-8",
            kind="encoding",
            remedy=f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8-{PurePath(name).name}",
        )
