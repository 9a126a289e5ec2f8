"""The order in which rows are trained on: shuffled, the same for the same seed, and entered at any step.

Shapes: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

DEFAULT_GROUP_ROWS: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class DataOrder:
    """The batches of each epoch.

    The rows are cut into blocks of neighbours. Each epoch shuffles the blocks, and then the rows within groups of blocks, so
    that a file that is larger than memory is read in large pieces. If all rows fit into one group, this is a plain shuffle.
    The last batch of an epoch may be smaller. Nothing is kept between epochs: seed, epoch and step determine a batch.

    group_rows: rows that are shuffled together. block_rows: rows that are neighbours in the file.
    """

    num_rows: int
    batch_size: int
    seed: int
    group_rows: int = DEFAULT_GROUP_ROWS
    block_rows: int = 4_096

    @property
    def steps(self) -> int:
        """The number of batches of an epoch."""
        return -(-self.num_rows // self.batch_size)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Rows]:
        """Yield the row numbers [B] of each batch of an epoch, from the step `first_step` on."""
        skipped = first_step * self.batch_size
        rest = np.empty(0, dtype=np.int64)
        for group in self._groups(epoch):
            if skipped >= len(group):
                skipped -= len(group)
                continue
            rest = np.concatenate((rest, group[skipped:]))
            skipped = 0
            whole = len(rest) // self.batch_size * self.batch_size
            for start in range(0, whole, self.batch_size):
                yield rest[start : start + self.batch_size]
            rest = rest[whole:]
        if len(rest):
            yield rest

    def _groups(self, epoch: int) -> Iterator[Rows]:
        random = np.random.default_rng((self.seed, epoch))
        if self.num_rows <= self.group_rows:
            yield random.permutation(self.num_rows)
            return
        blocks = random.permutation(-(-self.num_rows // self.block_rows))
        per_group = max(1, self.group_rows // self.block_rows)
        for start in range(0, len(blocks), per_group):
            first_rows = blocks[start : start + per_group] * self.block_rows
            rows = np.concatenate(
                [np.arange(first, min(first + self.block_rows, self.num_rows)) for first in first_rows]
            )
            yield random.permutation(rows)
