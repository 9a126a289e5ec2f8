"""Blocks of keys."""

from __future__ import annotations

import numpy as np
import xxhash

from forebay.stream.experiments.blocks import BLOCK_SEED, NUM_BLOCKS, coarse, key_blocks


def test_the_block_of_a_key_never_changes() -> None:
    assert key_blocks([b"cellar", b"attic", b""]).tolist() == [2555, 983, 2547]
    assert key_blocks([b"cellar"])[0] == xxhash.xxh3_64_intdigest(b"cellar", BLOCK_SEED) % NUM_BLOCKS


def test_keys_spread_over_all_blocks() -> None:
    counts = np.bincount(key_blocks([b"%d" % number for number in range(100_000)]), minlength=NUM_BLOCKS)
    assert counts.min() > 0
    # Of a chi-square distribution with 4,095 degrees of freedom, standard deviation 90.
    assert abs(np.square(counts - counts.mean()).sum() / counts.mean() - 4095) < 5 * 90


def test_coarse_blocks_are_sums_of_whole_blocks() -> None:
    sums = np.arange(2 * NUM_BLOCKS).reshape(2, NUM_BLOCKS)
    larger = coarse(sums, 128)
    assert larger.shape == (2, 128)
    assert larger[1, 5] == sums[1, 5::128].sum()
    assert coarse(sums, NUM_BLOCKS) is sums
