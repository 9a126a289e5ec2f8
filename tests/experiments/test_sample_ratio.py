"""Shares of keys and of labels, with the key as unit."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.sample_ratio import check_matched_share, check_sample_ratio
from forebay.stream.quality.keys import Task
from tests.experiments.streams import Population, Streams
from tests.experiments.watching import add

STREAMS = Streams(Population(num_keys=50_000), share=0.05)


def arms(seed: int, count: int = 60_000, *, labels: tuple[float, float] = (0.0, 0.0)) -> tuple[BlockSums, BlockSums]:
    """Return the sums of a stable version and a canary. labels: shares of their predictions that have a label."""
    generator = np.random.default_rng(seed)
    events = STREAMS.draw(generator, count)
    found = BlockSums(Task.BINARY), BlockSums(Task.BINARY)
    for sums, chosen, share in zip(found, (~events.is_canary_B, events.is_canary_B), labels, strict=True):
        sums.add_predictions(events.blocks_B[chosen])
        labelled = generator.random(int(chosen.sum())) < share
        other = BlockSums(Task.BINARY)
        add(other, events.blocks_B[chosen][labelled], events.losses_B[chosen][labelled])
        other.n_predictions[:] = 0
        sums.merge(other)
    return found


def test_the_right_shares_do_not_alarm_though_few_keys_have_most_events() -> None:
    shares = []
    for seed in range(30):
        stable, canary = arms(seed, 20_000)
        check = check_sample_ratio(stable, canary, 0.05)
        assert check.is_known and not check.is_wrong
        shares.append(canary.n_predictions.sum() / 20_000)
    # A chi-square test of the events would have alarmed: by 5 % of 20,000 events, two standard deviations are 0.3 %.
    assert np.std(shares) > 0.01


@pytest.mark.parametrize("expected", [0.03, 0.07])
def test_a_wrong_share_alarms(expected: float) -> None:
    stable, canary = arms(1)
    check = check_sample_ratio(stable, canary, expected)
    assert check.is_wrong
    assert check.interval.low < 0.05 < check.interval.high
    assert check.to_dict()["wrong"] is True


def test_few_blocks_say_nothing() -> None:
    stable, canary = arms(1, 300)
    assert not check_sample_ratio(stable, canary, 0.01).is_known
    assert check_sample_ratio(stable, canary, 0.01).to_dict()["low"] is None
    assert not check_matched_share(*arms(1, 300, labels=(0.9, 0.2))).is_known


def test_labels_of_other_shares_alarm() -> None:
    assert not check_matched_share(*arms(2, labels=(0.7, 0.7))).is_wrong
    check = check_matched_share(*arms(2, labels=(0.7, 0.5)))
    assert check.is_wrong
    assert check.expected == pytest.approx(0.7, abs=0.02)
    assert check.found == pytest.approx(0.5, abs=0.05)
