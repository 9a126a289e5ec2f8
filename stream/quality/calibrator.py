"""Calibrated probabilities of the bins of a score, learned from labelled pairs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.grids import score_bin_centres

Floats = npt.NDArray[np.float64]

_PRIOR_ROWS: Final = 1.0
"""How many pairs the fitted curve counts for in each bin: it decides where there are few labels."""
_PRIOR_STRENGTH: Final = 1.0
_STEPS: Final = 25


def calibrated_probabilities(hits: npt.NDArray[Any], misses: npt.NDArray[Any]) -> Floats:
    """Return the probability of a hit for each bin, which never decreases with the score.

    First a logistic curve is fitted to the log odds of the score (Platt). It extends to bins without labels. Then the share of
    hits in each bin, with the curve as its prior, is made monotone by pooling adjacent violators (isotonic regression).

    hits, misses: labelled pairs by the bin of their score.
    """
    right: Floats = np.maximum(hits, 0).astype(np.float64)
    wrong: Floats = np.maximum(misses, 0).astype(np.float64)
    rows = right + wrong + _PRIOR_ROWS
    return _isotonic((right + _PRIOR_ROWS * _fitted_curve(right, wrong)) / rows, rows)


def _fitted_curve(hits: Floats, misses: Floats) -> Floats:
    """Fit slope and offset of the log odds by Newton's method, near 1 and 0 if there are few labels."""
    centres = score_bin_centres()
    x = np.log(centres) - np.log1p(-centres)
    rows, parameters = hits + misses, np.array([1.0, 0.0])
    for _ in range(_STEPS):
        probability = _sigmoid(parameters[0] * x + parameters[1])
        residual, weight = hits - rows * probability, rows * probability * (1 - probability)
        gradient = np.array([(residual * x).sum(), residual.sum()]) - _PRIOR_STRENGTH * (parameters - [1.0, 0.0])
        cross = (weight * x).sum()
        curvature = np.array([[(weight * x * x).sum(), cross], [cross, weight.sum()]]) + _PRIOR_STRENGTH * np.eye(2)
        step = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        parameters = parameters + step
        if float(np.abs(step).max()) < 1e-9:
            break
    parameters[0] = max(parameters[0], 0.0)
    return _sigmoid(parameters[0] * x + parameters[1])


def _sigmoid(log_odds: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(log_odds, -40, 40)))
    return result


def _isotonic(values: Floats, weights: Floats) -> Floats:
    """Pool adjacent bins until the means never decrease."""
    means: list[float] = []
    sums: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        length = 1
        while means and means[-1] >= value:
            total = sums.pop()
            value = (means.pop() * total + value * weight) / (total + weight)
            weight += total
            length += lengths.pop()
        means.append(value)
        sums.append(weight)
        lengths.append(length)
    return np.repeat(means, lengths)
