"""The hash never changes, shares are exact within chance, and a growing canary only takes keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.changes import promote, start_canary
from forebay.stream.rollouts.revision import SLOTS, Revision
from tests.rollouts.build import configured, proposal
from tests.rollouts.strategies import revisions, successors, weights

KEYS = [f"customer-{number}".encode() for number in range(100_000)]


def canary(current: Revision, version: int, weight: float, seed: int = 42) -> Revision:
    return start_canary(current, version, weight, steps=None, seed=seed, route_by=None, proposal=proposal())


def test_the_slots_of_known_keys_never_change() -> None:
    # Changing these values means that replays no longer find the version that predicted an event.
    known = [b"", b"a", b"customer-1", "Ærø".encode(), bytes(range(256))]
    found = {seed: Allocation.of(canary(configured(), 2, 1, seed)).slots(known).tolist() for seed in (0, 42, 2**53 - 1)}
    assert found == {
        0: [3138, 8719, 8956, 7443, 6113],
        42: [7650, 6900, 7887, 9948, 9306],
        2**53 - 1: [3416, 4703, 6402, 4253, 6529],
    }


def test_a_configured_version_predicts_all_keys() -> None:
    allocation = Allocation.of(configured(7))
    assert allocation.is_single and allocation.versions == (7,)
    assert allocation.versions_of([b"a", b"b"]).tolist() == [7, 7]


def test_no_keys_have_no_versions() -> None:
    allocation = Allocation.of(canary(configured(), 2, 50))
    assert allocation.versions_of([]).tolist() == []
    assert not allocation.is_single and allocation.versions == (1, 2)


@pytest.mark.parametrize("weight", [0.01, 1, 5, 25, 50, 99.99])
def test_the_share_of_100000_keys_is_within_its_binomial_bound(weight: float) -> None:
    versions = Allocation.of(canary(configured(), 2, weight)).versions_of(KEYS)
    share = weight / 100
    # 3.2905 standard deviations are the two-sided 99.9 % bound; the 1.5 covers the discreteness of the rarest share.
    bound = 3.2905 * math.sqrt(len(KEYS) * share * (1 - share)) + 1.5
    assert abs(np.count_nonzero(versions == 2) - share * len(KEYS)) <= bound


def test_another_seed_chooses_other_keys() -> None:
    first, second = (Allocation.of(canary(configured(), 2, 10, seed)).versions_of(KEYS[:10_000]) for seed in (1, 2))
    both = np.count_nonzero((first == 2) & (second == 2))
    assert 50 < both < 150  # 1 % of 10,000 if the choices are independent


@given(revisions(), st.integers(1, 5), weights, weights)
@settings(max_examples=30, deadline=None)
def test_growing_a_canary_only_moves_keys_into_it(base: Revision, version: int, one: float, other: float) -> None:
    base = promote(base, 9, proposal())
    free = 100 - sum(canary.weight for canary in base.canaries if canary.version != version)
    small, large = sorted((one, other))
    if large > free or base.steps is not None:
        return
    before = canary(base, version, small)
    after = canary(before, version, large)
    old, new = (Allocation.of(revision).versions_of(KEYS[:2000]) for revision in (before, after))
    moved = old != new
    assert set(old[moved].tolist()) <= {9} and set(new[moved].tolist()) <= {version}
    # Shrinking gives the same keys back, and only to the stable version.
    again = Allocation.of(canary(after, version, small)).versions_of(KEYS[:2000])
    assert np.array_equal(again, old)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_no_change_moves_a_key_between_two_canaries(data: st.DataObject) -> None:
    current = data.draw(revisions())
    following = data.draw(successors(current))
    if following.seed != current.seed:
        assert not current.canaries  # a new seed only starts with a first canary
        return
    old, new = (Allocation.of(revision).versions_of(KEYS[:1000]) for revision in (current, following))
    for before, after in set(zip(old.tolist(), new.tolist(), strict=True)):
        assert before == after or current.stable in (before, after) or following.stable == after


def test_a_weight_of_100_takes_all_slots() -> None:
    full = canary(configured(), 2, 100)
    assert full.canaries[0].slots == ((0, SLOTS),)
    assert Allocation.of(full).versions == (2,)
