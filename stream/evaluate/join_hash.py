"""The join hash: what a label and its prediction have in common, as 64 bits.

id               xxh3_64 of the id, as UTF-8
position         xxh3_64 of `topic:partition:offset`, of the event's record; with `:row` if the record holds several events
key_and_time     xxh3_64 of the record key, the byte `@`, and the event's timestamp in decimal
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from xxhash import xxh3_64_intdigest

from forebay.stream.evaluate.columns import Hashes


def position_bytes(topic: str, partition: int, offset: int, row: int | None = None) -> bytes:
    """Return what is hashed if evaluate.join_by is position. row: None if the record is one event."""
    place = f"{topic}:{partition}:{offset}" if row is None else f"{topic}:{partition}:{offset}:{row}"
    return place.encode("utf-8", "surrogatepass")


def key_and_time_bytes(key: bytes, timestamp_ms: int) -> bytes:
    """Return what is hashed if evaluate.join_by is key_and_time."""
    return b"%b@%d" % (key, timestamp_ms)


def hashes_of(names: Iterable[bytes], count: int) -> Hashes:
    """Return the hash of each name."""
    return np.fromiter(map(xxh3_64_intdigest, names), np.uint64, count)
