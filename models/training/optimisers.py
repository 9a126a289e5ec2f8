"""The optimisers, the schedules of the learning rate, and the clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import nn

from forebay.schemas.errors import ModelError

OptimizerName = Literal["sgd", "adam", "adamw"]
OPTIMIZERS: Final = ("sgd", "adam", "adamw")
Schedule = Literal["constant", "cosine"]
SCHEDULES: Final = ("constant", "cosine")


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """How the weights are changed.

    momentum: of "sgd"; the others have their own.
    schedule: "cosine" lowers the rate from `learning_rate` to 0 over all steps, along half a cosine.
    warmup_steps: over this many first steps the rate grows linearly from 0.
    gradient_clip: the largest norm of all gradients together; 0 for no limit.
    """

    name: OptimizerName = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    gradient_clip: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, attribute)!r}; allowed is {allowed}"
            for name, attribute, allowed, is_allowed in (
                ("optimizer", "name", ", ".join(OPTIMIZERS), self.name in OPTIMIZERS),
                ("learning_rate", "learning_rate", "above 0", 0 < self.learning_rate < math.inf),
                ("momentum", "momentum", "from 0 to below 1", 0 <= self.momentum < 1),
                ("weight_decay", "weight_decay", "from 0", 0 <= self.weight_decay < math.inf),
                ("schedule", "schedule", ", ".join(SCHEDULES), self.schedule in SCHEDULES),
                ("warmup_steps", "warmup_steps", "from 0", self.warmup_steps >= 0),
                ("gradient_clip", "gradient_clip", "from 0", 0 <= self.gradient_clip < math.inf),
            )
            if not is_allowed
        ]
        if self.momentum and self.name != "sgd":
            problems.append(f"momentum is {self.momentum}; only sgd takes it, and the optimizer is {self.name}")
        if problems:
            raise ModelError("training options: " + "; ".join(problems), kind="params", remedy="correct these options")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a new optimiser for the parameters."""
        match self.name:
            case "sgd":
                return torch.optim.SGD(
                    parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
                )
            case "adam":
                return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
            case "adamw":
                return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)

    def rate(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step, from 0. It depends on nothing else, so that there is no state to keep."""
        rate = self.learning_rate
        if step < self.warmup_steps:
            return rate * (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return rate
        done = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        return rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
