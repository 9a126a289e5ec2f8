"""The hand-written contestants do the whole work: the comparison counts a prediction for each event, or fails."""

from __future__ import annotations

import pytest

from benchmarks.compare import compete
from benchmarks.contestants.catalogue import FOREBAY_EXACTLY_ONCE, GROUPS

EVENTS = 2_000
# Those with transactions run the same code. The bench itself verifies their outputs.
TESTED = [c for c in GROUPS["python"] if c.processing_guarantee == "at_least_once" or c is FOREBAY_EXACTLY_ONCE]


@pytest.mark.embedded
@pytest.mark.long
async def test_each_contestant_drains_the_topic_and_predicts_each_event_once() -> None:
    _, runs = await compete(
        TESTED,
        rounds=1,
        events=EVENTS,
        partitions=2,
        idempotent=True,
        broker="embedded",
        bootstrap_server=None,
        begin=lambda _name, _total: lambda _done: None,
        builds={},
    )
    assert {name: [run.events for run in of_name] for name, of_name in runs.items()} == {
        contestant.name: [EVENTS // contestant.divisor] for contestant in TESTED
    }
