"""Split the rows into those for training, validation and test.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.training.recipe_sections import SplitSection
from forebay.schemas.errors import DataError

Rows = npt.NDArray[np.int64]
PARTS: Final = ("training", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The row numbers of each part, ascending. A row is in one part; the test part may be empty."""

    training: Rows
    validation: Rows
    test: Rows

    def parts(self) -> dict[str, Rows]:
        """Return the parts by name."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def split_rows(
    section: SplitSection,
    num_rows: int,
    *,
    keys_N: npt.NDArray[np.uint64] | None = None,
    ids_N: npt.NDArray[np.uint64] | None = None,
    times_N: npt.NDArray[np.int64] | None = None,
) -> Split:
    """Return the split.

    By key, all rows of a key are in one part, and by id (for "random", if there are ids), a row is: the part depends only on
    the digest and the seed, so that it stays the same when rows are added. By time, the newest rows are the test rows and
    those before them the validation rows; rows of the same time are in one part.

    Raises DataError if the training or validation part is empty, or a wanted test part is.
    """
    match section.by:
        case "time":
            assert times_N is not None
            part_N = _by_time(section, times_N)
        case "key":
            assert keys_N is not None
            part_N = _by_share(section, _hashed_shares(keys_N, section.seed))
        case "random" if ids_N is not None:
            part_N = _by_share(section, _hashed_shares(ids_N, section.seed))
        case _:
            part_N = _at_random(section, num_rows)
    split = Split(*(np.flatnonzero(part_N == number) for number in range(len(PARTS))))
    for name, rows in split.parts().items():
        if not len(rows) and not (name == "test" and section.test == 0):
            raise DataError(
                f"the split by {section.by} leaves no {name} row of {num_rows:,}",
                kind="split",
                remedy="give more rows, or other shares in [split]"
                + ("; a split by time needs rows of different times" if section.by == "time" else ""),
            )
    return split


def _at_random(section: SplitSection, num_rows: int) -> npt.NDArray[np.uint8]:
    num_test, num_validation = round(section.test * num_rows), round(section.validation * num_rows)
    if section.test:
        num_test = max(1, num_test)
    num_validation = max(1, num_validation)
    part_N: npt.NDArray[np.uint8] = np.zeros(num_rows, dtype=np.uint8)
    part_N[:num_test] = 2
    part_N[num_test : num_test + num_validation] = 1
    np.random.default_rng((section.seed, 1)).shuffle(part_N)
    return part_N


def _by_share(section: SplitSection, share_N: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    is_test_N = share_N < section.test
    is_validation_N = ~is_test_N & (share_N < section.test + section.validation)
    part_N: npt.NDArray[np.uint8] = np.where(is_test_N, 2, is_validation_N).astype(np.uint8)
    return part_N


def _hashed_shares(digest_N: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.float64]:
    """Return a number from 0 to below 1 for each digest, mixed with the seed (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        z_N = digest_N + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        z_N = (z_N ^ (z_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z_N = (z_N ^ (z_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z_N = z_N ^ (z_N >> np.uint64(31))
    shares: npt.NDArray[np.float64] = (z_N >> np.uint64(11)).astype(np.float64) / 2**53
    return shares


def _by_time(section: SplitSection, times_N: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    ordered_N = np.sort(times_N)
    num_rows = len(ordered_N)
    first_validation = ordered_N[min(num_rows - 1, round((1 - section.test - section.validation) * num_rows))]
    part_N: npt.NDArray[np.uint8] = (times_N >= first_validation).astype(np.uint8)
    if section.test:
        first_test = ordered_N[min(num_rows - 1, round((1 - section.test) * num_rows))]
        part_N += times_N >= first_test
    return part_N
