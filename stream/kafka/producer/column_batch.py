"""Record batches of outputs, built from their columns: by the compiled part, or by the client's builder.

A `ColumnBatch` takes the place of the client's `BatchBuilder`, from which the client's sender needs only what is here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import google_crc32c
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder

from forebay.stream import native
from forebay.stream.core.outputs import Outgoing
from forebay.stream.kafka.patches.crc32c import crc32c

HEADER_BYTES: Final = 61
_BEFORE_CHECKSUM: Final = struct.Struct(">qiibI")
_CHECKED: Final = struct.Struct(">hiqqqhii")
_AFTER_LENGTH: Final = 12
_FORMAT: Final = 2
_NO_LEADER_EPOCH: Final = -1
_TRANSACTIONAL: Final = 0x10

CODECS: Final[dict[str | None, tuple[int, Callable[[bytes], bytes]]]] = {
    None: (0, bytes),
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What all batches of a producer have in common.

    compression_type: None for none.
    max_bytes: the size limit of a batch before compression.
    """

    compression_type: str | None
    max_bytes: int
    is_transactional: bool


class ColumnBatch:
    """A batch of records with one timestamp.

    records: the encoded records, uncompressed.
    timestamp_ms: ms since the Unix epoch.
    """

    def __init__(self, records: bytes, num_records: int, options: BatchOptions, *, timestamp_ms: int) -> None:
        self._records = records
        self._num_records = num_records
        self._options = options
        self._timestamp_ms = timestamp_ms
        self._producer = (-1, -1, 0)
        self._buffer: bytes | None = None

    def record_count(self) -> int:
        return self._num_records

    def closed(self) -> bool:
        """Return True: nothing is added to it."""
        return True

    def close(self) -> None:
        """Do nothing: it is closed."""

    def size(self) -> int:
        return HEADER_BYTES + len(self._records) if self._buffer is None else len(self._buffer)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._buffer is None:
            self._buffer = self._encoded()
            self._records = b""
        return self._buffer

    def _encoded(self) -> bytes:
        codec, compress = CODECS[self._options.compression_type]
        records = compress(self._records)
        times = (self._timestamp_ms, self._timestamp_ms)
        attributes = codec | (_TRANSACTIONAL if self._options.is_transactional else 0)
        last = self._num_records - 1
        checked = _CHECKED.pack(attributes, last, *times, *self._producer, self._num_records)
        length = HEADER_BYTES - _AFTER_LENGTH + len(records)
        checksum = _checksum(checked, records)
        return b"".join((_BEFORE_CHECKSUM.pack(0, length, _NO_LEADER_EPOCH, _FORMAT, checksum), checked, records))


def _checksum(head: bytes, records: bytes) -> int:
    if crc32c is google_crc32c.value:
        return int(google_crc32c.extend(google_crc32c.value(head), records))
    return crc32c(head + records)


def next_batch(
    records: Outgoing, start: int, options: BatchOptions, *, timestamp_ms: int
) -> tuple[ColumnBatch | BatchBuilder, int]:
    """Return a batch with the records from index `start` on that fit, and the index at which the next one begins."""
    if native.record_writer is None:
        return _built_by_client(records, start, options, timestamp_ms=timestamp_ms)
    max_bytes = options.max_bytes - HEADER_BYTES - 1  # the client's builder leaves a byte too
    encoded, count = native.record_writer.write(
        records.keys, records.values, records.headers, start=start, max_bytes=max_bytes
    )
    return ColumnBatch(encoded, count, options, timestamp_ms=timestamp_ms), start + count


def _built_by_client(
    records: Outgoing, start: int, options: BatchOptions, *, timestamp_ms: int
) -> tuple[BatchBuilder, int]:
    """Fill the client's builder. Uses its compiled builder directly: the wrapper costs as much per record as the encoding."""
    codec, _ = CODECS[options.compression_type]
    builder = BatchBuilder(options.max_bytes, codec, is_transactional=int(options.is_transactional))
    append = builder._builder.append
    count = 0
    columns = (records.keys, records.values, records.headers)
    parts = columns if start == 0 else tuple(column[start:] for column in columns)
    for key, value, headers in zip(*parts, strict=True):
        if append(count, timestamp_ms, key, value, headers) is None:
            break
        count += 1
    builder._relative_offset = count
    return builder, start + count
