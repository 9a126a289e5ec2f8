"""The step of a plan for maps whose entries are asked for by their keys, such as features in a map. See `avro_branches`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from forebay.stream.decode.formats.avro_branches import most_common
from forebay.stream.decode.formats.avro_cursor import Bools, Cursor
from forebay.stream.decode.formats.avro_steps import Step, run_all

MAX_ENTRIES: Final = 1_024
MAX_MODELS: Final = 3
"""At most this number of payloads are tried to find the key that most have."""
MAX_KEY_BYTES: Final = 63
"""The length of longer keys has more than one byte. Maps with such keys make suspects."""


@dataclass(slots=True)
class Entries:
    """A map from which entries are read by their keys, if most payloads have the same keys in the same order.

    The others make suspects, as do maps in several blocks.
    wanted: the steps of the values that are asked for, by key. other: the steps of all other values.
    """

    wanted: Mapping[str, Sequence[Step]]
    other: Sequence[Step]

    def run(self, cursor: Cursor) -> None:
        counts = cursor.read_longs()
        bad = (counts < 0) | (counts > cursor.limit - 1 - cursor.pos)
        length = most_common(counts[~bad])
        bad |= counts != length
        if length > MAX_ENTRIES:
            bad[:] = True
        seen: set[str] = set()
        for _ in range(length):
            key = self._read_key(cursor, bad)
            if key is None or key in seen:
                bad[:] = True
                break
            seen.add(key)
            run_all(self.wanted.get(key, self.other), cursor)
        cursor.check(bad)
        if length:
            cursor.check(cursor.read_bytes() != 0)

    def _read_key(self, cursor: Cursor, bad: Bools) -> str | None:
        """Return the key that follows in most payloads, and advance. Mark the other payloads in `bad`."""
        for _ in range(MAX_MODELS):
            good = np.flatnonzero(~bad)
            if not len(good):
                break
            encoded = _encoded_key(cursor, int(good[0]))
            differs = None if encoded is None else _differs(cursor, encoded)
            if encoded is not None and differs is not None and 2 * np.count_nonzero(differs[good]) <= len(good):
                bad |= differs
                cursor.move(len(encoded))
                return encoded[1:].decode()
            bad[good[0]] = True
        return None


def _encoded_key(cursor: Cursor, index: int) -> bytes | None:
    """Return the key that follows in one payload, with its length in one byte; None if there is none."""
    data, begin = cursor.poll.data, int(cursor.pos[index])
    end = begin + 1 + (data[begin] >> 1)
    if data[begin] & 1 or data[begin] > 2 * MAX_KEY_BYTES or end >= cursor.limit[index]:
        return None
    encoded = data[begin:end]
    try:
        encoded[1:].decode()
    except UnicodeDecodeError:
        return None
    return encoded


def _differs(cursor: Cursor, encoded: bytes) -> Bools:
    """Return which payloads do not continue with these bytes. They are compared as words of 8 bytes."""
    size = len(encoded)
    num_words = -(-size // 8)
    expected = np.frombuffer(encoded.ljust(8 * num_words, b"\0"), dtype="<u8")
    last = np.uint64((1 << 8 * (size - 8 * (num_words - 1))) - 1)
    words = cursor.poll.gather(cursor.pos, 8 * num_words).view("<u8").reshape(-1, num_words)
    differs: Bools = (words[:, -1] ^ expected[-1]) & last != 0
    for number in range(num_words - 1):
        differs |= words[:, number] != expected[number]
    return differs
