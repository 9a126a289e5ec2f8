"""The pixel data of PNG files: it has to inflate to exactly the rows that the header states.

Decoders of images leave the rows black that the data does not have, and ignore data after the last row.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from forebay.stream.decode.formats.payload import invalid_payload

PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The number of channels by colour type: grey, RGB, palette, grey with alpha, RGB with alpha."""

_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of interlaced files: the first column and row, and the distances between columns and rows."""
_PIECE_BYTES: Final = 1 << 16


def check_pixel_data(png: bytes) -> None:
    """Inflate the pixel data of a file, and keep nothing of it. Raises InvalidPayload if it has not exactly the image's rows.

    png: a file whose chunks are complete, and whose header is valid.
    """
    width, height, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", png, 16)
    expected = _num_bytes(width, height, bits * PNG_CHANNELS[colour], is_interlaced=bool(interlace))
    inflater = zlib.decompressobj()
    found = 0
    try:
        for part in _data_chunks(png):
            rest: bytes | memoryview = part
            while rest and not inflater.eof and found <= expected:
                found += len(inflater.decompress(rest, _PIECE_BYTES))
                rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise invalid_payload(f"the pixel data of the PNG is damaged: {error}") from None
    if found <= expected and not inflater.eof:
        raise invalid_payload("the pixel data of the PNG is truncated")
    if found != expected:
        amount = "more" if found > expected else str(found)
        raise invalid_payload(
            f"the pixel data of the PNG has {amount} bytes; its {width}×{height} pixels take {expected}"
        )


def _data_chunks(png: bytes) -> Iterator[memoryview]:
    view, at = memoryview(png), 8
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        if name == b"IDAT":
            yield view[at + 8 : at + 8 + length]
        at += 12 + length


def _num_bytes(width: int, height: int, bits_per_pixel: int, *, is_interlaced: bool) -> int:
    """Return the length of the data once inflated: for each row, a byte for its filter and its pixels."""
    total = 0
    for first_column, first_row, column_step, row_step in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        columns = -((first_column - width) // column_step)
        rows = -((first_row - height) // row_step)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits_per_pixel + 7) // 8)
    return total
