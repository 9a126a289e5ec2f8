"""Train boosted trees from a recipe with scikit-learn, XGBoost or LightGBM, whichever is installed.

Shapes: N rows, G columns, O outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.loop import Rows
from forebay.models.training.net_training import loop_options
from forebay.models.training.prepared_data import PreparedData
from forebay.models.training.recipe import Recipe
from forebay.models.training.training_state import EpochRecord
from forebay.schemas.errors import ConfigError


def train_trees(recipe: Recipe, data: PreparedData) -> FittedModel:
    """Return trees of the best round: boosting stops after `patience` rounds without a smaller validation loss.

    Raises ConfigError if the library is not installed.
    """
    options = loop_options(recipe, data)
    weights = options.loss.class_weights
    weight_N = None if not weights else np.array(weights)[np.asarray(data.training.y).astype(np.int64)]
    train = {"hist_gradient_boosting": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm}[recipe.model.architecture]
    try:
        return train(recipe, data, weight_N)
    except ImportError as error:
        raise ConfigError(
            f"model.architecture is {recipe.model.architecture!r}, and {error.name} is not installed",
            kind="training_missing",
            remedy="pip install 'forebay[trees]'",
        ) from None


def _sklearn(recipe: Recipe, data: PreparedData, weight_N: npt.NDArray[np.float64] | None) -> FittedModel:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    model, task = recipe.model, data.signature.task
    options: dict[str, Any] = {
        "max_iter": model.num_trees,
        "max_leaf_nodes": model.max_leaves,
        "min_samples_leaf": model.min_rows_per_leaf,
        "learning_rate": recipe.training.learning_rate,
        "early_stopping": True,
        "n_iter_no_change": recipe.training.patience,
        "random_state": recipe.training.seed,
    }
    if task == "regression":
        loss = {"mae": "absolute_error"}.get(recipe.training.loss, "squared_error")
        trees: Any = HistGradientBoostingRegressor(loss=loss, **options)
    else:
        trees = HistGradientBoostingClassifier(**options)
    x, y = _arrays(data.training, task)
    x_valid, y_valid = _arrays(data.validation, task)
    trees.fit(x, y, sample_weight=weight_N, X_val=x_valid, y_val=y_valid)

    def predict(x_NG: FloatArray) -> FloatArray:
        found = trees.predict(x_NG) if task == "regression" else trees.decision_function(x_NG)
        return _as_outputs(found)

    losses = [(-a, -b) for a, b in zip(trees.train_score_, trees.validation_score_, strict=True)]
    return _fitted(trees, predict, losses, rate=recipe.training.learning_rate, limit=model.num_trees)


def _xgboost(recipe: Recipe, data: PreparedData, weight_N: npt.NDArray[np.float64] | None) -> FittedModel:
    import xgboost

    model, task = recipe.model, data.signature.task
    metric = {"regression": "rmse", "binary": "logloss", "multiclass": "mlogloss"}[task]
    options: dict[str, Any] = {
        "n_estimators": model.num_trees,
        "max_leaves": model.max_leaves,
        "min_child_weight": model.min_rows_per_leaf,
        "learning_rate": recipe.training.learning_rate,
        "early_stopping_rounds": recipe.training.patience,
        "random_state": recipe.training.seed,
        "eval_metric": metric,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "n_jobs": 1,
    }
    if task == "regression":
        objective = {"mae": "reg:absoluteerror", "huber": "reg:pseudohubererror"}.get(
            recipe.training.loss, "reg:squarederror"
        )
        trees: Any = xgboost.XGBRegressor(objective=objective, **options)
    else:
        trees = xgboost.XGBClassifier(**options)
    x, y = _arrays(data.training, task)
    valid = _arrays(data.validation, task)
    trees.fit(x, y, sample_weight=weight_N, eval_set=[(x, y), valid], verbose=False)

    def predict(x_NG: FloatArray) -> FloatArray:
        return _as_outputs(trees.predict(x_NG, output_margin=True))

    found = trees.evals_result()
    losses = list(zip(found["validation_0"][metric], found["validation_1"][metric], strict=True))
    return _fitted(trees, predict, losses, rate=recipe.training.learning_rate, limit=model.num_trees)


def _lightgbm(recipe: Recipe, data: PreparedData, weight_N: npt.NDArray[np.float64] | None) -> FittedModel:
    import lightgbm

    model, task = recipe.model, data.signature.task
    objective, metric = {
        "regression": ({"mae": "regression_l1", "huber": "huber"}.get(recipe.training.loss, "regression"), "l2"),
        "binary": ("binary", "binary_logloss"),
        "multiclass": ("multiclass", "multi_logloss"),
    }[task]
    options: dict[str, Any] = {
        "objective": objective,
        "metric": metric,
        "num_leaves": model.max_leaves,
        "min_data_in_leaf": model.min_rows_per_leaf,
        "learning_rate": recipe.training.learning_rate,
        "seed": recipe.training.seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    if task == "multiclass":
        options["num_class"] = data.signature.num_classes
    x, y = _arrays(data.training, task)
    training = lightgbm.Dataset(x, y, weight=weight_N, free_raw_data=False)
    validation = lightgbm.Dataset(*_arrays(data.validation, task), reference=training)
    found: dict[str, dict[str, list[float]]] = {}
    trees = lightgbm.train(
        options,
        training,
        num_boost_round=model.num_trees,
        valid_sets=[training, validation],
        valid_names=["training", "validation"],
        callbacks=[
            lightgbm.early_stopping(recipe.training.patience, first_metric_only=True, verbose=False),
            lightgbm.record_evaluation(found),
        ],
    )

    def predict(x_NG: FloatArray) -> FloatArray:
        return _as_outputs(np.asarray(trees.predict(x_NG, raw_score=True)))

    losses = list(zip(found["training"][metric], found["validation"][metric], strict=True))
    return _fitted(trees, predict, losses, rate=recipe.training.learning_rate, limit=model.num_trees)


def _arrays(rows: Rows, task: Task) -> tuple[FloatArray, npt.NDArray[Any]]:
    y = np.asarray(rows.y)
    return np.asarray(rows.x), y[:, 0] if task == "regression" else y.astype(np.int64)


def _as_outputs(found: npt.NDArray[Any]) -> FloatArray:
    out: FloatArray = np.asarray(found, dtype=np.float32)
    return out[:, None] if out.ndim == 1 else out


def _fitted(trees: Any, predict: Any, losses: list[tuple[float, float]], *, rate: float, limit: int) -> FittedModel:
    history = tuple(
        EpochRecord(number, float(training), float(validation), rate)
        for number, (training, validation) in enumerate(losses, start=1)
    )
    best = min(history, key=lambda record: record.validation_loss)
    return FittedModel(
        trees,
        predict,
        validation_loss=best.validation_loss,
        history=history,
        best=best.epoch,
        end="no better epoch" if len(history) < limit else "all epochs",
        params={"library": type(trees).__name__},
    )
