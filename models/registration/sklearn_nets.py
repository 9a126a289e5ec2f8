"""Read fitted linear models and perceptrons of scikit-learn as layers.

Shapes: B rows, G prepared columns, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn import linear_model as lm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVR

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.registration.sklearn_columns import refusal

_Floats = npt.NDArray[np.float64]
_FUNCTIONS: Final[MappingProxyType[str, Callable[[_Floats], _Floats]]] = MappingProxyType(
    {
        "identity": lambda x: x,
        "relu": lambda x: np.maximum(x, 0.0),
        "logistic": lambda x: 1.0 / (1.0 + np.exp(-x)),
        "tanh": np.tanh,
    }
)

REGRESSORS: Final = (
    lm.ARDRegression,
    lm.BayesianRidge,
    lm.ElasticNet,
    lm.ElasticNetCV,
    lm.HuberRegressor,
    lm.Lars,
    lm.LarsCV,
    lm.Lasso,
    lm.LassoCV,
    lm.LassoLars,
    lm.LassoLarsCV,
    lm.LassoLarsIC,
    lm.LinearRegression,
    lm.MultiTaskElasticNet,
    lm.MultiTaskElasticNetCV,
    lm.MultiTaskLasso,
    lm.MultiTaskLassoCV,
    lm.OrthogonalMatchingPursuit,
    lm.OrthogonalMatchingPursuitCV,
    lm.QuantileRegressor,
    lm.Ridge,
    lm.RidgeCV,
    lm.SGDRegressor,
    lm.TheilSenRegressor,
    LinearSVR,
)
"""Models whose prediction is `x @ coef_.T + intercept_`."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedNet:
    """A fitted model as layers.

    weights, biases: of each layer, [inputs, outputs] and [outputs].
    activation: after each layer but the last, as scikit-learn calls it.
    classes: the labels of a classifier.
    """

    task: Task
    weights: list[_Floats]
    biases: list[_Floats]
    activation: str = "identity"
    classes: tuple[object, ...] = ()

    @property
    def output_dim(self) -> int:
        """The number of outputs."""
        return int(self.weights[-1].shape[1])

    def outputs(self, z_BG: _Floats) -> _Floats:
        """Return the values or logits [B, O] for prepared rows, in float64."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z_BG = z_BG @ weight + bias
            if layer < len(self.weights) - 1:
                z_BG = _FUNCTIONS[self.activation](z_BG)
        return z_BG

    def probabilities(self, logits_BO: _Floats) -> _Floats:
        """Return the probability of each class."""
        if self.task == "binary":
            logits_BO = np.concatenate([np.zeros_like(logits_BO), logits_BO], axis=1)
        powers_BC = np.exp(logits_BO - logits_BO.max(axis=1, keepdims=True))
        probabilities_BC: _Floats = powers_BC / powers_BC.sum(axis=1, keepdims=True)
        return probabilities_BC

    def layers(self, name: str) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the weights and biases in float32; layers without an activation between them are one layer.

        name: of the model, for messages.

        Raises ModelError for weights that are not finite float32.
        """
        weights, biases = self.weights, self.biases
        if len(weights) > 1 and self.activation == "identity":
            weights, biases = [_product(weights)], [self.outputs(np.zeros((1, len(weights[0]))))[0]]
        with np.errstate(over="ignore"):
            result = [weight.astype(np.float32) for weight in weights], [bias.astype(np.float32) for bias in biases]
        for array in (*result[0], *result[1]):
            if not np.isfinite(array).all():
                raise refusal(
                    name, "a weight is not a finite number of float32", "scale the features, and fit it again"
                )
        return result


def find_net_reader(model: object) -> Callable[[Any, str], FittedNet] | None:
    """Return what reads a fitted model as layers; None if nothing does. It takes the model and its name for messages."""
    if type(model) in REGRESSORS:
        return _read_regressor
    return _READERS.get(type(model))


def _product(weights: list[_Floats]) -> _Floats:
    product = weights[0]
    for weight in weights[1:]:
        product = product @ weight
    return product


def _read_regressor(model: Any, name: str) -> FittedNet:
    return FittedNet("regression", *_layer(model))


def _layer(model: Any) -> tuple[list[_Floats], list[_Floats]]:
    coefficients_OG = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    bias_O = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(coefficients_OG),))
    return [coefficients_OG.T], [bias_O]


def _read_classifier(model: Any, name: str) -> FittedNet:
    if getattr(model, "multi_class", "auto") == "ovr" and len(model.classes_) > 2:
        raise refusal(name, f"{model!r} has one model for each class", "fit it without multi_class='ovr'")
    return FittedNet(_class_task(model.classes_), *_layer(model), classes=tuple(model.classes_.tolist()))


def _read_sgd_classifier(model: Any, name: str) -> FittedNet:
    if model.loss != "log_loss":
        raise refusal(name, f"{model!r} gives no probabilities", "fit it with loss='log_loss'")
    if len(model.classes_) > 2:
        raise refusal(
            name,
            f"{model!r} has {len(model.classes_)} classes and one model for each, whose probabilities no net gives",
            "use LogisticRegression",
        )
    return FittedNet("binary", *_layer(model), classes=tuple(model.classes_.tolist()))


def _read_mlp(model: Any, name: str) -> FittedNet:
    task: Task = "regression"
    classes: tuple[object, ...] = ()
    if model.out_activation_ not in ("identity", "logistic", "softmax"):
        raise refusal(name, f"{model!r} has the output {model.out_activation_}", "fit it with squared_error")
    if isinstance(model, MLPClassifier):
        if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
            raise refusal(name, f"{model!r} gives several labels at once", "fit one model for each label")
        task, classes = _class_task(model.classes_), tuple(model.classes_.tolist())
    layers = [np.asarray(weight, dtype=np.float64) for weight in model.coefs_]
    biases = [np.asarray(bias, dtype=np.float64) for bias in model.intercepts_]
    return FittedNet(task, layers, biases, activation=model.activation, classes=classes)


def _class_task(classes: Any) -> Task:
    return "binary" if len(classes) == 2 else "multiclass"


_READERS: Final[MappingProxyType[type, Callable[[Any, str], FittedNet]]] = MappingProxyType(
    {
        lm.LogisticRegression: _read_classifier,
        lm.LogisticRegressionCV: _read_classifier,
        LinearDiscriminantAnalysis: _read_classifier,
        lm.SGDClassifier: _read_sgd_classifier,
        MLPClassifier: _read_mlp,
        MLPRegressor: _read_mlp,
    }
)
