"""Images for tests of the image format."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int, height: int, mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return an image of smooth colours and some noise. Alpha, if there is any, is opaque."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 80 * np.sin(x / 5 + band) + 40 * np.cos(y / 3 - band) for band in range(3)]
    pixels = np.clip(np.stack(waves, axis=-1) + rng.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    return image if mode == "RGB" else image.convert(mode)


def encoded(image: Image.Image, file_type: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file."""
    buffer = BytesIO()
    image.save(buffer, file_type, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes, *, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with another chunk before the first one of a name."""
    at = png.index(before) - 4
    return png[:at] + png_chunk(name, data) + png[at:]


def exif(orientation: int, order: str = "<") -> bytes:
    """Return EXIF metadata with an orientation."""
    start = b"II*\x00" if order == "<" else b"MM\x00*"
    tags = struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return start + tags


def with_pixel_data(png: bytes, compressed: bytes) -> bytes:
    """Return a PNG with other pixel data, in two chunks."""
    middle = len(compressed) // 2
    chunks = png_chunk(b"IDAT", compressed[:middle]) + png_chunk(b"IDAT", compressed[middle:])
    return without_pixel_data(png)[:-12] + chunks + png[-12:]


def without_pixel_data(png: bytes) -> bytes:
    """Return a PNG without its chunks IDAT."""
    parts, at = [png[:8]], 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        parts += [] if png[at + 4 : at + 8] == b"IDAT" else [png[at:end]]
        at = end
    return b"".join(parts)


def interlaced(width: int, height: int, *, colour: int, bits: int, num_bytes: int) -> bytes:
    """Return an interlaced PNG whose pixels are zero. num_bytes: the length of its data once inflated."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 1)
    palette = png_chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    chunks = png_chunk(b"IHDR", header) + palette + png_chunk(b"IDAT", zlib.compress(bytes(num_bytes)))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")
