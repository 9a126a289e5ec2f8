"""Nonces for AES-GCM that do not repeat under a key (decision 46). Pure: randomness is passed in."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np

PREFIX_BYTES: Final = 8
COUNTER_BYTES: Final = 4
NUM_COUNTS: Final = 1 << (8 * COUNTER_BYTES)


class NonceSequence:
    """Nonces of 96 bits: a random prefix of 64 bits, then a counter of 32 bits.

    A sequence draws a prefix when it begins and after each 2^32 nonces. With 96 random bits for each message, a key could
    encrypt 2^32 messages until the probability of a repetition reaches 2^-33; here it can begin 2^16 sequences of 2^32
    messages each.

    random_bytes: returns that many random bytes.
    process_id: returns the id of the process. A child that was forked with the sequence draws a prefix of its own.
    """

    def __init__(
        self, random_bytes: Callable[[int], bytes] = os.urandom, process_id: Callable[[], int] = os.getpid
    ) -> None:
        self._random_bytes = random_bytes
        self._process_id = process_id
        self._owner = -1
        self._prefix = b""
        self._count = NUM_COUNTS

    def take(self, number: int) -> list[bytes]:
        """Return this many nonces that were never returned before."""
        if self._owner != self._process_id():
            self._owner, self._count = self._process_id(), NUM_COUNTS
        nonces: list[bytes] = []
        while len(nonces) < number:
            if self._count == NUM_COUNTS:
                self._prefix, self._count = self._random_bytes(PREFIX_BYTES), 0
            end = min(NUM_COUNTS, self._count + number - len(nonces))
            prefix = self._prefix
            counts = np.arange(self._count, end, dtype=">u4").tobytes()
            nonces += [prefix + counts[place : place + COUNTER_BYTES] for place in range(0, len(counts), COUNTER_BYTES)]
            self._count = end
        return nonces
