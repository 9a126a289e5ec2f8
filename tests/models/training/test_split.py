from __future__ import annotations

import numpy as np
import pytest

from forebay.models.training.recipe_sections import SplitSection
from forebay.models.training.split import Split, split_rows
from forebay.schemas.errors import DataError

RANDOM = np.random.default_rng(0)
KEYS = RANDOM.integers(0, 2**63, 300).astype(np.uint64)[RANDOM.integers(0, 300, 5000)]
TIMES = RANDOM.integers(0, 1000, 5000)


def check_is_a_partition(split: Split, num_rows: int) -> None:
    rows = np.concatenate(list(split.parts().values()))
    assert sorted(rows.tolist()) == list(range(num_rows))


def test_a_random_split_has_the_wanted_sizes_and_follows_the_seed() -> None:
    section = SplitSection(validation=0.2, test=0.1)
    split = split_rows(section, 1001)
    check_is_a_partition(split, 1001)
    assert [len(rows) for rows in split.parts().values()] == [701, 200, 100]
    again = split_rows(section, 1001)
    assert again.test.tolist() == split.test.tolist()
    other = split_rows(section.model_copy(update={"seed": 1}), 1001)
    assert other.test.tolist() != split.test.tolist()


def test_no_key_is_in_two_parts_and_new_rows_move_none() -> None:
    section = SplitSection(by="key", validation=0.2, test=0.2)
    split = split_rows(section, 5000, keys_N=KEYS)
    check_is_a_partition(split, 5000)
    sets = [set(KEYS[rows].tolist()) for rows in split.parts().values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert 0.1 < len(split.validation) / 5000 < 0.3
    fewer = split_rows(section, 2000, keys_N=KEYS[:2000])
    assert fewer.training.tolist() == [row for row in split.training.tolist() if row < 2000]


def test_a_row_with_an_id_stays_in_its_part() -> None:
    ids = RANDOM.integers(0, 2**63, 3000).astype(np.uint64)
    split = split_rows(SplitSection(), 3000, ids_N=ids)
    reversed_ = split_rows(SplitSection(), 3000, ids_N=ids[::-1])
    assert set(ids[split.test].tolist()) == set(ids[::-1][reversed_.test].tolist())
    assert 0.1 < len(split.test) / 3000 < 0.2


def test_by_time_every_test_row_is_newer_than_every_training_row() -> None:
    split = split_rows(SplitSection(by="time", validation=0.2, test=0.1), 5000, times_N=TIMES)
    check_is_a_partition(split, 5000)
    assert TIMES[split.training].max() < TIMES[split.validation].min()
    assert TIMES[split.validation].max() < TIMES[split.test].min()
    assert abs(len(split.test) - 500) < 20


@pytest.mark.parametrize(
    ("section", "times"), [(SplitSection(by="time"), np.zeros(100)), (SplitSection(by="time"), np.arange(2))]
)
def test_a_part_without_rows_is_refused(section: SplitSection, times: np.ndarray) -> None:
    with pytest.raises(DataError, match="leaves no"):
        split_rows(section, len(times), times_N=times.astype(np.int64))


def test_the_test_part_may_be_empty_if_it_is_not_wanted() -> None:
    assert len(split_rows(SplitSection(test=0.0), 50).test) == 0
