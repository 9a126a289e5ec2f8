"""What the stream side needs of a model: five members. Tests and other backends bring their own.

Shapes: B rows in a batch, F features a row, G values a row after preprocessing, O outputs a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Signature


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a model says of a batch, in memory that nothing else refers to.

    `values_BO`: regression values, class probabilities (multiclass), or the probability of class 1 (binary, O
    = 1). `classes_B` and `confidences_B` (the probability of that class) are None for regression. A row may
    hold NaN or infinity; whoever publishes looks for them.
    """

    values_BO: FloatArray
    classes_B: npt.NDArray[np.int64] | None = None
    confidences_B: FloatArray | None = None


class Model(Protocol):
    """A model that serves. `prepare` may run on any thread, the rest on the one that owns the device."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def signature(self) -> Signature: ...

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once with each batch size, so that the first real batch pays for nothing."""

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        """The frozen preprocessing. Never modifies `x_BF`; gives fresh memory."""

    def forward(self, x_BG: FloatArray) -> Scores:
        """Run the model.

        Raises ModelError with kind "out_of_memory" or "output_shape"; whatever else it raises is the model's
        own.
        """
