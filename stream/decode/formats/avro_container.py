"""Avro's object container files with one object, as some producers send them: a file is an event."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cramjam

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import InvalidPayload

MAGIC: Final = b"Obj\x01"
SYNC_BYTES: Final = 16
MAX_OBJECT_BYTES: Final = 1 << 24
"""Limit of a decompressed block."""
MAX_METADATA: Final = 1_000

_CHECKSUM_BYTES: Final = 4


class ContainedObject(NamedTuple):
    """The only object of a file, and the text of the schema that it was written with."""

    schema: str
    payload: bytes


class _Reader:
    """Reads a file from its start. Raises InvalidPayload where bytes are missing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position == len(self._data)

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self._data):
            raise _invalid(f"the file ends within a part, after {len(self._data):,} bytes")
        part = self._data[self.position : end]
        self.position = end
        return part

    def long(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise _invalid(f"the integer before byte {self.position} has more than 64 bits")


def read_container(data: bytes) -> ContainedObject:
    """Return the object of a file that has exactly one. Raises InvalidPayload."""
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise _invalid("the value does not begin with 'Obj' and byte 1")
    metadata = _metadata(reader)
    sync = reader.take(SYNC_BYTES)
    blocks: list[bytes] = []
    num_objects = 0
    while not reader.at_end:
        count, size = reader.long(), reader.long()
        if count < 0:
            raise _invalid(f"the block before byte {reader.position} has {count} objects")
        blocks.append(reader.take(size))
        num_objects += count
        if reader.take(SYNC_BYTES) != sync:
            raise _invalid(f"the block before byte {reader.position} does not end with the file's sync marker")
    if num_objects != 1:
        raise _invalid(
            f"the file has {num_objects:,} objects; an event is a file with one: send one file for each object"
        )
    try:
        schema, codec = metadata["avro.schema"].decode(), metadata.get("avro.codec", b"null").decode()
    except (KeyError, UnicodeDecodeError):
        raise _invalid("the file has no avro.schema in UTF-8") from None
    return ContainedObject(schema, b"".join(_decompressed(block, codec) for block in blocks))


def _metadata(reader: _Reader) -> dict[str, bytes]:
    metadata: dict[str, bytes] = {}
    while count := reader.long():
        if count < 0:
            count = -count
            reader.long()  # the size of the block, which is not needed
        if len(metadata) + count > MAX_METADATA:
            raise _invalid(f"the file has more than {MAX_METADATA:,} entries of metadata")
        for _ in range(count):
            name = reader.take(reader.long()).decode("utf-8", "replace")
            metadata[name] = reader.take(reader.long())
    return metadata


def _decompressed(block: bytes, codec: str) -> bytes:
    decompress = _CODECS.get(codec)
    if decompress is None:
        raise _invalid(f"the file's codec is {codec[:40]!r}; {', '.join(_CODECS)} can be read")
    try:
        return decompress(block)
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, cramjam.DecompressionError) as error:
        raise _invalid(f"a block cannot be decompressed as {codec}: {' '.join(str(error).split())[:200]}") from None


def _deflate(block: bytes) -> bytes:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    return _complete(decompressor, decompressor.decompress(block, MAX_OBJECT_BYTES))


def _bzip2(block: bytes) -> bytes:
    decompressor = bz2.BZ2Decompressor()
    return _complete(decompressor, decompressor.decompress(block, MAX_OBJECT_BYTES))


def _xz(block: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor(memlimit=8 * MAX_OBJECT_BYTES)
    return _complete(decompressor, decompressor.decompress(block, MAX_OBJECT_BYTES))


def _complete(decompressor: Any, content: bytes) -> bytes:
    if not decompressor.eof:
        raise ValueError(f"it is incomplete, or has more than {MAX_OBJECT_BYTES:,} bytes")
    return content


def _snappy(block: bytes) -> bytes:
    compressed, checksum = block[:-_CHECKSUM_BYTES], block[-_CHECKSUM_BYTES:]
    if len(checksum) < _CHECKSUM_BYTES or cramjam.snappy.decompress_raw_len(compressed) > MAX_OBJECT_BYTES:
        raise ValueError(f"it has no checksum, or more than {MAX_OBJECT_BYTES:,} bytes")
    content = bytes(cramjam.snappy.decompress_raw(compressed))
    if zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        raise ValueError("the checksum differs")
    return content


def _zstandard(block: bytes) -> bytes:
    content = bytearray(MAX_OBJECT_BYTES)  # is too small for larger content, which raises
    return bytes(content[: cramjam.zstd.decompress_into(block, content)])


_CODECS: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        "null": bytes,
        "deflate": _deflate,
        "snappy": _snappy,
        "zstandard": _zstandard,
        "bzip2": _bzip2,
        "xz": _xz,
    }
)


def _invalid(message: str) -> InvalidPayload:
    return InvalidPayload(FailureKind.INVALID_PAYLOAD, f"Avro object container: {message}")
