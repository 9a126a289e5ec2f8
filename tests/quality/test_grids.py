"""The bins of quality sums."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.quality.grids import (
    SCORE_BINS,
    SCORE_EDGES,
    SIGNED_BUCKETS,
    calibration_bins,
    score_bin_centres,
    score_bins,
    signed_bucket_values,
    signed_buckets,
)


def test_the_bins_of_scores_never_change() -> None:
    # Records of earlier releases are added to those of this one.
    assert len(SCORE_EDGES) == SCORE_BINS - 1
    assert bool((np.diff(SCORE_EDGES) > 0).all())
    picked = SCORE_EDGES[[0, 99, 499, 899, 998]].astype(np.float64)
    assert picked.tolist() == [
        1.1901652641199689e-07,
        3.0405661163968034e-05,
        0.43754100799560547,
        0.9984131455421448,
        0.9999935030937195,
    ]


def test_scores_fall_into_the_bins_around_them() -> None:
    centres = score_bin_centres()
    assert score_bins(centres.astype(np.float32)).tolist() == list(range(SCORE_BINS))
    assert score_bins(np.array([0, 1], dtype=np.float32)).tolist() == [0, SCORE_BINS - 1]


def test_calibration_bins_are_those_of_scikit_learn() -> None:
    scores = np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 0.5, 1.0])
    assert calibration_bins(scores).tolist() == [0, 0, 1, 7, 14]


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_signed_bucket_holds_numbers_of_its_size(value: float) -> None:
    bucket = int(signed_buckets(np.array([value]))[0])
    middle = signed_bucket_values()[bucket]
    if abs(value) <= 2**-24:
        assert middle == 0
    else:
        assert 2 ** (-1 / 16) - 1e-12 <= middle / value <= 2 ** (1 / 16) + 1e-12


def test_signed_buckets_are_symmetrical_and_limited() -> None:
    values = np.array([0.0, 3.7, 1e300, 1.0, 2.0])
    sums = signed_buckets(values) + signed_buckets(-values)
    assert sums.tolist() == [SIGNED_BUCKETS - 1] * len(values)
    assert signed_buckets(np.array([-1e300, 1e300])).tolist() == [0, SIGNED_BUCKETS - 1]
    one, above = signed_buckets(np.array([1.0, np.nextafter(1.0, 2)]))
    assert above == one + 1
