"""Polls by class, over topics with given backlogs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.priority_poll import PriorityPoll
from tests.core.build import FakeRecord

TOPICS = frozenset({"alarms", "features", "backfill"})
PRIORITIES = Priorities(frozenset({"alarms"}), frozenset({"backfill"}))


class Backlogs:
    """A source with a number of records in each topic. polls: the topics and time limit of each poll."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts
        self.polls: list[tuple[frozenset[str] | None, float]] = []

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        self.polls.append((topics, timeout_s))
        records: dict[TopicPartition, Sequence[Record]] = {}
        for topic, count in self.counts.items():
            taken = min(count, max_records) if topics is None or topic in topics else 0
            if taken:
                records[TopicPartition(topic, 0)] = [FakeRecord(number, b"") for number in range(taken)]
                self.counts[topic] -= taken
                max_records -= taken
        return records


async def polled(poller: PriorityPoll, topics: frozenset[str] | None = None) -> dict[str, int]:
    records = await poller.poll(timeout_s=0.5, max_records=100, topics=topics)
    return {partition.topic: len(of_partition) for partition, of_partition in records.items()}


async def test_the_most_urgent_topic_with_records_is_polled() -> None:
    source = Backlogs(backfill=1000, features=30, alarms=5)
    poller = PriorityPoll(source, PRIORITIES, TOPICS)
    assert [await polled(poller) for _ in range(3)] == [{"alarms": 5}, {"features": 30}, {"backfill": 100}]
    source.counts["alarms"] = 1
    assert await polled(poller) == {"alarms": 1}


async def test_without_records_all_readable_topics_are_waited_for_once() -> None:
    source = Backlogs()
    poller = PriorityPoll(source, PRIORITIES, TOPICS)
    assert await polled(poller, frozenset({"alarms", "backfill"})) == {}
    assert source.polls == [
        (frozenset({"alarms"}), 0),
        (frozenset({"backfill"}), 0),
        (frozenset({"alarms", "backfill"}), 0.5),
    ]
    source.polls.clear()
    await polled(poller, frozenset({"backfill"}))
    assert source.polls == [(frozenset({"backfill"}), 0.5)], "a single class is not asked twice"


async def test_backlogs_of_all_classes_are_read_by_weight() -> None:
    poller = PriorityPoll(Backlogs(backfill=10**6, features=10**6, alarms=10**6), PRIORITIES, TOPICS)
    read: Counter[str] = Counter()
    for _ in range(210):
        read.update(await polled(poller))
    assert [round(21 * read[topic] / read.total()) for topic in ("alarms", "features", "backfill")] == [16, 4, 1]
