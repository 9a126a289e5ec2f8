"""Run a recipe: prepare the data, train, evaluate and register."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from forebay.models.artefacts.draft_checks import check_parent
from forebay.models.artefacts.repository import check_name
from forebay.models.registration.register import Registration
from forebay.models.training.distribution import Distribution
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.loop import LoopObserver, Rows
from forebay.models.training.net_training import train_net, training_device
from forebay.models.training.prepared_data import PreparedData, TableSource, prepare_data
from forebay.models.training.publishing import content_digest, publish_trained
from forebay.models.training.recipe import Recipe
from forebay.models.training.train import evaluate_outputs
from forebay.models.training.tree_training import train_trees
from forebay.models.training.tuning import Trial, best_trial, draw_values
from forebay.schemas.errors import ModelError, StorageError

Stage = Callable[[str], None]
"""Receives the name of each stage when it starts."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingOutcome:
    """A trained model. metrics: by part of the data. registration: None if it was not registered."""

    recipe: Recipe
    data: PreparedData
    fitted: FittedModel
    metrics: Mapping[str, Mapping[str, float]]
    registration: Registration | None
    content_sha256: str


@contextmanager
def training_folder(cache_dir: Path) -> Iterator[Path]:
    """Make a folder for the files of one training, and remove it afterwards. Raises StorageError."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="training-", dir=cache_dir, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(cache_dir)):
            raise
        raise StorageError(
            f"{cache_dir}: cannot be written: {error.strerror or error}",
            remedy="choose another folder with --cache-dir",
        ) from None


def check_registration(recipe: Recipe) -> None:
    """Raise ModelError if the model could not be registered, before any time is spent on training."""
    check_name(recipe.registration.name)
    check_parent(recipe.registration.repository, recipe.registration.name, recipe.registration.parent)


def run_recipe(
    recipe: Recipe,
    source: TableSource,
    folder: Path,
    *,
    created_at: datetime,
    observer: LoopObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_stage: Stage = lambda name: None,
    register: bool = True,
) -> TrainingOutcome:
    """Train and register a model.

    folder: for the files of this training, from `training_folder`.
    register: False to train and evaluate only.

    Raises ForebayError with the place and the remedy; nothing is registered then.
    """
    check_registration(recipe)
    training_device(recipe)
    on_stage("reading and preparing")
    data = prepare_data(recipe, source, folder)
    on_stage("training")
    fitted = train_model(recipe, data, observer=observer, should_stop=should_stop)
    on_stage("evaluating and registering")
    return finish(recipe, data, fitted, created_at=created_at, register=register)


def finish(
    recipe: Recipe, data: PreparedData, fitted: FittedModel, *, created_at: datetime, register: bool = True
) -> TrainingOutcome:
    """Evaluate a trained model and register it. Raises like `publish_trained`."""
    metrics = evaluate(data, fitted)
    if not register:
        return TrainingOutcome(recipe, data, fitted, metrics=metrics, registration=None, content_sha256="")
    registration = publish_trained(recipe, data, fitted, metrics=flat_metrics(metrics), created_at=created_at)
    return TrainingOutcome(
        recipe,
        data,
        fitted,
        metrics=metrics,
        registration=registration,
        content_sha256=content_digest(registration.folder),
    )


def search(
    recipe: Recipe,
    data: PreparedData,
    trials: int,
    *,
    on_trial: Callable[[Trial | None, int, int], None] = lambda trial, number, trials: None,
) -> tuple[Recipe, list[Trial]]:
    """Try random values of the recipe's ranges; return the recipe with the best ones, and all trials.

    on_trial: receives None before a trial and the trial after it, its number from 1, and how many there are.

    Raises ConfigError if nothing can be searched or all trials fail; values with which a training diverges are only noted.
    """
    done: list[Trial] = []
    for number, values in enumerate(draw_values(recipe, trials), start=1):
        on_trial(None, number, trials)
        try:
            fitted = train_model(recipe.with_values(values), data)
            trial = Trial(number, values, fitted.validation_loss, best=fitted.best)
        except ModelError as error:
            trial = Trial(number, values, None, problem=error.message)
        done.append(trial)
        on_trial(trial, number, trials)
    return recipe.with_values(best_trial(done).values), done


def train_model(
    recipe: Recipe,
    data: PreparedData,
    *,
    observer: LoopObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    distribution: Distribution | None = None,
) -> FittedModel:
    """Train the recipe's net or trees on prepared data.

    distribution: the ranks that train a net together, and its checkpoints; None for one process without checkpoints.
    """
    if recipe.model.is_net:
        return train_net(recipe, data, observer=observer, should_stop=should_stop, distribution=distribution)
    return train_trees(recipe, data)


def evaluate(data: PreparedData, fitted: FittedModel) -> dict[str, dict[str, float]]:
    """Return the metrics of the validation rows and, if there are any, of the test rows."""
    parts: dict[str, Rows | None] = {"validation": data.validation, "test": data.test}
    found = {}
    for name, rows in parts.items():
        if rows is not None:
            outputs_NO = fitted.predict(rows.x)
            metrics = evaluate_outputs(outputs_NO, rows.y, data.signature.task, fitted.validation_loss)
            if name == "test":
                del metrics["loss"]
            found[name] = metrics
    return found


def flat_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics as a manifest holds them: those of the test rows with the prefix `test_`."""
    return {
        name if part == "validation" else f"{part}_{name}": value
        for part, values in metrics.items()
        for name, value in values.items()
    }
