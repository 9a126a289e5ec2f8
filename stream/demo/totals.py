"""Comparison of the aggregator's counts with the subscriber's. Both count every outcome, independently of each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from forebay.schemas.failures import Outcome
from forebay.schemas.topics import ERROR_AGGREGATES, topic_name
from forebay.stream.aggregate.aggregate_reader import Aggregate, AggregateView
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.clock import Clock
from forebay.stream.demo.ledger import Ledger
from forebay.stream.kafka.client import client_options

TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Totals:
    """The aggregator's counts.

    predicted: number of predictions.
    kinds: number of failures by kind.
    equal: whether the subscriber has the same counts.
    """

    predicted: int
    kinds: Mapping[str, int]
    equal: bool

    def line(self) -> str:
        """Return the counts as text."""
        return " + ".join(
            [f"{self.predicted:,} predicted", *(f"{count:,} {kind}" for kind, count in self.kinds.items())]
        )


def compare(aggregates: Iterable[Aggregate], ledger: Ledger) -> Totals:
    """Add up the aggregates and compare the sums with the ledger's first outcomes."""
    sums: Counter[str] = Counter()
    for aggregate in aggregates:
        sums[aggregate.cell.kind] += aggregate.count
    predicted = sums.pop(Outcome.PREDICTED.value, 0)
    equal = predicted == ledger.num_with(Outcome.PREDICTED) and sums == ledger.kinds
    return Totals(predicted, dict(sums.most_common()), equal)


async def wait_until_equal(settings: Settings, ledger: Ledger, *, clock: Clock, check: Callable[[], None]) -> Totals:
    """Read error-aggregates until the counts equal the ledger's, or for TIMEOUT_S. Return the last totals.

    check: raises an error if waiting is pointless, such as after the worker has ended.

    Raises BrokerError.
    """
    topic = topic_name(settings.topics.prefix, ERROR_AGGREGATES.name)
    view, follower = AggregateView(), TopicFollower(client_options(settings.kafka), [topic], clock=clock)
    deadline_s = clock.monotonic_s() + TIMEOUT_S
    try:
        await follower.start()
        while True:
            raise_if_cancelled()  # after an interrupt
            async for _partition, records in follower.read_new():
                for record in records:
                    view.upsert(record.key, record.value)
            totals = compare(view, ledger)
            if totals.equal or clock.monotonic_s() > deadline_s:
                return totals
            check()
            await asyncio.sleep(POLL_S)
    finally:
        await follower.stop()
