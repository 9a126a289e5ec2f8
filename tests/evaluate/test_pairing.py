"""Pairs of equal hashes, and what the labels of a prediction change."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.evaluate.pairing import PrefixIndex, find, follow

LAST = 2**64 - 1


def hashes_of(kind: str, count: int) -> np.ndarray:
    random = np.random.default_rng(3)
    if kind == "spread":
        return random.integers(0, LAST, count, np.uint64, endpoint=True)
    if kind == "clustered":
        return random.integers(0, 50, count, np.uint64) + np.uint64(1 << 40)
    return random.choice(np.array([0, 1, LAST - 1, LAST], np.uint64), count)


@pytest.mark.parametrize("kind", ["spread", "clustered", "ends"])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_all_pairs_of_equal_hashes_are_found_with_and_without_an_index(kind: str, count: int) -> None:
    hashes = np.sort(hashes_of(kind, count))
    wanted = np.concatenate([hashes[::3], hashes_of(kind, 40), np.array([0, LAST, 5], np.uint64)])
    expected = [(row, position) for row, value in enumerate(wanted) for position in np.flatnonzero(hashes == value)]
    for index in (None, PrefixIndex(hashes)):
        rows, positions = find(wanted, hashes, index)
        assert list(zip(rows.tolist(), positions.tolist(), strict=True)) == expected
    if count:
        assert PrefixIndex(hashes).search(wanted, hashes).tolist() == np.searchsorted(hashes, wanted).tolist()


def test_labels_of_a_prediction_follow_each_other() -> None:
    nan = float("nan")
    rows = np.array([4, 4, 4, 7, 9])
    changes = follow(rows, np.array([1.0, 1.0, 0.0, 2.0, 3.0]), np.array([nan, nan, nan, 2.0, 5.0]))
    np.testing.assert_equal(changes.before_M, [nan, 1.0, 1.0, 2.0, 5.0])
    assert changes.is_first_M.tolist() == [True, False, False, False, False]
    assert changes.is_repeat_M.tolist() == [False, True, False, True, False]
    assert changes.before_at_M.tolist() == [-1, 0, 0, -1, -1]
    assert changes.after_at_M.tolist() == [0, 0, 2, -1, 4]
    assert changes.is_last_M.tolist() == [False, False, True, True, True]
