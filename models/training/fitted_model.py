"""A model that was trained from a recipe and is not yet registered.

Shapes: N rows, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.training.loop import EndReason
from forebay.models.training.training_state import EpochRecord


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A trained model.

    model: the object that `forebay.register` reads.
    predict: returns the raw outputs [N, O] for prepared rows [N, G]: logits or values.
    history: one record for each epoch, or for each round of trees.
    best: the epoch or the number of rounds that is kept, from 1.
    """

    model: Any
    predict: Callable[[FloatArray], FloatArray]
    validation_loss: float
    history: tuple[EpochRecord, ...]
    best: int
    end: EndReason
    params: Mapping[str, object] = field(default_factory=dict)
