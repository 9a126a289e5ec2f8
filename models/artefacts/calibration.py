"""Frozen calibration: how the scores of a model become probabilities that agree with the labels. Numbers only.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.signature import Task

CalibrationMethod = Literal["isotonic", "platt", "temperature"]

METHODS: Final = ("isotonic", "platt", "temperature")
METHODS_OF_TASK: Final[Mapping[Task, tuple[CalibrationMethod, ...]]] = {
    "binary": ("isotonic", "platt"),
    "multiclass": ("temperature",),
    "regression": (),
}
MAX_KNOTS: Final = 10_000
LEAST: Final = 1e-7
"""Probabilities are kept at least this far from 0 and 1 before a logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps scores to calibrated probabilities.

    isotonic (binary): by linear interpolation between the points `x`, `y`, and constant outside them.
    platt (binary): the logit of the score times `slope` plus `intercept`, through the sigmoid.
    temperature (several classes): the logarithms of the scores divided by `temperature`, through softmax.

    None reverses the order of two scores; isotonic can make them equal. Computed in float64.
    """

    method: CalibrationMethod
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    temperature: float = 1.0
    _xy: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_xy", (np.array(self.x, np.float64), np.array(self.y, np.float64)))

    def apply(self, scores_BO: FloatArray) -> FloatArray:
        """Return the calibrated scores, in new memory. NaN stays NaN."""
        p_BO = scores_BO.astype(np.float64)
        if self.method == "isotonic":
            calibrated_BO = np.interp(p_BO, *self._xy)
        elif self.method == "platt":
            calibrated_BO = _sigmoid(self.slope * logit(p_BO) + self.intercept)
        else:
            log_BO = np.log(np.clip(p_BO, LEAST, 1.0)) / self.temperature
            calibrated_BO = np.exp(log_BO - log_BO.max(axis=1, keepdims=True, initial=-math.inf))
            calibrated_BO /= calibrated_BO.sum(axis=1, keepdims=True)
        return np.asarray(calibrated_BO, dtype=np.float32)

    def to_dict(self) -> dict[str, object]:
        """Return the calibration as JSON values."""
        numbers: dict[CalibrationMethod, dict[str, object]] = {
            "isotonic": {"x": list(self.x), "y": list(self.y)},
            "platt": {"slope": self.slope, "intercept": self.intercept},
            "temperature": {"temperature": self.temperature},
        }
        return {"method": self.method, **numbers[self.method]}

    @classmethod
    def read(cls, fields: JsonObject, task: Task) -> Calibration:
        """Return the calibration in one object of a manifest. Raises ModelError that names the file and the key."""
        methods = METHODS_OF_TASK[task]
        if not methods:
            raise fields.error(f"{fields.path}: a model for {task} has no calibration")
        method = cast("CalibrationMethod", fields.text("method", methods))
        if method == "isotonic":
            fields.reject_unknown_keys({"method", "x", "y"})
            x, y = fields.numbers("x"), fields.numbers("y")
            if not 1 <= len(x) <= MAX_KNOTS or any(low >= high for low, high in pairwise(x)) or not _within(x):
                fields.fail("x", list(x), f"1 to {MAX_KNOTS} ascending numbers from 0 to 1")
            if len(y) != len(x) or any(low > high for low, high in pairwise(y)) or not _within(y):
                fields.fail("y", list(y), f"{len(x)} numbers from 0 to 1, none below the one before")
            return cls(method, x, y)
        if method == "platt":
            fields.reject_unknown_keys({"method", "slope", "intercept"})
            slope, intercept = fields.number("slope"), fields.number("intercept")
            if slope <= 0:
                fields.fail("slope", slope, "a number above 0, so that the order of scores stays")
            return cls(method, slope=slope, intercept=intercept)
        fields.reject_unknown_keys({"method", "temperature"})
        temperature = fields.number("temperature")
        if temperature <= 0:
            fields.fail("temperature", temperature, "a number above 0, so that the order of scores stays")
        return cls(method, temperature=temperature)


def logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logits of probabilities, which are kept away from 0 and 1."""
    clipped = np.clip(p, LEAST, 1 - LEAST)
    logits: npt.NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _sigmoid(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # exp is only applied to values that are not positive, so it cannot overflow.
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + small), small / (1 + small))


def _within(numbers: tuple[float, ...]) -> bool:
    return all(0 <= number <= 1 for number in numbers)
