"""Sums over pairs of predictions of one event, by a shadow and by the version that served, whose label came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

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
from forebay.stream.quality.counts import MAX_COUNT
from forebay.stream.quality.keys import Task

_PLACE: Final = "paired sums"


class PredictedBy(NamedTuple):
    """What one version predicted for B events. classes_B: ignored for regression."""

    scores_BO: npt.NDArray[np.float32]
    classes_B: npt.NDArray[Any]


@dataclass(slots=True)
class McNemarCounts:
    """Events by which side was right. All zero for regression."""

    both: int = 0
    only_served: int = 0
    only_shadow: int = 0
    neither: int = 0

    def merge(self, other: McNemarCounts) -> None:
        """Add the events of another part."""
        self.both += other.both
        self.only_served += other.only_served
        self.only_shadow += other.only_shadow
        self.neither += other.neither


class PairedSums:
    """The differences shadow - served of each metric, by block.

    served: the version that served. The shadow is the version under whose key the sums are written.
    n_matched: events with a label.
    right: how many events which side predicted correctly.
    """

    def __init__(self, task: Task, *, served: int) -> None:
        self.task = task
        self.served = served
        self.n_matched: npt.NDArray[np.int64] = np.zeros(NUM_BLOCKS, np.int64)
        self.right = McNemarCounts()
        self._differences = ExactBlockSums(task)

    def add_pairs(
        self,
        blocks_B: npt.NDArray[Any],
        served: PredictedBy,
        shadow: PredictedBy,
        actual_B: npt.NDArray[np.float64],
        sign: int = 1,
    ) -> None:
        """Add events with both predictions and the label; take them back with sign -1."""
        if not len(blocks_B):
            return
        first = pair_metrics(self.task, served.scores_BO, served.classes_B, actual_B)
        second = pair_metrics(self.task, shadow.scores_BO, shadow.classes_B, actual_B)
        valid_B = first.valid_B & second.valid_B
        difference_LMB = (second.units_LMB - first.units_LMB)[:, :, valid_B]
        self.n_matched += sign * np.bincount(blocks_B[valid_B], minlength=NUM_BLOCKS)
        self._differences.add(blocks_B[valid_B], difference_LMB, sign)
        if self.task is not Task.REGRESSION:
            served_B, shadow_B = ((side.classes_B == actual_B)[valid_B] for side in (served, shadow))
            self.right.both += sign * int((served_B & shadow_B).sum())
            self.right.only_served += sign * int((served_B & ~shadow_B).sum())
            self.right.only_shadow += sign * int((~served_B & shadow_B).sum())
            self.right.neither += sign * int((~served_B & ~shadow_B).sum())

    def merge(self, other: PairedSums) -> None:
        """Add the sums of another part. Raises DataError if it is of another task or another version that served."""
        if (self.task, self.served) != (other.task, other.served):
            raise DataError(
                f"{_PLACE}: those of task {other.task} and version {other.served} cannot be added to those of task "
                f"{self.task} and version {self.served}"
            )
        self.n_matched += other.n_matched
        self.right.merge(other.right)
        self._differences.merge(other._differences)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PairedSums):
            return NotImplemented
        return (
            (self.served, self.right) == (other.served, other.right)
            and self._differences == other._differences
            and np.array_equal(self.n_matched, other.n_matched)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_empty(self) -> bool:
        """Whether every sum is zero."""
        return not self._filled().any() and self.right == McNemarCounts()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics."""
        return block_metrics(self.task)

    def differences(self, metric: str) -> npt.NDArray[np.float64]:
        """Return the sum of the differences of a metric over the events of each block."""
        values: npt.NDArray[np.float64] = self._differences.values()[self.metrics.index(metric)]
        return values

    def _filled(self) -> npt.NDArray[np.bool_]:
        filled: npt.NDArray[np.bool_] = (self.n_matched != 0) | self._differences.filled
        return filled

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, without blocks that have none."""
        blocks = np.flatnonzero(self._filled())
        right = self.right
        return {
            "task": self.task.value,
            "served": self.served,
            "right": [right.both, right.only_served, right.only_shadow, right.neither],
            "num_blocks": len(blocks),
            "blocks": encode_column(blocks),
            "matched": encode_column(self.n_matched[blocks]),
            "differences": self._differences.to_dict(blocks),
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return the sums of JSON values. Raises DataError with the place of what is wrong."""
        task, values = read_task(document, _PLACE)
        served, right = values.get("served"), values.get("right")
        if type(served) is not int or not 1 <= served < 1 << 31:
            raise DataError(f"{_PLACE}: served is {str(served)[:40]}; expected the number of a version")
        if (
            not isinstance(right, list)
            or len(right) != 4
            or any(type(count) is not int or abs(count) > MAX_COUNT for count in right)
        ):
            raise DataError(f"{_PLACE}: right is {str(right)[:40]}; expected four counts")
        blocks = read_blocks(values.get("blocks"), values.get("num_blocks"), _PLACE)
        found = cls(task, served=served)
        found.right = McNemarCounts(*right)
        found.n_matched[blocks] = decode_counts(values.get("matched"), len(blocks), f"{_PLACE}: matched")
        found._differences = ExactBlockSums.read(task, values.get("differences"), blocks, f"{_PLACE}: differences")
        return found
