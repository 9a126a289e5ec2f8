"""Encrypted events: what is decrypted for the decoder, and what stays encrypted in everything that leaves the worker.

The decoder reads a plain copy of a poll. Its chunks then get the original records back, so that dead letters, late events and
shadows have the encrypted values, and its messages lose what they quote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.core.record_columns import PlainRecord, RecordColumns
from forebay.stream.core.record_sizes import record_bytes, records_bytes
from forebay.stream.core.records import Chunk, Epoch, Record, RowFailure, TopicPartition, Unreadable
from forebay.stream.core.rows import RowRecord, RowRecords, distinct_records
from forebay.stream.encryption.documents import DocumentOpener, Opened, has_only_tokens
from forebay.stream.encryption.jwe import (
    CannotDecrypt,
    Cipher,
    Reason,
    TokenOpener,
    TokenSealer,
    is_token,
    resembles_token,
)
from forebay.stream.encryption.scope import WHOLE_VALUE, header_ending, record_scope_id

if TYPE_CHECKING:
    from forebay.stream.decode.encrypted_avro import EncryptedAvro

WITHHELD: Final = "the message is withheld, because the topic has encrypted fields"

DecodeRecords = Callable[[TopicPartition, Sequence[Record], Epoch], list[Chunk]]


class Keys(Protocol):
    """The keys in force (see `encryption.live_keys.LiveKeys`)."""

    @property
    def ciphers(self) -> Mapping[str, Cipher]: ...
    @property
    def sealer(self) -> TokenSealer: ...
    def refresh(self) -> None: ...
    def refresh_for_unknown_key(self) -> bool: ...


def withheld(kind: FailureKind) -> str:
    """Return the message of a failure whose own message may quote a plain value."""
    return f"{FAILURES[kind].description} ({WITHHELD})"


class EncryptedInput:
    """Decrypts the events of some topics.

    topics: full names.
    fields: the declared fields, or ("*",) for the whole value; none if only `avro` decrypts.
    avro: decrypts fields of records in Avro; None if none are encrypted.
    """

    def __init__(
        self,
        topics: Collection[str],
        fields: Sequence[str],
        keys: Keys,
        *,
        id_field: str,
        accepts_plain: bool,
        avro: EncryptedAvro | None = None,
    ) -> None:
        self._avro = avro
        self.topics = frozenset(topics)
        self._fields = tuple(fields)
        self._keys = keys
        self._id_field = id_field
        self._accepts_plain = accepts_plain
        self._ciphers: Mapping[str, Cipher] = {}
        self._whole: dict[str, TokenOpener] = {}
        self._documents: dict[str, DocumentOpener] = {}

    def decode(
        self, partition: TopicPartition, records: Sequence[Record], epoch: Epoch, decode: DecodeRecords
    ) -> list[Chunk]:
        """Return the chunks that `decode` returns for the plain events, with the encrypted records."""
        self._keys.refresh()
        topic = partition.topic
        seal = partial(self._seal_row, topic)
        plain: Sequence[Any]
        if self._fields not in ((), (WHOLE_VALUE,)) and not isinstance(records, RowRecords):
            plain, originals = self._open_all(topic, records)
        else:
            sources = distinct_records(records)
            originals = _Originals(sources)
            plain = [self._open_one(topic, record, originals) for record in sources]
            if isinstance(records, RowRecords):  # rows that are decoded again for another version
                plain = RowRecords(plain, records.source_B, records.row_B)
        return [_with_originals(chunk, originals, seal) for chunk in decode(partition, plain, epoch)]

    def _open_all(self, topic: str, records: Sequence[Record]) -> tuple[Sequence[Any], _Originals]:
        """Return the records of a poll for the decoder, as columns if they came so and all can be decrypted."""
        originals = _Originals(records)
        is_columns = isinstance(records, RecordColumns)
        values: Sequence[bytes | None]
        if isinstance(records, RecordColumns):
            values = records.values
        else:
            values = [None if isinstance(record, Unreadable) else record.value for record in records]
        opened, others = self._document_opener(topic).open_all(values)
        own = {index: self._open_one(topic, records[index], originals) for index in others}
        if isinstance(records, RecordColumns) and not originals.replaced:
            for index, record in own.items():
                is_columns &= not isinstance(record, Unreadable)
                opened[index] = record.value
            if is_columns:
                return records.with_values(opened), originals
        return [
            own[index]
            if index in own
            else PlainRecord(record.offset, record.timestamp, record.key, opened[index], record.headers)
            for index, record in enumerate(records)
        ], originals

    def _open_one(self, topic: str, record: Any, originals: _Originals) -> Any:
        """Return a record for the decoder, and remember what leaves the worker in its place."""
        if isinstance(record, _SealedRows):
            return record
        opened, original = self._open(topic, record)
        if original is not record:
            originals.replaced[record.offset] = original
        return opened

    def _seal_row(self, topic: str, record: Any, value: bytes) -> bytes:
        return self._sealed(topic, _scope_id(record), value)

    def conceal(self, topic: str, failures: dict[int, RowFailure]) -> dict[int, RowFailure]:
        """Return the failures of rows without what their messages may quote."""
        if topic not in self.topics:
            return failures
        return {row: RowFailure(one.kind, withheld(one.kind), one.stack) for row, one in failures.items()}

    def seal_value(self, topic: str, key: bytes | None, value: bytes) -> bytes:
        """Return a value with plain values of these topics, encrypted as a whole."""
        if topic not in self.topics:
            return value
        return self._sealed(topic, record_scope_id(key, None), value)

    def _sealed(self, topic: str, scope_id: str, value: bytes) -> bytes:
        return self._keys.sealer.seal(topic, WHOLE_VALUE, [value], [header_ending(orjson.dumps(scope_id))])[0]

    # ---- one record

    def decrypted(self, topic: str, record: Record) -> Record:
        """Return a record with a plain value; the record itself if its topic is not encrypted. Raises CannotDecrypt."""
        self._keys.refresh()
        value = record.value
        if topic not in self.topics or not value or isinstance(record, Unreadable):
            return record
        opened, _ = self._open_with_new_keys(topic, record, value)
        return PlainRecord(record.offset, record.timestamp, record.key, opened, record.headers)

    def _open(self, topic: str, record: Record) -> tuple[Any, Any]:
        """Return the record for the decoder, and the one that leaves the worker."""
        value = record.value
        if not value or isinstance(record, Unreadable):
            return record, record
        headers = record.headers
        try:
            opened, has_plain = self._open_with_new_keys(topic, record, value)
        except CannotDecrypt as fault:
            # Without declared fields, only values under rules of their schema are encrypted, and stay as they came.
            is_safe = not self._fields or is_token(value) or has_only_tokens(value, self._fields)
            original: Record = record if is_safe else self._sealed_record(topic, record, value)
            return _undecryptable(record, str(fault)), original
        original = self._sealed_record(topic, record, value) if has_plain else record
        return PlainRecord(record.offset, record.timestamp, record.key, opened, headers), original

    def _open_with_new_keys(self, topic: str, record: Record, value: bytes) -> tuple[bytes, bool]:
        """Return what `_open_value` returns, after reading the keys again if the token names an unknown one."""
        try:
            return self._open_value(topic, record, value)
        except CannotDecrypt as fault:
            if fault.reason is not Reason.UNKNOWN_KEY or not self._keys.refresh_for_unknown_key():
                raise
            return self._open_value(topic, record, value)

    def _open_value(self, topic: str, record: Record, value: bytes) -> tuple[bytes, bool]:
        documents = self._document_opener(topic)
        if resembles_token(value):
            whole = self._whole.get(topic)
            if whole is None:
                whole = self._whole[topic] = TokenOpener(topic, WHOLE_VALUE, self._ciphers)
            value = whole.open(value, header_ending(orjson.dumps(_scope_id(record))))
            if self._fields == (WHOLE_VALUE,):
                return value, False
        elif self._fields == (WHOLE_VALUE,):
            if not self._accepts_plain:
                raise CannotDecrypt(Reason.NOT_ENCRYPTED, "the value is not a token")
            return value, True
        if self._avro is not None and (decrypted := self._avro.open(topic, record)) is not None:
            return decrypted, False
        return documents.open(value) if self._fields else Opened(value, has_plain=False)

    def _document_opener(self, topic: str) -> DocumentOpener:
        """Return what opens documents with the keys in force."""
        if self._keys.ciphers is not self._ciphers:
            self._ciphers = self._keys.ciphers
            self._whole.clear()
            self._documents.clear()
        documents = self._documents.get(topic)
        if documents is None:
            documents = self._documents[topic] = DocumentOpener(
                topic, self._fields, self._ciphers, id_field=self._id_field, accepts_plain=self._accepts_plain
            )
        return documents

    def _sealed_record(self, topic: str, record: Record, value: bytes) -> PlainRecord:
        sealed = self._sealed(topic, _scope_id(record), value)
        return PlainRecord(record.offset, record.timestamp, record.key, sealed, record.headers)


def _scope_id(record: Record) -> str:
    id_header = (
        next((value for name, value in record.headers if name.lower() == names.ID), None) if record.headers else None
    )
    return record_scope_id(record.key, id_header)


def _undecryptable(record: Record, message: str) -> Unreadable:
    """Return what the decoder rejects with this message. Without a value, so that no fast path accepts it."""
    return Unreadable(
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=None,
        headers=(),
        first_offset=record.offset,
        count=1,
        kind=FailureKind.UNDECRYPTABLE,
        message=message,
    )


class _SealedRows:
    """A record with several rows, whose single rows leave the worker encrypted. Otherwise it is like the record.

    seal: encrypts the value of a row alone.
    """

    def __init__(self, source: Any, seal: Callable[[Any, bytes], bytes]) -> None:
        self._source = source
        self._seal = seal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def value_of(self, row: int) -> bytes:
        """Return the row alone, encrypted."""
        return self._seal(self._source, self._source.value_of(row))


class _Originals:
    """The records that leave the worker.

    records: as they came. replaced: by offset, those that had plain values and are encrypted as a whole.
    """

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self.replaced: dict[int, Any] = {}
        self._by_offset: dict[int, Any] | None = None

    def at(self, offset: int) -> Any:
        """Return the record at an offset."""
        if self._by_offset is None:
            self._by_offset = {record.offset: record for record in self._records} | self.replaced
        return self._by_offset[offset]

    def of(self, records: Sequence[Any]) -> Sequence[Any]:
        """Return the originals of records, which are not rows."""
        if not isinstance(records, RecordColumns) or not isinstance(self._records, RecordColumns):
            return [self.at(record.offset) for record in records]
        if len(records) == len(self._records):
            return self._records
        return self._records.take(np.searchsorted(self._records.offsets(), records.offsets()))


def _with_originals(chunk: Chunk, originals: _Originals, seal: Callable[[Any, bytes], bytes]) -> Chunk:
    """Return a chunk with the records that leave the worker, and without values in its messages."""

    def original(source: Any) -> Any:
        if hasattr(source, "row_bytes"):
            return source if isinstance(source, _SealedRows) else _SealedRows(source, seal)
        return originals.at(source.offset)

    records: Any = chunk.records
    if isinstance(records, RowRecords):
        records = RowRecords([original(source) for source in records.sources], records.source_B, records.row_B)
    else:
        records = originals.of(records)
    rejections = []
    for rejection in chunk.rejections:
        record: Any = rejection.record
        is_row = type(record) is RowRecord
        own = RowRecord(original(record.source), record.row) if is_row else originals.at(record.offset)
        has_own_message = rejection.kind is FailureKind.UNDECRYPTABLE or isinstance(own, Unreadable)
        message = rejection.message if has_own_message else withheld(rejection.kind)
        rejections.append(replace(rejection, record=own, message=message))
    num_bytes = records_bytes(records) + sum(record_bytes(one.record) for one in rejections)
    return replace(chunk, records=records, rejections=rejections, num_bytes=num_bytes)
