"""The decoder with and without the compiled part."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.models.artefacts.signature import Signature
from forebay.stream.core.records import Chunk, Record
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, columns_of


def decode(signature: Signature, values: Sequence[bytes | None], *, compiled: bool, as_columns: bool = False) -> Chunk:
    """Decode one poll of values. as_columns: whether the records come as columns."""
    decoder = Decoder([DecodedModel(MODEL, signature)], max_event_bytes=100_000)
    if not compiled:
        for row_format in decoder._models.formats:
            row_format.reader = None
    records: Sequence[Record] = [FakeRecord(offset, value) for offset, value in enumerate(values)]
    (chunk,) = decoder.decode({P0: columns_of(records) if as_columns else records}, EPOCH)
    return chunk


def facts(chunk: Chunk) -> object:
    """Return everything about a chunk that must be equal, with the bits of its matrix."""
    rejections = [(r.index, r.record.offset, r.kind, r.message) for r in chunk.rejections]
    return (
        chunk.ids,
        chunk.timestamps,
        chunk.x_BF.shape,
        chunk.x_BF.tobytes(),
        [record.offset for record in chunk.records],
        rejections,
        (chunk.keys, chunk.deadlines, chunk.num_records, chunk.num_bytes, chunk.next_offset),
    )
