"""What the aggregator has counted, beside what a subscriber has: both count every outcome, by ways of their own."""

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
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Totals:
    """The aggregator's sums. kinds: failures, by kind; equal: whether the subscriber has counted the same."""

    predicted: int
    kinds: Mapping[str, int]
    equal: bool

    def line(self) -> str:
        """The sums in words."""
        return " + ".join(
            [f"{self.predicted:,} predicted", *(f"{count:,} {kind}" for kind, count in self.kinds.items())]
        )


def compare(aggregates: Iterable[Aggregate], ledger: Ledger) -> Totals:
    """Add up, and compare with the ledger's first outcomes."""
    sums: Counter[str] = Counter()
    for one in aggregates:
        sums[one.cell.kind] += one.count
    predicted = sums.pop(Outcome.PREDICTED.value, 0)
    equal = predicted == ledger.num(Outcome.PREDICTED) and sums == ledger.kinds
    return Totals(predicted, dict(sums.most_common()), equal)


async def wait_until_equal(settings: Settings, ledger: Ledger, *, clock: Clock, check: Callable[[], None]) -> Totals:
    """Read what the aggregator writes until it has counted what the ledger has; after TIMEOUT_S, whatever it has by then.

    `check` raises where it is in vain to wait. Raises BrokerError.
    """
    topic = topic_name(settings.topics.prefix, ERROR_AGGREGATES.name)
    view, follower = AggregateView(), TopicFollower(client_options(settings.kafka), [topic], clock=clock)
    deadline_s = clock.monotonic_s() + TIMEOUT_S
    try:
        await follower.start()
        while True:
            raise_if_cancelled()  # an interrupt
            async for _partition, records in follower.read_new():
                for record in records:
                    view.upsert(record.key, record.value)
            totals = compare(view, ledger)
            if totals.equal or clock.monotonic_s() > deadline_s:
                return totals
            check()
            await asyncio.sleep(LOOK_S)
    finally:
        await follower.stop()
