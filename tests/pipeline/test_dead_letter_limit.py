"""When dead letters are too many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.schemas.failures import FailureKind
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from tests.core.build import JULY, MODEL, P0


def ledger(predicted: int, letters: int) -> Ledger:
    outcomes = Ledger()
    outcomes.of(MODEL).add_predictions(P0, np.array([JULY] * predicted))
    for _ in range(letters):
        outcomes.of(MODEL).add_failure(P0, FailureKind.NOT_JSON, JULY, event_id=None, message="no")
    return outcomes


def commit(limit: DeadLetterLimit, predicted: int, letters: int) -> None:
    limit.check(ledger(predicted, letters))
    limit.on_committed(ledger(predicted, letters))


def test_dead_letters_in_a_row_are_limited() -> None:
    limit = DeadLetterLimit(DeadLetterLimits(1.0, 10, 20))
    for _ in range(10):
        commit(limit, 0, 10)
        commit(limit, 0, 10)
        commit(limit, 1, 5)
    commit(limit, 0, 20)
    with pytest.raises(
        DataError, match=r"21 dead letters in a row.*most common in this commit: not_json \(1\)"
    ) as raised:
        commit(limit, 0, 1)
    assert raised.value.kind == "dead_letter_limit" and "forebay dlq" in str(raised.value.remedy)


def test_the_share_of_dead_letters_is_limited() -> None:
    limit = DeadLetterLimit(DeadLetterLimits(0.5, 100, None))
    commit(limit, 0, 40)  # too few to judge
    commit(limit, 60, 0)
    for _ in range(5):
        commit(limit, 50, 50)
    with pytest.raises(DataError, match=r"60\.0% of the last 200 events are dead letters"):
        commit(limit, 30, 70)


def test_uncommitted_outcomes_do_not_count() -> None:
    limit = DeadLetterLimit(DeadLetterLimits(1.0, 10, 20))
    for _ in range(100):
        limit.check(ledger(0, 20))  # tried again and again


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.integers(1, 200))
def test_the_share_is_of_the_last_events_and_few_more(commits: list[tuple[int, int]], window_events: int) -> None:
    limit = DeadLetterLimit(DeadLetterLimits(1.0, window_events, None))
    sizes: list[int] = []
    for predicted, letters in commits:
        commit(limit, predicted, letters)
        sizes.append(predicted + letters)
        num_events = limit._num_events
        assert num_events == sum(size for size, _ in limit._last)
        assert num_events >= min(window_events, sum(sizes)) or num_events == sum(sizes)
        assert num_events - limit._last[0][0] < window_events


def test_an_unreadable_batch_counts_as_one_dead_letter() -> None:
    limit = DeadLetterLimit(DeadLetterLimits(0.5, 10, 3))
    outcomes = ledger(0, 0)
    outcomes.of(MODEL).add_failure(P0, FailureKind.BATCH_TOO_LARGE, JULY, event_id=None, message="no", count=1_000_000)
    for _ in range(3):
        limit.check(outcomes)
        limit.on_committed(outcomes)
    with pytest.raises(DataError, match="4 dead letters in a row"):
        limit.check(outcomes)


@pytest.mark.parametrize("counts_denied", [True, False])
def test_denied_events_stop_the_worker_only_if_they_count(counts_denied: bool) -> None:
    limit = DeadLetterLimit(DeadLetterLimits(0.5, 10, 20, counts_denied=counts_denied))
    outcomes = ledger(10, 2)
    for _ in range(100):
        outcomes.of(MODEL).add_failure(P0, FailureKind.DENIED, JULY, event_id=None, message="no")
    if counts_denied:
        with pytest.raises(DataError, match="denied"):
            limit.check(outcomes)
    else:
        limit.check(outcomes)
        limit.on_committed(outcomes)
        # They do not hide other dead letters either.
        with pytest.raises(DataError, match=r"54.5% of the last 22 events"):
            limit.check(ledger(0, 10))
