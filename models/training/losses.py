"""The losses that nets are trained with: a weighted mean over rows, computed from sums so that ranks can share a batch.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from forebay.models.artefacts.signature import Task
from forebay.schemas.errors import ModelError

LossName = Literal["binary", "cross_entropy", "mse", "mae", "huber"]
LOSSES: Final[Mapping[Task, tuple[LossName, ...]]] = MappingProxyType(
    {"binary": ("binary",), "multiclass": ("cross_entropy",), "regression": ("mse", "mae", "huber")}
)
"""The losses of each task; the first is the default."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss on a net's raw outputs.

    class_weights: the weight of each class, such as (1.0, 5.0); empty if all weigh the same. Not for regression.
    huber_delta: the difference from which "huber" grows linearly.
    """

    name: LossName
    class_weights: tuple[float, ...] = ()
    huber_delta: float = 1.0

    def __post_init__(self) -> None:
        names = [name for group in LOSSES.values() for name in group]
        problems = [
            f"{name} is {value!r}; allowed is {allowed}"
            for name, value, allowed, is_allowed in (
                ("loss", self.name, ", ".join(names), self.name in names),
                (
                    "class_weights",
                    self.class_weights,
                    "numbers above 0, for classifiers",
                    all(0 < weight < math.inf for weight in self.class_weights)
                    and not (self.class_weights and self.name in LOSSES["regression"]),
                ),
                ("huber_delta", self.huber_delta, "above 0", 0 < self.huber_delta < math.inf),
            )
            if not is_allowed
        ]
        if problems:
            raise ModelError("loss: " + "; ".join(problems), kind="params", remedy="correct these options")

    def row_losses(self, out_BO: Tensor, y: Tensor) -> Tensor:
        """Return the unweighted loss of each row [B]; that of several regression outputs is their mean.

        y: [B] of 0 and 1 (binary) or classes (cross_entropy), or [B, O] of values.
        """
        match self.name:
            case "binary":
                return F.binary_cross_entropy_with_logits(out_BO[:, 0], y.to(out_BO.dtype), reduction="none")
            case "cross_entropy":
                return F.cross_entropy(out_BO, y.long(), reduction="none")
            case "mse":
                return (out_BO - y).square().mean(dim=1)
            case "mae":
                return (out_BO - y).abs().mean(dim=1)
            case "huber":
                return F.huber_loss(out_BO, y, delta=self.huber_delta, reduction="none").mean(dim=1)

    def row_weights(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight of each row [B]: 1, or that of its class."""
        if not self.class_weights:
            return torch.ones(len(y), dtype=dtype, device=y.device)
        return torch.tensor(self.class_weights, dtype=dtype, device=y.device)[y.long()]

    def weighted_sum(self, out_BO: Tensor, y: Tensor) -> Tensor:
        """Return the sum of weight times loss over the rows."""
        losses_B = self.row_losses(out_BO, y)
        if not self.class_weights:
            return losses_B.sum()
        return (losses_B * self.row_weights(y, losses_B.dtype)).sum()

    def mean(self, out_BO: Tensor, y: Tensor) -> Tensor:
        """Return the weighted mean over the rows."""
        return self.weighted_sum(out_BO, y) / self.row_weights(y, out_BO.dtype).sum()


def balanced_weights(counts: tuple[int, ...]) -> tuple[float, ...]:
    """Return the weights with which all classes together weigh the same: rows / (classes * rows of the class).

    Raises ModelError if a class has no row.
    """
    if not counts or min(counts) < 1:
        raise ModelError(
            f"balanced class weights need a row of each class; the classes have {list(counts)} rows",
            kind="params",
            remedy="state the weights as numbers, or give rows of each class",
        )
    return tuple(sum(counts) / (len(counts) * count) for count in counts)
