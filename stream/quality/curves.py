"""Curves of quality for plots, from sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.class_sums import UNITS_PER_ONE, ClassSums

Points = list[tuple[float, float]]


def roc_curve(sums: ClassSums, max_points: int = 200) -> Points:
    """Return the rate of false positives and of true positives for thresholds from high to low; empty with one class only."""
    hits, misses = np.maximum(sums.hit_scores.dense(), 0), np.maximum(sums.miss_scores.dense(), 0)
    if not (sums.is_binary and hits.any() and misses.any()):
        return []
    occurring = np.flatnonzero(hits + misses)[::-1]
    across, up = _shares(misses[occurring]), _shares(hits[occurring])
    shown = np.unique(np.linspace(0, len(across) - 1, min(len(across), max_points)).round().astype(np.int64))
    return list(zip(across[shown].tolist(), up[shown].tolist(), strict=True))


def reliability_curve(sums: ClassSums) -> Points:
    """Return the mean score and the share of hits of each calibration bin with pairs."""
    return [
        (confidence / UNITS_PER_ONE / rows, hits / rows)
        for rows, confidence, hits in zip(*sums.calibration.tolist(), strict=True)
        if rows > 0
    ]


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    cumulative = np.concatenate(([0], np.cumsum(counts)))
    shares: npt.NDArray[np.float64] = cumulative / cumulative[-1]
    return shares
