"""Decompression of record batches within a size limit. Pure.

A few kilobytes can unpack to gigabytes. The unpacked size is therefore limited before memory is allocated: by the sizes stated
in the frames if there are any, else by an output buffer of a fixed size.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import cramjam

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODEC_NAMES: Final = ("none", "gzip", "snappy", "lz4", "zstd")

_XERIAL_HEADER: Final = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
_GZIP_WINDOW_BITS: Final = 31  # the largest window, and a gzip header
_GZIP_FIRST_BYTES: Final = 1024
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_BLOCK_BYTES: Final = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}
_LZ4_STORED: Final = 1 << 31
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK_BYTES: Final = 1 << 17
_ZSTD_RAW, _ZSTD_RLE, _ZSTD_COMPRESSED = range(3)
_BUFFER_FULL: Final = "failed to write whole buffer"


class UnpackedTooLarge(Exception):
    """The data unpacks to more than the limit."""


class NotUnpackable(Exception):
    """The data is invalid for its codec, or the codec is unknown."""


def unpack(codec: int, data: bytes | memoryview, max_bytes: int) -> bytes | memoryview:
    """Return the unpacked records of a batch. codec: from the attributes of the batch.

    Raises UnpackedTooLarge if they exceed `max_bytes`, NotUnpackable for all other errors in the data.
    """
    if codec == NONE:
        return data
    if codec == GZIP:
        return _gunzip(data, max_bytes)
    if codec == SNAPPY:
        return _unpack_snappy(bytes(data), max_bytes)
    if codec == LZ4:
        return _unpack_frames(cramjam.lz4, bytes(data), _largest_lz4(data), max_bytes)
    if codec == ZSTD:
        return _unpack_frames(cramjam.zstd, bytes(data), _largest_zstd(data), max_bytes)
    raise NotUnpackable(f"unknown compression codec {codec}")


def _gunzip(data: bytes | memoryview, max_bytes: int) -> bytes:
    """Unpack one gzip member after another, as Kafka's clients do."""
    rest = memoryview(data)
    parts: list[bytes] = []
    left = max_bytes
    try:
        while len(rest):
            member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            # zlib copies what follows a member, and there may be a member every 20 bytes: pass it little data at first.
            size = _GZIP_FIRST_BYTES
            while not member.eof:
                if not len(rest):
                    raise NotUnpackable("the gzip data is truncated")
                part = member.decompress(rest[:size], left + 1)  # 0 would mean no limit
                left -= len(part)
                if left < 0:
                    raise UnpackedTooLarge
                parts.append(part)
                rest = rest[min(size, len(rest)) - len(member.unused_data) :]
                size *= 2
            while len(rest) and rest[0] == 0:  # members may be padded
                rest = rest[1:]
    except zlib.error as error:
        raise NotUnpackable(str(error)) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpack_snappy(data: bytes, max_bytes: int) -> bytes:
    """Unpack a raw snappy block, or the blocks of the framing that Java's producers use."""
    if not data.startswith(_XERIAL_HEADER):
        return _unpack_snappy_block(data, max_bytes)
    parts = []
    cursor = len(_XERIAL_HEADER)
    while cursor < len(data):
        end = cursor + 4 + int.from_bytes(data[cursor : cursor + 4], "big")
        if end > len(data):
            raise NotUnpackable("a snappy block is longer than the data")
        part = _unpack_snappy_block(data[cursor + 4 : end], max_bytes)
        max_bytes -= len(part)
        parts.append(part)
        cursor = end
    return b"".join(parts)


def _unpack_snappy_block(block: bytes, max_bytes: int) -> bytes:
    try:
        # The size precedes the block, and the decoder rejects a block of another size.
        if cramjam.snappy.decompress_raw_len(block) > max_bytes:
            raise UnpackedTooLarge
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise NotUnpackable(str(error)) from None


def _unpack_frames(decoder: Any, data: bytes, largest: int | None, max_bytes: int) -> bytes | memoryview:
    """Unpack lz4 or zstd frames. largest: the upper bound of their unpacked size, None if it is unknown."""
    try:
        if largest is not None and largest <= max_bytes:
            return memoryview(decoder.decompress(data))
        output = bytearray(max_bytes)
        size = decoder.decompress_into(data, output)
        return bytes(memoryview(output)[:size])  # the rest is not kept as long as the records are
    except cramjam.DecompressionError as error:
        if _BUFFER_FULL in str(error):
            raise UnpackedTooLarge from None
        raise NotUnpackable(str(error)) from None


def _largest_lz4(data: bytes | memoryview) -> int | None:
    """Return an upper bound of the unpacked size of an lz4 frame: its number of blocks times their maximum size."""
    if bytes(data[:4]) != _LZ4_MAGIC or len(data) < 7:
        return None
    flags = data[4]
    block_bytes = _LZ4_BLOCK_BYTES.get(data[5] >> 4 & 7)
    if block_bytes is None:
        return None
    cursor = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    checksum_bytes = 4 if flags & 0x10 else 0
    largest = 0
    while cursor + 4 <= len(data):
        size = int.from_bytes(data[cursor : cursor + 4], "little")
        if size == 0:
            cursor += 4 + (4 if flags & 0x04 else 0)
            return largest if cursor == len(data) else None  # more than one frame
        largest += block_bytes
        cursor += 4 + (size & ~_LZ4_STORED) + checksum_bytes
    return None


def _largest_zstd(data: bytes | memoryview) -> int | None:
    """Return an upper bound of the unpacked size of a zstd frame, from the headers of its blocks (RFC 8878)."""
    if bytes(data[:4]) != _ZSTD_MAGIC or len(data) < 6:
        return None
    descriptor = data[4]
    is_single = bool(descriptor & 0x20)
    content_bytes = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    cursor = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_bytes
    largest = 0
    while cursor + 3 <= len(data):
        header = int.from_bytes(data[cursor : cursor + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        largest += min(size, _ZSTD_BLOCK_BYTES) if kind in (_ZSTD_RAW, _ZSTD_RLE) else _ZSTD_BLOCK_BYTES
        cursor += 3 + (1 if kind == _ZSTD_RLE else size)
        if header & 1:
            cursor += 4 if descriptor & 0x04 else 0
            return largest if cursor == len(data) else None  # more than one frame
    return None
