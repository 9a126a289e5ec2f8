"""Decodes a poll into columns. Never raises for data.

Events are parsed one by one, because joint parsing lets a malformed event corrupt its neighbours, but are stored in one matrix
per partition and model. A fast path accepts plainly valid events; all others go to `EventValidator`, which decides exactly. The
fast path accepts only events that the validator would accept with the same result.

Events of most topics name no model, so all are for the model of their topic: their columns hold the poll's records as they
are. If an event turns out to be for another model, the partition is decoded again, divided among the models, as are all later
polls of the topic: by `DividedTopicDecoder` if all events name their model in their last field or not at all, else by
`SharedTopicDecoder`.

Records in other formats, and events with a mapping, go to `FormattedTopicDecoder`. One look at each poll shows whether there
may be some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from forebay.stream.core.record_columns import RecordColumns, any_headers
from forebay.stream.core.record_sizes import records_bytes
from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition
from forebay.stream.core.rows import RowRecords
from forebay.stream.decode.columns import Columns
from forebay.stream.decode.divided_topic import DividedTopicDecoder
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.decode.event_formats import EventFormats, plain_formats
from forebay.stream.decode.formatted_topic import FormattedTopicDecoder
from forebay.stream.decode.models import DecodedModel, ModelChoice
from forebay.stream.decode.one_model import OneModelDecoder, OtherModel
from forebay.stream.decode.shared_topic import SharedTopicDecoder
from forebay.stream.decode.validator import RAW_F32, EventLimits, EventValidator, OtherFormat

DEFAULT_MAX_KEY_BYTES: Final = 32_768

_KEY, _VALUE, _HEADERS = attrgetter("key"), attrgetter("value"), attrgetter("headers")


class Decoder:
    """Decodes polls for the models that a worker serves. The x_BF of a chunk is a new matrix that is not changed later.

    models: at least one. The first is for events that name no model and whose topic belongs to none.
    formats: the formats and mappings of the topics. Default: JSON, and what content types name.
    encrypted: decrypts the events of some topics; None if none are encrypted.
    """

    def __init__(
        self,
        models: Sequence[DecodedModel],
        *,
        max_event_bytes: int,
        max_key_bytes: int = DEFAULT_MAX_KEY_BYTES,
        formats: EventFormats | None = None,
        encrypted: EncryptedInput | None = None,
    ) -> None:
        self.encrypted = encrypted
        limits = EventLimits(max_event_bytes, max_key_bytes)
        self._limits = limits
        self._models = ModelChoice(models)
        self.formats = plain_formats() if formats is None else formats
        self._validator = EventValidator(self._models, limits, self.formats)
        self._one_model = OneModelDecoder(self._validator, limits)
        self._divided = DividedTopicDecoder(self._models, self._one_model)
        self._shared = SharedTopicDecoder(self._models, self._validator, limits)
        self._formatted = FormattedTopicDecoder(
            self._models, self.formats, limits, shared=self._shared, decode_plain=self._decode_plain
        )
        self._shared_topics: set[str] = set()

    def decode(self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        """Return the chunks of each partition with records: one for each model that has some, in the order of the models.

        Each record is in exactly one chunk. A chunk's rows are in offset order, and it ends after its own last record, so the
        chunk with the partition's last record ends where the poll does, and the others below.
        """
        chunks: list[Chunk] = []
        for partition, records in poll.items():
            if not records:
                continue
            place = TopicPartition(*partition)
            if self.encrypted is not None and place.topic in self.encrypted.topics:
                chunks += self.encrypted.decode(place, records, epoch, self._decode)
            else:
                chunks += self._decode(place, records, epoch)
        return chunks

    def _decode(self, partition: TopicPartition, records: Sequence[Record], epoch: Epoch) -> list[Chunk]:
        topic = partition.topic
        if isinstance(records, RowRecords):  # they were read before
            return self._formatted.decode(partition, records, epoch)
        has_headers = any_headers(records)
        if not self.formats.choice.is_plain(topic, records, has_headers=has_headers):
            return self._formatted.decode(partition, records, epoch)
        values: Sequence[bytes | None]
        if isinstance(records, RecordColumns):
            values, keys = records.values, records.keys
            num_bytes, longest_value, longest_key = records.num_bytes(), values.longest(), keys.longest()
        else:
            values = list(map(_VALUE, records))
            num_bytes = records_bytes(records)
            longest_value = max(map(len, filter(None, values)), default=0)
            longest_key = max(map(len, filter(None, map(_KEY, records))), default=0)
        is_short = not (
            has_headers or longest_value > self._limits.max_event_bytes or longest_key > self._limits.max_key_bytes
        )
        try:
            return self._decode_json(
                partition, records, epoch, values=values if is_short else None, num_bytes=num_bytes
            )
        except OtherFormat:
            self.formats.choice.on_mixed(topic)
            return self._formatted.decode(partition, records, epoch)

    def _decode_json(
        self,
        partition: TopicPartition,
        records: Sequence[Record],
        epoch: Epoch,
        *,
        values: Sequence[bytes | None] | None,
        num_bytes: int,
    ) -> list[Chunk]:
        """Decode JSON with Forebay's fields and raw float32. Raises OtherFormat.

        values: the values, if no record has headers and all are within the limits.
        num_bytes: the size of the records.
        """
        topic = partition.topic
        if topic not in self._shared_topics:
            columns = self._decode_for_topic(records, values, topic)
            if columns is not None:
                x_BF = columns.matrix()
                if x_BF is not None:
                    return [columns.chunk(partition, epoch, x_BF, num_bytes)]
        chunks = _chunks(partition, self._decode_for_all(records, values, topic), epoch, num_bytes)
        return chunks or _chunks(partition, self._shared.validate(records, topic), epoch, num_bytes)

    def _decode_plain(
        self, partition: TopicPartition, records: Sequence[Record], epoch: Epoch, is_raw: bool
    ) -> list[Chunk]:
        """Decode records that need no format and are within the limits, among records of other formats."""
        has_headers = any(map(_HEADERS, records))
        num_bytes = records_bytes(records)
        if is_raw and partition.topic not in self._shared_topics and not has_headers:
            columns = Columns(self._models.of_topic(partition.topic), records)
            self._one_model.decode_records(columns, partition.topic, default=RAW_F32)
            x_BF = columns.matrix()
            if x_BF is not None:
                return [columns.chunk(partition, epoch, x_BF, num_bytes)]
            return _chunks(partition, self._shared.validate(records, partition.topic), epoch, num_bytes)
        values = None if has_headers or is_raw else list(map(_VALUE, records))
        return self._decode_json(partition, records, epoch, values=values, num_bytes=num_bytes)

    def _decode_for_topic(
        self, records: Sequence[Record], values: Sequence[bytes | None] | None, topic: str
    ) -> Columns | None:
        """Return the columns of the topic's model; None if some records are for another one.

        values: the values, if no record has headers and all are within the limits.
        """
        columns = Columns(self._models.of_topic(topic), records)
        try:
            if values is None:
                self._one_model.decode_records(columns, topic)
            else:
                row_format = columns.format
                self._one_model.decode_values(values, columns, topic, parse=row_format.parse, reader=row_format.reader)
        except OtherModel:
            self._shared_topics.add(topic)
            return None
        if columns.any_named:
            self._shared_topics.add(topic)  # its parser knows the field
        return columns

    def _decode_for_all(
        self, records: Sequence[Record], values: Sequence[bytes | None] | None, topic: str
    ) -> Sequence[Columns]:
        """Return the columns of the models that have records."""
        divided = None if values is None else self._divided.decode(values, records, topic)
        return self._shared.decode(records, values, topic) if divided is None else divided


def _chunks(partition: TopicPartition, all_columns: Sequence[Columns], epoch: Epoch, num_bytes: int) -> list[Chunk]:
    """Return the chunks of a partition; none if raw rows contain invalid values, so that the validator has to decide."""
    chunks, rest = [], num_bytes
    for columns in all_columns:
        x_BF = columns.matrix()
        if x_BF is None:
            return []
        size = rest if columns is all_columns[-1] else records_bytes(columns.records)
        rest -= size
        chunks.append(columns.chunk(partition, epoch, x_BF, size))
    return chunks
