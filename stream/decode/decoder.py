"""A whole poll into columns. Total: it never raises for data.

Events are parsed one by one (joined parsing lets one bad event corrupt its neighbours), but laid into one matrix a
partition. The loop has a fast path for what is plainly right; everything else goes to `EventJudge`, which decides
exactly. The fast path accepts only what the judge would accept with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from models.signature import Signature
from schemas import headers as names
from schemas.definitions import MAX_TIMESTAMP_MS
from stream.decode.event import (
    JSON_CONTENT_TYPES,
    RAW_F32,
    EventFault,
    EventJudge,
    content_type,
)
from stream.decode.features import FeaturePacker
from stream.records import Chunk, Epoch, FloatMatrix, Partition, Record, Rejection

_RAW_ONLY = (names.CONTENT_TYPE, RAW_F32)


class Decoder:
    """Decodes polls for one model. A chunk's x_BF is a fresh matrix, never written again."""

    def __init__(self, signature: Signature, *, model_name: str, max_event_bytes: int) -> None:
        self._packer = FeaturePacker(signature)
        self._judge = EventJudge(self._packer, model_name=model_name, max_event_bytes=max_event_bytes)
        self._max_event_bytes = max_event_bytes
        self._parse = _parser_of_plain_events(self._packer.parsed_type)
        self._not_nullable = np.array(
            [not self._packer.nullable(index) for index in range(self._packer.num_features)], dtype=bool
        )

    def decode(self, poll: Mapping[Partition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        """One chunk for each partition that has records, rows in offset order."""
        chunks = []
        for partition, records in poll.items():
            if not records:
                continue
            chunk, suspect = self._decode(Partition(*partition), records, epoch, self._parse)
            if suspect:
                chunk, _ = self._decode(Partition(*partition), records, epoch, _refuse)
            chunks.append(chunk)
        return chunks

    def _decode(
        self,
        partition: Partition,
        records: Sequence[Record],
        epoch: Epoch,
        parse: Callable[[bytes], Any],
    ) -> tuple[Chunk, bool]:
        """One partition's records, and whether a row of the fast path holds what only the judge may decide about."""
        pack, arrange = self._packer.pack, self._packer.arrange
        row_bytes, max_bytes = self._packer.row_bytes, self._max_event_bytes
        num_bytes = 0
        raw_only = None if parse is _refuse or self._packer.has_categories else _RAW_ONLY
        any_raw = False
        good: list[Record] = []
        rows: list[bytes] = []
        ids: list[str] = []
        timestamps: list[int] = []
        rejections: list[Rejection] = []
        keys: dict[int, bytes] = {}
        deadlines: dict[int, int] = {}
        for index, record in enumerate(records):
            value = record.value
            size = 0 if value is None else len(value)
            num_bytes += size
            headers = record.headers
            try:
                if size > max_bytes or not value:
                    raise ValueError
                if not headers or content_type(record) in (None, *JSON_CONTENT_TYPES):
                    event = parse(value)
                    event_id, timestamp, features = event.id, event.timestamp, event.features
                    row = pack(*(features if type(features) is tuple else arrange(features)))
                elif len(headers) == 1 and headers[0] == raw_only and size == row_bytes and record.key:
                    any_raw = True
                    event_id, timestamp = record.key.decode(), record.timestamp
                    row = value
                else:
                    raise ValueError
            except Exception:  # whatever it was, the judge tells
                try:
                    judged = self._judge.judge(record)
                except EventFault as fault:
                    rejections.append(Rejection(index, record, fault.kind, fault.message))
                    continue
                if judged.key is not None and record.key is None:
                    keys[len(good)] = judged.key
                if judged.deadline_ms is not None:
                    deadlines[len(good)] = judged.deadline_ms
                event_id, timestamp, row = judged.id, judged.timestamp, judged.row
            good.append(record)
            rows.append(row)
            ids.append(event_id)
            timestamps.append(timestamp)
        x_BF: FloatMatrix = np.frombuffer(bytearray().join(rows), dtype="<f4").reshape(-1, self._packer.num_features)
        # JSON has neither NaN nor infinity; raw rows may hold them, which is rare, so they are looked for all at once.
        suspect = any_raw and bool(np.isinf(x_BF).any() or np.isnan(x_BF[:, self._not_nullable]).any())
        next_offset = records[-1].offset + 1
        chunk = Chunk(
            partition,
            epoch,
            good,
            ids,
            timestamps,
            x_BF,
            rejections,
            len(records),
            num_bytes,
            next_offset,
            keys,
            deadlines,
        )
        return chunk, suspect


def _parser_of_plain_events(features_type: Any) -> Callable[[bytes], Any]:
    """JSON to an object with the three fields that most events have, and only those; raises for all else."""
    event_type = msgspec.defstruct(
        "PlainEvent",
        [
            ("id", Annotated[str, msgspec.Meta(min_length=1)]),
            ("timestamp", Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP_MS)]),
            ("features", features_type),
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(event_type).decode


def _refuse(_value: bytes) -> Any:
    """A fast path that accepts nothing, so that the judge decides about every row."""
    raise ValueError
