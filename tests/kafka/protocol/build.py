"""Builders of record batches with any content, and of the records expected from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cramjam
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import encode_varint

from forebay.stream.core.records import Unreadable
from forebay.stream.kafka.patches.crc32c import crc32c
from forebay.stream.kafka.protocol.batch_pieces import Piece, pieces
from forebay.stream.kafka.protocol.record_batch import HEADER_BYTES

Headers = Sequence[tuple[bytes, bytes | None]]
MAX_BYTES = 64 << 20

ENCODERS = {
    0: bytes,
    1: gzip_encode,
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}


def varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def nullable(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def record(
    index: int, value: bytes | None = b"v", key: bytes | None = b"k", headers: Headers = (), timestamp: int = 0
) -> bytes:
    """Return the body of one record, without its length."""
    named = b"".join(nullable(name) + nullable(content) for name, content in headers)
    return b"\0" + varint(timestamp) + varint(index) + nullable(key) + nullable(value) + varint(len(headers)) + named


def with_lengths(bodies: Sequence[bytes]) -> bytes:
    return b"".join(varint(len(body)) + body for body in bodies)


def batch(
    records: bytes,
    count: int,
    *,
    base: int = 100,
    codec: int = 0,
    last_delta: int | None = None,
    timestamp: int = 1000,
    packed: bytes | None = None,
) -> bytes:
    """Return a batch with these bytes as its records and a valid checksum. packed: the compressed bytes, else by `codec`."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, timestamp, None, b"", [])
    header = bytearray(builder.build()[:HEADER_BYTES])
    body = ENCODERS[codec](records) if packed is None else packed
    header[0:8] = base.to_bytes(8, "big")
    header[8:12] = (HEADER_BYTES - 12 + len(body)).to_bytes(4, "big")
    header[21:23] = codec.to_bytes(2, "big")
    header[23:27] = (count - 1 if last_delta is None else last_delta).to_bytes(4, "big", signed=True)
    header[57:61] = count.to_bytes(4, "big", signed=True)
    return with_checksum(bytes(header) + body)


def with_checksum(raw: bytes) -> bytes:
    return raw[:17] + crc32c(raw[21:]).to_bytes(4, "big") + raw[21:]


def budget(raw: bytes, *, max_bytes: int = MAX_BYTES) -> list[Piece]:
    return list(pieces(DefaultRecordBatch(raw), memoryview(raw), max_bytes))


def records_of(raw: bytes, *, max_bytes: int = MAX_BYTES) -> list[Any]:
    return [each for piece in budget(raw, max_bytes=max_bytes) for each in piece.records]


def offsets_of(records: Sequence[Any]) -> list[int]:
    """Return the offsets that these cover if none was removed."""
    return [
        offset
        for each in records
        for offset in (
            range(each.first_offset, each.offset + 1)
            if isinstance(each, Unreadable)
            else range(each.offset, each.offset + 1)
        )
    ]


def zstd_of(size: int) -> bytes:
    return bytes(cramjam.zstd.compress(b"a" * size))
