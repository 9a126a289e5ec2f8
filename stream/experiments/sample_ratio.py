"""Whether the versions got the shares of keys that they should have, and labels for the same share of their predictions.

If not, the versions predict different events, and a difference of their quality may come from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from typing import Final

import numpy as np

from forebay.stream.experiments.arms import comparable
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.confidence_sequence import (
    EVERYTHING,
    Interval,
    best_rho,
    estimate,
    interval,
    planned_information,
)

ALPHA: Final = 0.001
"""Probability with which each of the two checks ever alarms although nothing is wrong."""
MIN_EXPECTED_BLOCKS: Final = 50
"""Number of blocks times the smaller share, below which the share is not judged: its distribution is too skewed."""
_RELATIVE_EFFECT: Final = 0.1
_MATCHED_EFFECT: Final = 0.02


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """A share with its interval, and what it should be.

    expected, found: for labels, the matched share of the stable version and of the other one.
    interval: of the found share; for labels, of the difference found - expected.
    """

    expected: float
    found: float
    interval: Interval
    is_wrong: bool

    @property
    def is_known(self) -> bool:
        """Whether there is enough data."""
        return not isinf(self.interval.low)

    def to_dict(self) -> dict[str, object]:
        """Return the check as JSON values."""
        return {
            "expected": self.expected,
            "found": self.found,
            "low": self.interval.low if self.is_known else None,
            "high": self.interval.high if self.is_known else None,
            "wrong": self.is_wrong if self.is_known else None,
        }


def check_sample_ratio(control: BlockSums, treatment: BlockSums, share: float, *, alpha: float = ALPHA) -> ShareCheck:
    """Compare the treatment's share of the predictions with the share of the keys that it should have.

    In each block, the expected share of the events is exactly the share of the keys, however differently often keys occur, as
    each key is allocated by itself. So the mean over blocks is compared, with the key as unit. The share of all events may
    differ a lot by chance, where a few keys have most of the events.

    share: of the keys of both versions, between 0 and 1.
    """
    both = control.n_predictions + treatment.n_predictions
    found = estimate(treatment.n_predictions.astype(np.float64), both, spread=1.0)
    if found.num_blocks * min(share, 1 - share) < MIN_EXPECTED_BLOCKS:
        return ShareCheck(share, found.mean, EVERYTHING, False)
    rho = best_rho(planned_information(_RELATIVE_EFFECT * min(share, 1 - share), alpha), alpha)
    bounds = interval(found, alpha=alpha, rho=rho)
    return ShareCheck(share, found.mean, bounds, bounds.excludes(share))


def check_matched_share(control: BlockSums, treatment: BlockSums, *, alpha: float = ALPHA) -> ShareCheck:
    """Compare the shares of the predictions that got a label.

    Labels that depend on the version (only accepted offers are observed) make its quality incomparable.
    """
    arms = [
        estimate(sums.n_matched.astype(np.float64), sums.n_predictions, spread=1.0)
        for sums in comparable(control, treatment)
    ]
    difference = arms[1].minus(arms[0])
    rho = best_rho(planned_information(_MATCHED_EFFECT, alpha), alpha)
    bounds = interval(difference, alpha=alpha, rho=rho)
    return ShareCheck(arms[0].mean, arms[1].mean, bounds, bounds.excludes(0.0))
