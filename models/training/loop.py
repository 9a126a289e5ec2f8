"""The training loop: seeded batches, one optimiser step each, validation after each epoch, and the best weights at the end.

Shapes: N rows, G columns after preprocessing, B rows of a batch, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.torch.architectures import Net
from forebay.models.training.data_order import DEFAULT_GROUP_ROWS, DataOrder
from forebay.models.training.gradient_exchange import GradientExchange, SingleProcess
from forebay.models.training.losses import Loss
from forebay.models.training.optimisers import OptimizerOptions
from forebay.models.training.training_state import EpochRecord, TrainingState
from forebay.schemas.errors import ModelError

Targets = npt.NDArray[np.generic]
EndReason = Literal["all epochs", "no better epoch", "interrupted"]

SCORING_ROWS: Final = 65_536
_REPORTS_PER_EPOCH: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Prepared rows and their targets, in memory or mapped from files.

    x: float32 [N, G]. y: [N] of classes from 0, or [N, O] of values.
    """

    x: FloatArray
    y: Targets

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Options of the loop. It stops after `patience` epochs without a smaller validation loss.

    batch_size: of all ranks together. group_rows: as in `DataOrder`.
    """

    loss: Loss
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    epochs: int = 20
    batch_size: int = 2048
    patience: int = 3
    seed: int = 0
    group_rows: int = DEFAULT_GROUP_ROWS

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value!r}; allowed is from {minimum}"
            for name, value, minimum in (
                ("epochs", self.epochs, 1),
                ("batch_size", self.batch_size, 1),
                ("patience", self.patience, 1),
                ("seed", self.seed, 0),
                ("group_rows", self.group_rows, 1),
            )
            if value < minimum
        ]
        if problems:
            raise ModelError("training options: " + "; ".join(problems), kind="params", remedy="correct these options")


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step gave. loss: the weighted mean of this rank's rows in the batch. epoch: from 1; step: of the epoch, from 1."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float

    def fraction(self, epochs: int) -> float:
        """Return the completed part of all epochs, from 0 to 1."""
        return (self.epoch - 1 + self.step / self.steps) / epochs


class LoopObserver(Protocol):
    """Receives the progress. Both methods are called between steps, when the state may be copied."""

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        """Called after each step. report: computes the report, which waits for the device."""
        ...

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        """Called after each validation. The state is at the first step of the next epoch."""
        ...


class NullObserver:
    """Observes nothing."""

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        """Ignore the step."""

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        """Ignore the epoch."""


class TrainingLoop:
    """One training. Ranks with equal arguments compute together what a single process computes.

    net: is trained in place, in its own type (float32, or float64) and on its own device.
    exchange: connects the ranks.
    should_stop: is asked after each step; True ends the training with the best weights so far. Ranks must agree on it.
    """

    def __init__(
        self,
        net: Net,
        training: Rows,
        validation: Rows,
        options: LoopOptions,
        *,
        exchange: GradientExchange | None = None,
        observer: LoopObserver | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.options = options
        self._net = net
        self._training = training
        self._validation = validation
        self._exchange: GradientExchange = exchange or SingleProcess()
        self._observer: LoopObserver = observer or NullObserver()
        self._should_stop = should_stop
        self._order = DataOrder(len(training), options.batch_size, options.seed, group_rows=options.group_rows)
        self._parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        first = self._parameters[0]
        self._dtype, self._device = first.dtype, first.device
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        self.state = TrainingState(net, options.optimizer.build(net.parameters()), sums)

    def run(self) -> EndReason:
        """Train from the state's position to the end, then give the net its best weights, in evaluation mode.

        Raises ModelError(kind="diverged") if a loss is not finite.
        """
        state = self.state
        reason: EndReason = "all epochs"
        while state.epoch < self.options.epochs:
            is_interrupted = self._train_epoch()
            self._end_epoch()
            if is_interrupted:
                reason = "interrupted"
                break
            if state.epoch < self.options.epochs and state.epoch - state.best_epoch >= self.options.patience:
                reason = "no better epoch"
                break
        self._net.load_state_dict(state.best)
        self._net.eval()
        return reason

    def _train_epoch(self) -> bool:
        """Train on the rest of the epoch; return whether it was interrupted."""
        state, steps = self.state, self._order.steps
        check_every = max(1, steps // _REPORTS_PER_EPOCH)
        self._net.train()
        for rows_B in self._order.batches(state.epoch, state.step):
            rate = self.options.optimizer.rate(state.epoch * steps + state.step, self.options.epochs * steps)
            loss_and_weight = self._step(rows_B, rate)
            state.sums += loss_and_weight
            state.step += 1
            if state.step % check_every == 0 or state.step == steps:
                self._check_finite()
            self._observer.on_step(state, lambda: self._report(loss_and_weight, rate))  # noqa: B023 (called at once)
            if self._should_stop():
                return True
        return False

    def _step(self, rows_B: npt.NDArray[np.int64], rate: float) -> Tensor:
        """Change the weights by one batch; return the sum of this rank's losses and of their weights."""
        world, rank = self._exchange.world_size, self._exchange.rank
        optimizer, loss = self.state.optimizer, self.options.loss
        for group in optimizer.param_groups:
            group["lr"] = rate
        # The whole batch's weight, which every rank knows, makes the mean exact where the shares differ in size.
        total = loss.row_weights(self._targets(self._training.y[rows_B]), self._dtype).sum()
        own_B = rows_B[rank::world]
        optimizer.zero_grad(set_to_none=True)
        if len(own_B):
            x, y = self._inputs(self._training.x[own_B]), self._targets(self._training.y[own_B])
            value = loss.weighted_sum(self._net(x), y)
            weight = total if world == 1 else loss.row_weights(y, self._dtype).sum()
        else:  # a last batch with fewer rows than ranks
            value = torch.stack([parameter.sum() * 0.0 for parameter in self._parameters]).sum()
            weight = torch.zeros_like(total)
        (value * (world / total)).backward()  # type: ignore[no-untyped-call]
        self._exchange.exchange(self._parameters)
        if self.options.optimizer.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.options.optimizer.gradient_clip)
        optimizer.step()
        return torch.stack((value.detach().double(), weight.double()))

    def _check_finite(self) -> None:
        if not math.isfinite(float(self.state.sums[0])):
            raise self._diverged("training")

    def _report(self, loss_and_weight: Tensor, rate: float) -> StepReport:
        loss, weight = loss_and_weight.tolist()
        state = self.state
        mean = loss / weight if weight else 0.0
        return StepReport(state.epoch + 1, state.step, self._order.steps, loss=mean, learning_rate=rate)

    def _end_epoch(self) -> None:
        state = self.state
        self._check_finite()
        loss_sum, weight_sum = map(self._exchange.total, state.sums.tolist())
        last_step = state.epoch * self._order.steps + state.step - 1
        # The mean over the ranks, so that all take the same decisions even if their processors round differently.
        validation_loss = self._exchange.total(self.evaluate(self._validation)) / self._exchange.world_size
        if not math.isfinite(validation_loss):
            raise self._diverged("validation")
        record = EpochRecord(
            state.epoch + 1,
            loss_sum / weight_sum,
            validation_loss,
            learning_rate=self.options.optimizer.rate(last_step, self.options.epochs * self._order.steps),
        )
        state.history.append(record)
        state.epoch, state.step = state.epoch + 1, 0
        state.sums.zero_()
        if validation_loss < state.best_loss:
            state.best_loss, state.best_epoch = validation_loss, record.epoch
            state.best = {name: tensor.detach().clone() for name, tensor in self._net.state_dict().items()}
        self._observer.on_epoch(state, record)

    def evaluate(self, rows: Rows) -> float:
        """Return the weighted mean loss of rows; leaves the net in evaluation mode."""
        self._net.eval()
        total, weight = 0.0, 0.0
        with torch.no_grad():
            for start in range(0, len(rows), SCORING_ROWS):
                part = slice(start, start + SCORING_ROWS)
                y = self._targets(rows.y[part])
                total += float(self.options.loss.weighted_sum(self._net(self._inputs(rows.x[part])), y))
                weight += float(self.options.loss.row_weights(y, self._dtype).sum())
        return total / weight

    def _inputs(self, x_BG: FloatArray) -> Tensor:
        x = torch.from_numpy(np.array(x_BG, order="C")).to(self._device, self._dtype)
        return x.view(-1, *self._net.input_shape)

    def _targets(self, y: Targets) -> Tensor:
        tensor = torch.from_numpy(np.array(y)).to(self._device)
        return tensor if self.options.loss.name == "cross_entropy" else tensor.to(self._dtype)

    def _diverged(self, what: str) -> ModelError:
        rate = self.options.optimizer.learning_rate
        return ModelError(
            f"the training diverged: in epoch {self.state.epoch + 1} the {what} loss is not finite",
            kind="diverged",
            remedy=f"lower the learning rate ({rate:g}), set gradient_clip, or scale the features and the label",
        )


def outputs(net: Net, x_NG: FloatArray) -> FloatArray:
    """Return the net's outputs [N, O] as float32, computed in parts to limit memory; leaves the net in evaluation mode."""
    net.eval()
    first = next(net.parameters())
    out_NO = np.empty((len(x_NG), net.output_dim), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(x_NG), SCORING_ROWS):
            part = torch.from_numpy(np.array(x_NG[start : start + SCORING_ROWS], order="C"))
            out = net(part.to(first.device, first.dtype).view(-1, *net.input_shape))
            out_NO[start : start + SCORING_ROWS] = out.float().cpu().numpy()
    return out_NO
