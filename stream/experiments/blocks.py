"""Blocks of keys: the unit of every comparison of versions.

Events of one key resemble each other, so they count less than as many independent ones. Keys are independent of each other, and
so are blocks of keys, whose number does not grow. The hash never changes: sums by block of different releases are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

NUM_BLOCKS: Final = 4096
BLOCK_SEED: Final = 0x626C6F636B73
"""Another seed than that of any allocation, so that a block has keys of all versions."""


def key_blocks(keys: Sequence[bytes]) -> npt.NDArray[np.uint16]:
    """Return the block of each routing key."""
    hashes = np.fromiter(map(xxh3_64_intdigest, keys, repeat(BLOCK_SEED)), np.uint64, len(keys))
    return (hashes % NUM_BLOCKS).astype(np.uint16)


def coarse(sums: npt.NDArray[Any], num_blocks: int) -> npt.NDArray[Any]:
    """Return sums over larger blocks: [..., NUM_BLOCKS] to [..., num_blocks]. num_blocks: a power of two."""
    if num_blocks == NUM_BLOCKS:
        return sums
    larger: npt.NDArray[Any] = sums.reshape(*sums.shape[:-1], NUM_BLOCKS // num_blocks, num_blocks).sum(axis=-2)
    return larger
