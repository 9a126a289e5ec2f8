"""A guess at the model of each event from its last bytes, by which the events of a poll are divided before they are parsed.

Most events that name their model do so in their last field, so that they end with `"<name>"}`. Parsing the events of one model
after the other, each with the parser of its model, costs as much as parsing them for one model, and the division costs less
than a parser for all models. The caller has to verify the guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from forebay.stream.core.records import Record

MAX_MODELS: Final = 255
_AFTER_NAME: Final = 2
_NUMBERS: Final = frozenset(b"0123456789.+-eE")


class Share(NamedTuple):
    """The events that are for one model, presumably. number: of the model, from 0."""

    number: int
    values: Sequence[bytes | None]
    records: Sequence[Record]


class ModelGuess:
    """Divides events among models.

    If the names differ from each other in one position, counted from the end, that byte decides, otherwise the whole end. The
    end also does if that position has digits: an event without a name, which ends with a number, would look like one.

    names: of the models, at most `MAX_MODELS`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        ends = [b'"model":' + orjson.dumps(name) + b"}" for name in names]
        position = _telling_position(ends, last=min(map(len, names)) + _AFTER_NAME)
        self._byte_at: Callable[[Any], Any] | None = None if position is None else itemgetter(-position)
        numbers_by_byte = {} if position is None else {end[-position]: i for i, end in enumerate(ends, start=1)}
        self._codes_of_bytes = bytes(numbers_by_byte.get(byte, 0) for byte in range(256))
        size = min(map(len, ends))
        spaced = [b'"model": ' + orjson.dumps(name) + b"}" for name in names]
        self._end: Callable[[Any], Any] = itemgetter(slice(-size, None))
        self._codes_of_ends = _unambiguous([(end[-size:], i % len(ends) + 1) for i, end in enumerate(ends + spaced)])
        self._masks = [bytes(byte == code for byte in range(256)) for code in range(len(ends) + 1)]

    def divide(self, values: Sequence[bytes | None], records: Sequence[Record], *, unnamed: int) -> list[Share] | None:
        """Return the shares of the models that have events, in the order of the models; None if a value is too short.

        unnamed: number of the model that gets the events for which there is no guess.
        """
        try:
            codes = self._codes(values)
        except (TypeError, IndexError):
            return None
        shares = []
        for number, mask in enumerate(self._masks[1:]):
            code = number + 1
            has_unnamed = number == unnamed and 0 in codes
            if code not in codes and not has_unnamed:
                continue
            if has_unnamed:
                mask = b"\1" + mask[1:]
            selected = codes.translate(mask)
            if 0 not in selected:
                return [Share(number, values, records)]
            shares.append(Share(number, list(compress(values, selected)), list(compress(records, selected))))
        return shares

    def _codes(self, values: Sequence[bytes | None]) -> bytes:
        """Return a code for each value: 0 if there is no guess, else the number of the model plus 1."""
        if self._byte_at is not None:
            return bytes(map(self._byte_at, values)).translate(self._codes_of_bytes)
        return bytes(map(self._codes_of_ends.get, map(self._end, values), repeat(0)))


def _telling_position(ends: Sequence[bytes], *, last: int) -> int | None:
    """Return a position from the end in which all ends differ; None if there is none. last: of the shortest name."""
    for position in range(_AFTER_NAME + 1, last + 1):
        found = {end[-position] for end in ends}
        if len(found) == len(ends) and not found & _NUMBERS:
            return position
    return None


def _unambiguous(pairs: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Return a dictionary of the pairs, without keys that have several values."""
    values: dict[bytes, set[int]] = {}
    for key, value in pairs:
        values.setdefault(key, set()).add(value)
    return {key: found.pop() for key, found in values.items() if len(found) == 1}
