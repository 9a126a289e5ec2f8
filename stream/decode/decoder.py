"""Decodes a poll into columns. Never raises for data.

Events are parsed one by one, because joint parsing lets a malformed event corrupt its neighbours, but are stored in one matrix
per partition. A fast path accepts plainly valid events; all others go to `EventValidator`, which decides exactly. The fast path
accepts only events that the validator would accept with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from forebay.schemas import headers as names
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream.core.records import (
    Chunk,
    Epoch,
    FloatMatrix,
    Record,
    Rejection,
    TopicPartition,
    Unreadable,
    headers_size,
)
from forebay.stream.decode.features import FeaturePacker
from forebay.stream.decode.models import DecodedModel
from forebay.stream.decode.nested import flat_or_nested_parser, nested_type
from forebay.stream.decode.validator import (
    JSON_CONTENT_TYPES,
    RAW_F32,
    EventLimits,
    EventValidator,
    InvalidEvent,
    content_type,
)

DEFAULT_MAX_KEY_BYTES: Final = 32_768

_RAW_ONLY = (names.CONTENT_TYPE, RAW_F32)
_KEY, _VALUE, _HEADERS = attrgetter("key"), attrgetter("value"), attrgetter("headers")


class Decoder:
    """Decodes polls for one model. The x_BF of a chunk is a new matrix that is not changed later."""

    def __init__(
        self,
        models: Sequence[DecodedModel],
        *,
        max_event_bytes: int,
        max_key_bytes: int = DEFAULT_MAX_KEY_BYTES,
    ) -> None:
        (model,) = models
        signature = model.signature
        self._model = model.ref
        self._packer = FeaturePacker(signature)
        limits = EventLimits(max_event_bytes, max_key_bytes)
        self._validator = EventValidator(self._packer, model_name=model.ref.name, limits=limits)
        self._max_event_bytes = max_event_bytes
        self._max_key_bytes = max_key_bytes
        self._parse = _parser_of_plain_events(self._packer.parsed_type)
        if len(signature.shape) > 1 and not self._packer.has_categories:
            parse_nested = _parser_of_plain_events(nested_type(signature.shape))
            self._parse = flat_or_nested_parser(self._parse, parse_nested, signature.shape)
        self._not_nullable = np.array(
            [not self._packer.nullable(index) for index in range(self._packer.num_features)], dtype=bool
        )

    def decode(self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        """Return one chunk per partition with records, its rows in offset order."""
        chunks = []
        for partition, records in poll.items():
            if not records:
                continue
            chunk, suspect = self._decode(TopicPartition(*partition), records, epoch, self._parse)
            if suspect:
                chunk, _ = self._decode(TopicPartition(*partition), records, epoch, _refuse)
            chunks.append(chunk)
        return chunks

    def _decode(
        self,
        partition: TopicPartition,
        records: Sequence[Record],
        epoch: Epoch,
        parse: Callable[[bytes], Any],
    ) -> tuple[Chunk, bool]:
        """Return the chunk of one partition, and whether rows from the fast path need the validator after all."""
        values = list(map(_VALUE, records))
        value_lengths = list(map(len, filter(None, values)))
        key_lengths = list(map(len, filter(None, map(_KEY, records))))
        num_bytes = sum(value_lengths) + sum(key_lengths)
        has_headers = any(map(_HEADERS, records))
        if has_headers:
            num_bytes += sum(map(headers_size, map(_HEADERS, records)))
        columns = _Columns(records)
        any_raw = False
        if (
            has_headers
            or max(value_lengths, default=0) > self._max_event_bytes
            or max(key_lengths, default=0) > self._max_key_bytes
        ):
            any_raw = self._decode_mixed(records, parse, columns)
        else:
            self._decode_plain(values, parse, columns)
        num_features = self._packer.num_features
        x_BF: FloatMatrix = np.frombuffer(bytearray().join(columns.rows), dtype="<f4").reshape(-1, num_features)
        # Raw rows, unlike JSON, may contain NaN or infinity. This is rare, so one check covers all rows.
        suspect = any_raw and bool(np.isinf(x_BF).any() or np.isnan(x_BF[:, self._not_nullable]).any())
        chunk = Chunk(
            partition,
            epoch,
            self._model,
            records=columns.valid_records(),
            ids=columns.ids,
            timestamps=columns.timestamps,
            x_BF=x_BF,
            rejections=columns.rejections,
            num_records=len(records),
            num_bytes=num_bytes,
            next_offset=records[-1].offset + 1,
            keys=columns.keys,
            deadlines=columns.deadlines,
        )
        return chunk, suspect

    def _decode_plain(self, values: Sequence[bytes | None], parse: Callable[[bytes], Any], columns: _Columns) -> None:
        """Decode values of records without headers and within the limits. Most polls contain only these, so this is minimal."""
        pack, arrange = self._packer.pack, self._packer.arrange
        rows, ids, timestamps = columns.rows, columns.ids, columns.timestamps
        for index, value in enumerate(values):
            try:
                event = parse(value)  # type: ignore[arg-type]  # a tombstone raises like all others
                features = event.features
                row = pack(*(features if type(features) is tuple else arrange(features)))
            except Exception:  # the validator finds the reason
                columns.add_validated(index, self._validator)
                continue
            rows.append(row)
            ids.append(event.id)
            timestamps.append(event.timestamp)

    def _decode_mixed(self, records: Sequence[Record], parse: Callable[[bytes], Any], columns: _Columns) -> bool:
        """Decode records of any kind. Return whether one was raw float32."""
        pack, arrange = self._packer.pack, self._packer.arrange
        row_bytes, max_bytes, max_key_bytes = self._packer.row_bytes, self._max_event_bytes, self._max_key_bytes
        raw_only = None if parse is _refuse or self._packer.has_categories else _RAW_ONLY
        any_raw = False
        for index, record in enumerate(records):
            key, value, headers = record.key, record.value, record.headers
            try:
                if not value or len(value) > max_bytes or (key is not None and len(key) > max_key_bytes):
                    raise ValueError
                if not headers or content_type(record) in (None, *JSON_CONTENT_TYPES):
                    event = parse(value)
                    event_id, timestamp, features = event.id, event.timestamp, event.features
                    row = pack(*(features if type(features) is tuple else arrange(features)))
                elif len(headers) == 1 and headers[0] == raw_only and len(value) == row_bytes and key:
                    any_raw = True
                    event_id, timestamp = key.decode(), record.timestamp
                    if not 0 <= timestamp <= MAX_TIMESTAMP_MS:
                        raise ValueError
                    row = value
                else:
                    raise ValueError
            except Exception:  # the validator finds the reason
                columns.add_validated(index, self._validator)
                continue
            columns.rows.append(row)
            columns.ids.append(event_id)
            columns.timestamps.append(timestamp)
        return any_raw


class _Columns:
    """The columns of one partition, filled in the order of its records."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self.rows: list[bytes] = []
        self.ids: list[str] = []
        self.timestamps: list[int] = []
        self.rejections: list[Rejection] = []
        self.keys: dict[int, bytes] = {}
        self.deadlines: dict[int, int] = {}

    def add_validated(self, index: int, validator: EventValidator) -> None:
        """Add the record at `index` as a row or as a rejection, as the validator decides."""
        record, row = self._records[index], len(self.rows)
        try:
            event = validator.validate(record)
        except InvalidEvent as fault:
            count = record.count if isinstance(record, Unreadable) else 1
            self.rejections.append(Rejection(index, record, kind=fault.kind, message=fault.message, count=count))
            return
        if event.key is not None and record.key is None:
            self.keys[row] = event.key
        if event.deadline_ms is not None:
            self.deadlines[row] = event.deadline_ms
        self.rows.append(event.row)
        self.ids.append(event.id)
        self.timestamps.append(event.timestamp)

    def valid_records(self) -> Sequence[Record]:
        """Return the records that are rows."""
        if not self.rejections:
            return self._records
        rejected = {rejection.index for rejection in self.rejections}
        return [record for index, record in enumerate(self._records) if index not in rejected]


def _parser_of_plain_events(features_type: Any) -> Callable[[bytes], Any]:
    """Return a parser of events that have exactly the three usual fields. It raises for all others."""
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
    """Refuse every value, so that the validator decides about every row."""
    raise ValueError
