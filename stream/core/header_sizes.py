"""The memory that headers of records take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HEADER_OBJECT_BYTES: Final = 150
"""Memory of a header in addition to its name and value. In the log it may take two bytes, or fewer compressed."""


def headers_size(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return approximately how many bytes a record's headers take in memory."""
    return sum(HEADER_OBJECT_BYTES + len(name) + len(value or b"") for name, value in headers)
