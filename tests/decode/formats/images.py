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
