"""Features as base64 text of little-endian float32: a third of the bytes that numbers take in JSON, and exact."""

from __future__ import annotations

import binascii
import math
import struct
from collections.abc import Callable
from typing import Any

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.features import InvalidFeatures


def decode_base64_f32(text: str) -> bytes:
    """Return the bytes of the features. Raises InvalidFeatures.

    The text has the standard alphabet, with padding and without line breaks.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidFeatures(
            FailureKind.WRONG_TYPE, f"features is a text, but not base64 of little-endian float32: {error}"
        ) from None


def base64_parser(parse_text: Callable[[bytes], Any], num_values: int) -> Callable[[bytes], Any]:
    """Return a parser of events whose features are base64, as a tuple of numbers. It raises for all others.

    Events with values that are not finite are refused: whether they are allowed is decided elsewhere.
    """
    unpack = struct.Struct(f"<{num_values}f").unpack

    def parse(value: bytes) -> Any:
        event = parse_text(value)
        values = unpack(binascii.a2b_base64(event.features, strict_mode=True))
        if not all(map(math.isfinite, values)):
            raise ValueError("a value is not finite")
        event.features = values
        return event

    return parse
