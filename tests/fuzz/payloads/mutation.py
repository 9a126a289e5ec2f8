"""Mutations of payloads. They know nothing of formats, except what breaks parsers of many: lengths, numbers, nesting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

MAX_BYTES: Final = 65_536
"""Mutated payloads are not longer than this."""
DRAWN_AT_ONCE: Final = 8192

Item = TypeVar("Item")

_EXTREMES: Final = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for order in ("big", "little")
    for value in (0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1)
)  # fmt: skip
_VARINTS: Final = (b"\x00", b"\x01", b"\x7f", b"\xff\x01", b"\xff\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\x0f",
                   b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\xff" * 10 + b"\x01", b"\x80" * 12)  # fmt: skip
_NUMBERS: Final = (b"0", b"-0", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"99999999999999999999", b"3.5e38",
                   b"3.4028235677973366e38", b"1e39", b"-9223372036854775809", b"18446744073709551616", b"0x10", b"1_0",
                   b"00", b"null", b"true", b'"1"', b"[]", b"{}", b"[1]", b'{"a":1}', b'"\\ud800"',
                   b"253402300800000")  # fmt: skip
_OPENINGS: Final = (b"[", b'{"a":', b"\x91", b"\x81\xa1a", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x0b", b"\x0a\x7f",
                    b"\x12\xff\xff\x03", b"\x02", b"[[", b"(", b'[{"a":[')  # fmt: skip
_DIGITS: Final = re.compile(rb"-?\d[\d.eE+-]{0,30}")


class Draws:
    """Whole numbers from a generator, which are drawn in blocks because single draws are slow."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._numbers: list[int] = []

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`, at most 2**32."""
        if not self._numbers:
            self._numbers = self._rng.integers(0, 2**32, DRAWN_AT_ONCE).tolist()
        return self._numbers.pop() * limit >> 32

    def choice(self, values: Sequence[Item]) -> Item:
        """Return one of the values."""
        return values[self.below(len(values))]

    def bytes(self, length: int) -> bytes:
        """Return random bytes."""
        return self._rng.bytes(length)

    def size(self, limit: int) -> int:
        """Return a number from 1 to `limit`, mostly a small one."""
        return 1 + self.below(max(1, min(limit, 1 << self.below(1 + limit.bit_length()))))


def mutated(payload: bytes, others: Sequence[bytes], draws: Draws) -> bytes:
    """Return the payload after from one to four mutations. others: valid payloads, whose parts are spliced in."""
    for _ in range(1 + draws.below(4) * draws.below(2)):
        payload = draws.choice(_MUTATIONS)(payload, draws.choice(others), draws)[:MAX_BYTES]
    return payload


def _flip_bits(payload: bytes, _: bytes, draws: Draws) -> bytes:
    if not payload:
        return payload
    changed = bytearray(payload)
    for _number in range(draws.size(8)):
        changed[draws.below(len(changed))] ^= 1 << draws.below(8)
    return bytes(changed)


def _truncate(payload: bytes, _: bytes, draws: Draws) -> bytes:
    return payload[: draws.below(len(payload) + 1)]


def _truncate_start(payload: bytes, _: bytes, draws: Draws) -> bytes:
    return payload[draws.size(len(payload) + 1) :]


def _append(payload: bytes, _: bytes, draws: Draws) -> bytes:
    return payload + draws.bytes(draws.size(64))


def _splice(payload: bytes, other: bytes, draws: Draws) -> bytes:
    return payload[: draws.below(len(payload) + 1)] + other[draws.below(len(other) + 1) :]


def _exchange_part(payload: bytes, other: bytes, draws: Draws) -> bytes:
    at, source = draws.below(len(payload) + 1), draws.below(len(other) + 1)
    length = draws.size(64)
    return payload[:at] + other[source : source + length] + payload[at + length :]


def _delete_part(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at = draws.below(len(payload) + 1)
    return payload[:at] + payload[at + draws.size(64) :]


def _repeat_part(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at = draws.below(len(payload) + 1)
    part = payload[at : at + draws.size(64)]
    times = draws.size(MAX_BYTES // 64) if draws.below(16) == 0 else draws.size(4)
    return payload[:at] + part * times + payload[at:]


def _set_extreme(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at, extreme = draws.below(len(payload) + 1), draws.choice(_EXTREMES)
    return payload[:at] + extreme + payload[at + len(extreme) :]


def _insert_varint(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at = draws.below(len(payload) + 1)
    return payload[:at] + draws.choice(_VARINTS) + payload[at + draws.below(3) :]


def _change_number(payload: bytes, _: bytes, draws: Draws) -> bytes:
    if (match := _DIGITS.search(payload, draws.below(len(payload) + 1))) is None:
        return _set_extreme(payload, b"", draws)
    return payload[: match.start()] + draws.choice(_NUMBERS) + payload[match.end() :]


def _nest(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at, opening = draws.below(len(payload) + 1), draws.choice(_OPENINGS)
    return payload[:at] + opening * draws.size(MAX_BYTES // len(opening)) + payload[at:]


def _invert_byte(payload: bytes, _: bytes, draws: Draws) -> bytes:
    at = draws.below(len(payload) + 1)
    return payload[:at] + draws.bytes(1) + payload[at + 1 :]


_MUTATIONS: Final[tuple[Callable[[bytes, bytes, Draws], bytes], ...]] = (
    _flip_bits, _flip_bits, _truncate, _truncate_start, _append, _splice, _exchange_part, _delete_part, _repeat_part,
    _set_extreme, _set_extreme, _insert_varint, _change_number, _change_number, _nest, _invert_byte,
)  # fmt: skip
