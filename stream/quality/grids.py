"""The bins of quality sums: of scores, of calibration, and of signed numbers such as errors and delays.

Bins are found by comparison with constants, not by a logarithm: a pair that another machine takes back must fall into the
same bins, and logarithms differ between machines in the last digit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.quality import NUM_CALIBRATION_BINS, NUM_SCORE_BINS

Floats = npt.NDArray[np.float64]
Bins = npt.NDArray[np.int64]

SCORE_BINS: Final = NUM_SCORE_BINS
_LOG_ODDS: Final = (-16.0, 12.0)
"""Narrower near 1, where float32 has few numbers."""

CALIBRATION_BINS: Final = NUM_CALIBRATION_BINS
_CALIBRATION_EDGES: Final = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]

BUCKETS_PER_OCTAVE: Final = 8
_LOWEST_OCTAVE: Final = -24
_HIGHEST_OCTAVE: Final = 40
_BUCKETS: Final = BUCKETS_PER_OCTAVE * (_HIGHEST_OCTAVE - _LOWEST_OCTAVE)
SIGNED_BUCKETS: Final = 2 * _BUCKETS + 1
"""Buckets of signed numbers. The middle one holds all numbers up to 2**-24 in size; the first and the last are unlimited."""

_MANTISSAS: Final = 2.0 ** (np.arange(1, BUCKETS_PER_OCTAVE) / BUCKETS_PER_OCTAVE - 1)


def _score_edges() -> npt.NDArray[np.float32]:
    """Return the inner edges of the bins of a score from 0 to 1.

    Half of the resolution is spread evenly over the score and half evenly over its log odds, from -16 to 12: models of rare
    events have all scores near 0, forests have them near 0.5, and both need many bins where the scores are.
    """
    low, high = _LOG_ODDS
    log_odds = np.linspace(low, high, 200_001)
    scores = 1 / (1 + np.exp(-log_odds))
    positions = (scores + (log_odds - low) / (high - low)) / 2 * SCORE_BINS
    return np.interp(np.arange(1, SCORE_BINS), positions, scores).astype(np.float32)


SCORE_EDGES: Final = _score_edges()


def score_bins(scores_B: npt.NDArray[np.float32]) -> Bins:
    """Return the bin of each score from 0 to 1. A score on an edge is in the lower bin."""
    return np.searchsorted(SCORE_EDGES, scores_B).astype(np.int64)


def score_bin_centres() -> Floats:
    """Return the middle of each bin of scores."""
    edges = np.concatenate(([0.0], SCORE_EDGES.astype(np.float64), [1.0]))
    return (edges[:-1] + edges[1:]) / 2


def calibration_bins(scores_B: Floats) -> Bins:
    """Return the bin of equal width of each score, as `sklearn.calibration.calibration_curve` does."""
    return np.searchsorted(_CALIBRATION_EDGES, scores_B).astype(np.int64)


def signed_buckets(values_B: Floats) -> Bins:
    """Return the bucket of each finite number. Each bucket is 9 % wider than the next one towards zero."""
    mantissas, exponents = np.frexp(np.abs(values_B))
    # A mantissa is from 0.5 to 1; exactly 0.5 is the upper bound of the octave below.
    octaves = exponents.astype(np.int64) - 1 - _LOWEST_OCTAVE
    within = np.searchsorted(_MANTISSAS, mantissas) + 1
    positions = np.where(mantissas == 0.5, octaves * BUCKETS_PER_OCTAVE, octaves * BUCKETS_PER_OCTAVE + within)
    positions = np.clip(np.where(mantissas == 0, 0, positions), 0, _BUCKETS)
    return _BUCKETS + np.where(values_B < 0, -positions, positions)


def signed_bucket_values() -> Floats:
    """Return the geometric middle of each bucket of signed numbers; 0 for the middle one."""
    steps = np.arange(1, _BUCKETS + 1)
    sizes = 2.0 ** (_LOWEST_OCTAVE + (steps - 0.5) / BUCKETS_PER_OCTAVE)
    return np.concatenate((-sizes[::-1], [0.0], sizes))
