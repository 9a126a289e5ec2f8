"""Corrects the checksums and sizes of mutated images, so that mutations reach the decoders."""

from __future__ import annotations

import struct
import zlib


def repair_image(payload: bytes) -> bytes:
    """Return a PNG with correct checksums, a WebP with a correct size, and a JPEG with an end."""
    if payload.startswith(b"\x89PNG"):
        return _repair_png(payload)
    if payload.startswith(b"RIFF"):
        return payload[:4] + struct.pack("<I", max(0, len(payload) - 8)) + payload[8:]
    return payload if payload.endswith(b"\xff\xd9") else payload + b"\xff\xd9"


def _repair_png(payload: bytes) -> bytes:
    repaired, at = [payload[:8]], 8
    while at + 12 <= len(payload):
        length = int.from_bytes(payload[at : at + 4], "big")
        data = payload[at + 4 : at + 8 + length]
        if at + 12 + length > len(payload):  # cut short: the chunk ends where the file does
            data = data[: max(4, len(payload) - at - 8)]
        repaired.append(struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)))
        at += 12 + length
    return b"".join(repaired)
