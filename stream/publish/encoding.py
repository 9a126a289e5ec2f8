"""Whether the beginning of a file is UTF-8, which is all that is read."""

from __future__ import annotations

import codecs
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
    """Raise DataError where a file that starts like this is in an encoding that is not read."""
    found = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if found is None and b"\0" in start[:_PROBE_BYTES]:
        # Without a mark: every second byte of ASCII text is zero.
        found = "UTF-16" if b"\0" in start[:2] and start[:2] != b"\0\0" else None
        if found is None:
            raise DataError(
                f"{name}: this is not text: it holds zero bytes", kind="encoding", remedy="check the file, or --format"
            )
    if found is not None:
        raise DataError(
            f"{name}: the file is {found}, and UTF-8 is expected",
            kind="encoding",
            remedy=f"convert it: iconv -f {found} -t UTF-8 {name} > utf8-{name}",
        )
