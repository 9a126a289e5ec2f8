"""Sums of one model version by block of keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError
from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.experiments.exact_block_sums import (
    ExactBlockSums,
    decode_counts,
    encode_column,
    read_blocks,
    read_task,
)
from forebay.stream.experiments.pair_metrics import block_metrics, pair_metrics
from forebay.stream.quality.keys import Task

_PLACE: Final = "sums by block"


class BlockSums:
    """Predictions, pairs with labels and sums of their metrics, by block. Parts add up in any order.

    n_predictions: predictions of each block, with or without a label.
    n_matched: pairs whose metrics are in the sums. Pairs with impossible scores or labels are left out.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.n_predictions: npt.NDArray[np.int64] = np.zeros(NUM_BLOCKS, np.int64)
        self.n_matched: npt.NDArray[np.int64] = np.zeros(NUM_BLOCKS, np.int64)
        self._sums = ExactBlockSums(task)

    def add_predictions(self, blocks_B: npt.NDArray[Any]) -> None:
        """Add predictions, each once, when it arrives. blocks_B: from `key_blocks`."""
        self.n_predictions += np.bincount(blocks_B, minlength=NUM_BLOCKS)

    def add_pairs(
        self,
        blocks_B: npt.NDArray[Any],
        scores_BO: npt.NDArray[np.float32],
        classes_B: npt.NDArray[Any],
        actual_B: npt.NDArray[np.float64],
        sign: int = 1,
    ) -> None:
        """Add pairs of a prediction and its label; take them back with sign -1.

        scores_BO: [B, 1] the probability of class 1, [B, C] of each class, or [B, outputs] of a regression.
        classes_B: the classes that the model decided for; ignored for regression.
        actual_B: the index of the actual class, or the actual value.
        """
        if not len(blocks_B):
            return
        units_LMB, valid_B = pair_metrics(self.task, scores_BO, classes_B, actual_B)
        if not valid_B.all():
            blocks_B, units_LMB = blocks_B[valid_B], units_LMB[:, :, valid_B]
        self.n_matched += sign * np.bincount(blocks_B, minlength=NUM_BLOCKS)
        self._sums.add(blocks_B, units_LMB, sign)

    def merge(self, other: BlockSums) -> None:
        """Add the sums of another part. Raises DataError if it is of another task."""
        if self.task is not other.task:
            raise DataError(f"{_PLACE}: those of task {other.task} cannot be added to those of task {self.task}")
        self.n_predictions += other.n_predictions
        self.n_matched += other.n_matched
        self._sums.merge(other._sums)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockSums):
            return NotImplemented
        return (
            self._sums == other._sums
            and np.array_equal(self.n_predictions, other.n_predictions)
            and np.array_equal(self.n_matched, other.n_matched)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_empty(self) -> bool:
        """Whether every sum is zero."""
        return not self._filled().any()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics."""
        return block_metrics(self.task)

    def sums(self, metric: str) -> npt.NDArray[np.float64]:
        """Return the sum of a metric over the pairs of each block."""
        values: npt.NDArray[np.float64] = self._sums.values()[self.metrics.index(metric)]
        return values

    def _filled(self) -> npt.NDArray[np.bool_]:
        has_counts: npt.NDArray[np.bool_] = (self.n_predictions != 0) | (self.n_matched != 0)
        return has_counts | self._sums.filled

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, without blocks that have none."""
        blocks = np.flatnonzero(self._filled())
        return {
            "task": self.task.value,
            "num_blocks": len(blocks),
            "blocks": encode_column(blocks),
            "predictions": encode_column(self.n_predictions[blocks]),
            "matched": encode_column(self.n_matched[blocks]),
            "sums": self._sums.to_dict(blocks),
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return the sums of JSON values. Raises DataError with the place of what is wrong."""
        task, values = read_task(document, _PLACE)
        blocks = read_blocks(values.get("blocks"), values.get("num_blocks"), _PLACE)
        found = cls(task)
        found.n_predictions[blocks] = decode_counts(values.get("predictions"), len(blocks), f"{_PLACE}: predictions")
        found.n_matched[blocks] = decode_counts(values.get("matched"), len(blocks), f"{_PLACE}: matched")
        found._sums = ExactBlockSums.read(task, values.get("sums"), blocks, f"{_PLACE}: sums")
        return found
