"""What is joined: predictions, labels and shadow pairs of one partition, as columns.

Shapes: B = rows in offset order, O = scores of a row. Times are event times in ms since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.quality.keys import Task

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Blocks = npt.NDArray[np.uint16]

LabelValue = str | int | float | bool
"""A label as it was published: a number, a class by name or index, or true or false."""

Slices = Sequence[Sequence[str]]
"""The slices of each row, as "name=value"."""


@dataclass(frozen=True, slots=True)
class PredictionColumns:
    """Predictions of one version in one poll.

    hashes_B: join hashes.
    scores_BO: as the model outputs them; of two classes, one column with the score of class 1.
    classes_B: predicted classes; ignored for regression.
    blocks_B: of the routing keys, see `experiments.key_blocks`.
    slices: at most four of each row; None if no slices are configured.
    class_names: of the classes that were predicted, with their indices; empty if they have none.
    """

    ref: ModelRef
    task: Task
    hashes_B: Hashes
    offsets_B: Integers
    times_B: Integers
    scores_BO: Scores
    classes_B: npt.NDArray[np.int32]
    blocks_B: Blocks
    slices: Slices | None = None
    class_names: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hashes_B)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        num_scores: int = self.scores_BO.shape[1]
        return {Task.BINARY: 2, Task.CLASSES: num_scores, Task.REGRESSION: 0}[self.task]


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Labels of one poll.

    models: the model that each label names; None if it is for the predictions of all models.
    slices: from fields of the labels; None if no slices come from labels.
    """

    hashes_B: Hashes
    offsets_B: Integers
    times_B: Integers
    values: Sequence[LabelValue]
    models: Sequence[str | None] | None = None
    slices: Slices | None = None

    def __len__(self) -> int:
        return len(self.hashes_B)


class ShadowRef(NamedTuple):
    """A shadow and the version that served in its place."""

    model: str
    served: int
    shadow: int

    @property
    def served_ref(self) -> ModelRef:
        """The version that served."""
        return ModelRef(self.model, self.served)


@dataclass(frozen=True, slots=True)
class ShadowColumns:
    """Pairs of predictions of one event, by a shadow and by the version that served, in one poll.

    Both sides have scores and classes as in `PredictionColumns`.
    """

    ref: ShadowRef
    task: Task
    hashes_B: Hashes
    offsets_B: Integers
    times_B: Integers
    blocks_B: Blocks
    served_scores_BO: Scores
    served_classes_B: npt.NDArray[np.int32]
    shadow_scores_BO: Scores
    shadow_classes_B: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.hashes_B)
