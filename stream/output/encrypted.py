"""Encryption of predictions, after they are encoded: named fields of the JSON, or the whole value in any format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from forebay.stream.core.decisions import PREDICT
from forebay.stream.core.record_columns import keys_of
from forebay.stream.core.records import BatchResult, Chunk, TopicPartition
from forebay.stream.core.rows import selected
from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.jwe import TokenSealer
from forebay.stream.encryption.scope import WHOLE_VALUE, header_ending, record_scope_id
from forebay.stream.output.encoder import Encoder
from forebay.stream.output.wire import EncodableWindow

_ID_FIELD: Final = "id"


class EncryptedPredictions:
    """Encrypts encoded predictions. Implements `Encoder`.

    fields: of the JSON document, or ("*",) for the whole value.
    topics: the full names of the topics of predictions by decision code.
    sealer: returns what encrypts with the current key; called for each part of a micro-batch.
    """

    def __init__(
        self, encoder: Encoder, fields: Sequence[str], *, topics: Sequence[str], sealer: Callable[[], TokenSealer]
    ) -> None:
        self._encoder = encoder
        self._topics = tuple(topics)
        self._sealer = sealer
        self._documents: Mapping[str, DocumentSealer] | None = None
        if tuple(fields) != (WHOLE_VALUE,):
            self._documents = {topic: DocumentSealer(topic, fields, id_field=_ID_FIELD) for topic in self._topics}

    def encode(self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None) -> list[bytes]:
        """Return one encrypted record value per row of a chunk. See `PredictionEncoder.encode`."""
        values = self._encoder.encode(result, chunk, first_row, rows)
        if not values:
            return values
        chosen: Sequence[int] = range(len(chunk.records)) if rows is None else rows
        keys: Sequence[bytes | None] = ()
        if self._documents is None:
            keys = keys_of(chunk.records if rows is None else selected(chunk.records, rows))
            if chunk.keys:
                keys = [chunk.keys.get(row, key) for row, key in zip(chosen, keys, strict=True)]
        return self._encrypt(values, keys, self._codes(result, first_row, chosen))

    def encode_windows(
        self,
        result: BatchResult,
        partition: TopicPartition,
        first_row: int,
        windows: Sequence[EncodableWindow],
        rows: Sequence[int] | None,
    ) -> list[bytes]:
        """Return one encrypted record value per window. See `PredictionEncoder.encode_windows`."""
        values = self._encoder.encode_windows(result, partition, first_row, windows=windows, rows=rows)
        chosen: Sequence[int] = range(len(windows)) if rows is None else rows
        keys = [windows[row].key.encode("utf-8", "surrogateescape") for row in chosen]
        return self._encrypt(values, keys, self._codes(result, first_row, chosen)) if values else values

    def _codes(self, result: BatchResult, first_row: int, rows: Sequence[int]) -> list[int] | None:
        """Return the decision code of each row; None if all predictions go to one topic."""
        if result.decisions_B is None or len(self._topics) == 1:
            return None
        codes_B: list[int] = result.decisions_B[first_row:].tolist()
        return [codes_B[row] for row in rows]

    def _encrypt(self, values: list[bytes], keys: Sequence[bytes | None], codes: Sequence[int] | None) -> list[bytes]:
        sealer = self._sealer()
        if codes is None:
            return self._encrypt_for(self._topics[PREDICT], values, keys, sealer)
        encrypted = list(values)
        for code in set(codes):
            places = [place for place, own in enumerate(codes) if own == code]
            own_keys = [keys[place] for place in places] if keys else ()
            sealed = self._encrypt_for(self._topics[code], [values[place] for place in places], own_keys, sealer)
            for place, value in zip(places, sealed, strict=True):
                encrypted[place] = value
        return encrypted

    def _encrypt_for(
        self, topic: str, values: list[bytes], keys: Sequence[bytes | None], sealer: TokenSealer
    ) -> list[bytes]:
        if self._documents is not None:
            return self._documents[topic].seal(values, sealer)
        endings = [header_ending(orjson.dumps(record_scope_id(key, None))) for key in keys]
        return sealer.seal(topic, WHOLE_VALUE, values, endings)
