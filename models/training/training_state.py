"""The state of a training: everything that must be saved so that it can be continued as if it had not been interrupted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from forebay.schemas.errors import ModelError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a training's state as tensors, by name, and JSON values. It shares no memory with the training."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch gave: the weighted mean losses of the training rows, during the epoch, and of the validation rows."""

    epoch: int
    training_loss: float
    validation_loss: float
    learning_rate: float


@dataclass(slots=True, eq=False)
class TrainingState:
    """A training between two steps.

    epoch, step: the position in the order of the rows: the next batch is number `step` of `epoch`, both from 0.
    sums: float64 [2], of the losses and their weights over the steps of this epoch so far, on this rank.
    best_loss, best_epoch, best: the smallest validation loss, its epoch (from 1; 0 for none) and its weights.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    sums: Tensor
    epoch: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        """Return a copy of the state with torch's random state, from which `restore` continues bit by bit."""
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        plain: dict[str, dict[str, object]] = {}
        for number, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{name}"] = value
                else:
                    plain.setdefault(str(number), {})[name] = value
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        tensors["epoch.sums"] = self.sums.detach().cpu().clone()
        tensors["random.cpu"] = torch.get_rng_state()
        device = next(self.net.parameters()).device
        if device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(device)
        values = {
            "format": FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            # JSON has no infinity.
            "best_loss": self.best_loss if self.best_epoch else None,
            "best_epoch": self.best_epoch,
            "history": [
                [record.epoch, record.training_loss, record.validation_loss, record.learning_rate]
                for record in self.history
            ],
            "optimizer": plain,
        }
        return Snapshot(tensors, values)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of the same net and optimiser; sets torch's random state.

        Raises ModelError if it is of another net or of an unknown format.
        """
        values = cast("Mapping[str, Any]", snapshot.values)
        if values.get("format") != FORMAT:
            raise _error(f"its format is {values.get('format')!r}; this version of Forebay reads format {FORMAT}")
        groups: dict[str, dict[str, Tensor]] = {"net": {}, "best": {}, "optimizer": {}, "epoch": {}, "random": {}}
        for name, tensor in snapshot.tensors.items():
            group, _, rest = name.partition(".")
            if group not in groups:
                raise _error(f"it has an unknown tensor {name!r}")
            groups[group][rest] = tensor
        own = {name: tensor.shape for name, tensor in self.net.state_dict().items()}
        if own != {name: tensor.shape for name, tensor in groups["net"].items()}:
            raise _error("its weights have other names or shapes than the net")
        self.net.load_state_dict(groups["net"])
        moments: dict[int, dict[str, object]] = {
            int(number): dict(plain) for number, plain in values["optimizer"].items()
        }
        for place, tensor in groups["optimizer"].items():
            number, _, name = place.partition(".")
            moments.setdefault(int(number), {})[name] = tensor.clone()
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.epoch, self.step = values["epoch"], values["step"]
        self.sums.copy_(groups["epoch"]["sums"])
        self.best_epoch = values["best_epoch"]
        self.best_loss = values["best_loss"] if self.best_epoch else math.inf
        self.best = {name: tensor.clone() for name, tensor in groups["best"].items()}
        self.history = [EpochRecord(*record) for record in values["history"]]
        torch.set_rng_state(groups["random"]["cpu"])
        if "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"], next(self.net.parameters()).device)


def _error(problem: str) -> ModelError:
    return ModelError(
        f"the training cannot be continued from this snapshot: {problem}",
        kind="snapshot",
        remedy="continue with the recipe that it was saved with, or start again",
    )
