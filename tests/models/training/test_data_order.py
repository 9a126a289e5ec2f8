from __future__ import annotations

import numpy as np
import pytest

from forebay.models.training.data_order import DataOrder


@pytest.mark.parametrize("group_rows", [7, 16, 1000])
@pytest.mark.parametrize("num_rows", [1, 15, 16, 103])
def test_each_epoch_has_every_row_once(num_rows: int, group_rows: int) -> None:
    order = DataOrder(num_rows, batch_size=10, seed=3, group_rows=group_rows, block_rows=4)
    batches = list(order.batches(0))
    assert len(batches) == order.steps
    assert all(len(batch) == 10 for batch in batches[:-1])
    assert sorted(np.concatenate(batches).tolist()) == list(range(num_rows))


@pytest.mark.parametrize("group_rows", [16, 1000])
def test_an_epoch_can_be_entered_at_any_step(group_rows: int) -> None:
    order = DataOrder(103, batch_size=10, seed=3, group_rows=group_rows, block_rows=4)
    batches = [batch.tolist() for batch in order.batches(5)]
    for step in range(order.steps):
        assert [batch.tolist() for batch in order.batches(5, step)] == batches[step:]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        batch: list[int] = next(DataOrder(1000, batch_size=50, seed=seed).batches(epoch)).tolist()
        return batch

    assert first(0, 0) == first(0, 0)
    assert len({tuple(first(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_rows_of_a_large_file_are_read_in_groups_of_whole_blocks() -> None:
    order = DataOrder(100_000, batch_size=1000, seed=0, group_rows=10_000, block_rows=500)
    batches = list(order.batches(0))
    for start in range(0, 100, 10):
        group = np.concatenate(batches[start : start + 10])
        assert len(np.unique(group // 500)) == 20
        assert (np.diff(group) != 1).mean() > 0.99  # shuffled within the group
