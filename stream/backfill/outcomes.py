"""What became of all events of a back-fill, from its outcome deltas: exact over all of its processes and restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.schemas.failures import Outcome
from forebay.stream.aggregate.delta import parse_delta
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.pipeline.totals import Totals


@dataclass(slots=True)
class Outcomes:
    """Counts of outcomes. kinds: of failures, by kind."""

    totals: Totals = field(default_factory=Totals)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, value: bytes | None) -> None:
        """Add a record of the topic. Records that are not deltas are ignored."""
        delta = parse_delta(value)
        if delta is None:
            return
        self.totals.outcomes[Outcome(delta.cell.outcome)] += delta.count
        if delta.cell.failed:
            self.kinds[delta.cell.kind] += delta.count

    @property
    def num_events(self) -> int:
        """The number of events, whatever their outcome."""
        return sum(count for outcome, count in self.totals.outcomes.items() if not outcome.of_window)

    @property
    def num_predictions(self) -> int:
        """The number of predictions, of events and of windows."""
        return self.totals.outcomes[Outcome.PREDICTED] + self.totals.outcomes[Outcome.WINDOW_PREDICTED]


async def read_outcomes(options: Mapping[str, object], topic: str, *, clock: Clock) -> Outcomes:
    """Add up the topic of outcome deltas of a back-fill. options: for the Kafka client. Raises BrokerError."""
    outcomes = Outcomes()
    async with TopicReader(options, [topic], from_beginning=True, clock=clock, bounded=True) as reader:
        await reader.wait_until_stable()
        async for _partition, records in reader.within(await reader.offset_ranges()):
            for record in records:
                outcomes.add(record.value)
    return outcomes
