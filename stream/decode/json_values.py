"""Documents of any format as JSON, to be shown."""

from __future__ import annotations

import base64
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from forebay.stream.decode.formats.payload import ShapedFeatures


def to_json(document: object) -> bytes:
    """Return a document of any format as JSON.

    Times become RFC 3339 text, bytes base64, and decimals, large integers, NaN and infinity text, which shows why they were
    rejected. Of images, the type and the size are shown.
    """
    return orjson.dumps(_bounded(document), default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: Any) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, ShapedFeatures):
        return value.summary()
    return str(value)


def _bounded(value: object) -> object:
    """Return a document with text for the numbers that JSON does not have, or that orjson does not write."""
    if isinstance(value, dict):
        return {str(name): _bounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(part) for part in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
