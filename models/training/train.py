"""Train nets on arrays in one process: Adam and early stopping on the validation loss.

Shapes: N rows, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import TASKS, Task
from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.serving.scoring import score
from forebay.models.training import metrics
from forebay.models.training.loop import LoopOptions, NullObserver, Rows, StepReport, Targets, TrainingLoop, outputs
from forebay.models.training.losses import LOSSES, Loss
from forebay.models.training.optimisers import OptimizerOptions
from forebay.models.training.training_state import TrainingState
from forebay.schemas.errors import ModelError, TensorError

# Called with the epoch (from 1), the completed fraction of all epochs (0 to 1), and the latest training loss.
Progress = Callable[[int, float, float], None]

_REPORTS_PER_EPOCH: Final = 20


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of the training, which stops after `patience` epochs without a better validation loss."""

    epochs: int = 20
    batch_size: int = 2048
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int = 3
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)!r}; allowed is {allowed}"
            for name, allowed, is_allowed in (
                ("epochs", "from 1", self.epochs >= 1),
                ("batch_size", "from 1", self.batch_size >= 1),
                ("learning_rate", "above 0", 0 < self.learning_rate < math.inf),
                ("weight_decay", "from 0", 0 <= self.weight_decay < math.inf),
                ("patience", "from 1", self.patience >= 1),
                ("validation_fraction", "above 0 and below 1", 0 < self.validation_fraction < 1),
                ("seed", "from 0", self.seed >= 0),
            )
            if not is_allowed
        ]
        if problems:
            raise ModelError("training options: " + "; ".join(problems), kind="params", remedy="correct these options")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """The net of the best epoch, in evaluation mode, and its validation metrics.

    metrics: "loss", "rows", and for classifiers "accuracy", "log_loss" and (binary, if both classes occur)
        "roc_auc"; for regression "mean_absolute_error" and "root_mean_squared_error".
    """

    net: Net
    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int


def train(
    architecture: str,
    params: Mapping[str, object],
    task: Task,
    x_NG: FloatArray,
    y_N: Targets,
    *,
    options: TrainOptions | None = None,
    validation: tuple[FloatArray, Targets] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a net on rows that are already preprocessed. The same seed, data and number of threads give the same net.

    torch's own random state is not changed.

    y_N: 0 and 1 (binary), classes from 0 (multiclass), or values, [N] or [N, O] (regression).
    validation: (x, y); None to hold out a random `validation_fraction` of the rows.

    Raises TensorError for rows or targets that do not fit, ModelError(kind="diverged") if the loss is not finite.
    """
    options = options or TrainOptions()
    if task not in TASKS:
        raise ModelError(f"task is {task!r}", kind="params", remedy=f"choose {', '.join(TASKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        net = build_net(architecture, params)
        training = checked_rows(net, task, x_NG=x_NG, y_N=y_N, what="training")
        if validation is None:
            if len(training) < 2:
                raise TensorError("training needs at least two rows, one of them for validation")
            num_valid = min(max(1, round(len(training) * options.validation_fraction)), len(training) - 1)
            order = np.random.default_rng(options.seed).permutation(len(training))
            held_out = Rows(training.x[order[:num_valid]], training.y[order[:num_valid]])
            training = Rows(training.x[order[num_valid:]], training.y[order[num_valid:]])
        else:
            held_out = checked_rows(net, task, *validation, "validation")
        return _train(net, task, training, held_out, options=options, progress=progress)


class _ProgressObserver(NullObserver):
    """Calls a `Progress` some times in each epoch."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._epochs = epochs

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        done = report()
        every = max(1, done.steps // _REPORTS_PER_EPOCH)
        if (done.step - 1) % every == 0:
            before = (done.epoch - 1 + (done.step - 1) / done.steps) / self._epochs
            self._progress(done.epoch, before, done.loss)


def _train(
    net: Net,
    task: Task,
    training: Rows,
    validation: Rows,
    options: TrainOptions,
    progress: Progress | None,
) -> TrainingResult:
    loop = TrainingLoop(
        net,
        training,
        validation,
        LoopOptions(
            Loss(LOSSES[task][0]),
            OptimizerOptions("adam", options.learning_rate, weight_decay=options.weight_decay),
            epochs=options.epochs,
            batch_size=options.batch_size,
            patience=options.patience,
            seed=options.seed,
        ),
        observer=None if progress is None else _ProgressObserver(progress, options.epochs),
    )
    loop.run()
    history = loop.state.history
    if progress is not None:
        progress(len(history), 1.0, history[-1].training_loss)
    results = evaluate_outputs(outputs(net, validation.x), validation.y, task, loop.state.best_loss)
    return TrainingResult(net, results, len(history), loop.state.best_epoch)


def evaluate_outputs(out_NO: FloatArray, y: Targets, task: Task, loss: float) -> dict[str, float]:
    """Return the metrics of raw outputs. loss: the loss, if it is already known."""
    results = {"loss": loss, "rows": float(len(y))}
    if task == "regression":
        results["mean_absolute_error"] = metrics.mean_absolute_error(y, out_NO)
        results["root_mean_squared_error"] = metrics.root_mean_squared_error(y, out_NO)
        return results
    scores = score(out_NO, task)
    assert scores.classes_B is not None
    results["accuracy"] = metrics.accuracy(y, scores.classes_B)
    results["log_loss"] = metrics.log_loss(y, scores.values_BO)
    area = metrics.roc_auc(y, scores.values_BO[:, 0]) if task == "binary" else None
    if area is not None:
        results["roc_auc"] = area
    return results


def checked_rows(net: Net, task: Task, x_NG: FloatArray, y_N: Targets, what: str) -> Rows:
    """Return the rows with targets of the right type. Raises TensorError if they do not fit the net and the task."""
    if x_NG.dtype != np.float32 or x_NG.ndim != 2 or x_NG.shape[1] != net.input_dim or len(x_NG) == 0:
        raise TensorError(
            f"{what}: {net.architecture} takes float32 [N, {net.input_dim}] with at least one row; "
            f"this is {x_NG.dtype} {list(x_NG.shape)}",
            remedy="apply the preprocessing first, and build the net for its width",
        )
    if not np.isfinite(x_NG).all():
        column = int(np.argmax(~np.isfinite(x_NG).all(axis=0)))
        raise TensorError(
            f"{what}: column {column} has missing or infinite values",
            remedy="impute the column, or omit these rows",
        )
    outputs = net.output_dim
    if task != "regression" and (outputs == 1) != (task == "binary"):
        raise TensorError(f"{what}: a {task} net has {'1 output' if task == 'binary' else 'more than 1 output'}")
    y = np.asarray(y_N)
    if task == "regression" and y.ndim == 1:
        y = y[:, None]
    expected = (len(x_NG), outputs) if task == "regression" else (len(x_NG),)
    with np.errstate(invalid="ignore"):  # signalling NaN
        is_finite = np.isfinite(y.astype(np.float64)).all()
    if y.shape != expected or not is_finite:
        raise TensorError(f"{what}: the targets must be finite numbers {list(expected)}; these are {list(y.shape)}")
    classes = {"binary": 2, "multiclass": outputs, "regression": 0}[task]
    if classes and not np.isin(y, np.arange(classes)).all():
        raise TensorError(f"{what}: the targets of this {task} net must be whole numbers from 0 to {classes - 1}")
    return Rows(x_NG, y.astype(np.int64 if task == "multiclass" else np.float32))
