"""Sums of two versions over blocks of comparable size."""

from __future__ import annotations

from math import log2
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.blocks import NUM_BLOCKS, coarse
from forebay.stream.experiments.confidence_sequence import estimate

MIN_COARSE_BLOCKS: Final = 128


class ArmSums(NamedTuple):
    """The counts of a version, and the sums of one metric, by block."""

    n_predictions: npt.NDArray[np.int64]
    n_matched: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]


def comparable(control: BlockSums, treatment: BlockSums, metric: str | None = None) -> tuple[ArmSums, ArmSums]:
    """Return the sums of two versions, those of the smaller one over larger blocks, so that blocks have as many keys in both.

    In a block of many keys, keys with many events weigh more than they do where blocks have one key. So blocks of a canary
    with 5 % of the keys and of a stable version with 95 % would have different means, even if the versions are the same. With
    as many keys, their blocks have the same distribution.
    """
    share = share_of_keys(control, treatment)
    halvings = min(round(abs(log2(share / (1 - share)))), round(log2(NUM_BLOCKS / MIN_COARSE_BLOCKS)))
    smaller = NUM_BLOCKS >> halvings
    control_blocks, treatment_blocks = (NUM_BLOCKS, smaller) if share <= 0.5 else (smaller, NUM_BLOCKS)
    return _arm(control, metric, control_blocks), _arm(treatment, metric, treatment_blocks)


def share_of_keys(control: BlockSums, treatment: BlockSums) -> float:
    """Return an estimate of the treatment's share of the keys: the mean over blocks of its share of the predictions."""
    both = control.n_predictions + treatment.n_predictions
    if not both.any():
        return 0.5
    found = estimate(treatment.n_predictions.astype(np.float64), both)
    return min(max(found.mean, 1 / NUM_BLOCKS), 1 - 1 / NUM_BLOCKS)


def _arm(sums: BlockSums, metric: str | None, num_blocks: int) -> ArmSums:
    values = np.zeros(NUM_BLOCKS) if metric is None else sums.sums(metric)
    return ArmSums(
        coarse(sums.n_predictions, num_blocks), coarse(sums.n_matched, num_blocks), coarse(values, num_blocks)
    )
