"""Polls the topics of one class at a time, the most urgent first, with a minimum share for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from forebay.stream.core.priority import FairSchedule, Priority
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.pipeline.priorities import Priorities


class Poller(Protocol):
    """What polls records: a source, or a `PriorityPoll` of one."""

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]: ...


class PriorityPoll:
    """Polls a source for a pipeline with priorities of topics. topics: all input topics."""

    def __init__(self, source: Poller, priorities: Priorities, topics: frozenset[str]) -> None:
        self._source = source
        self._priorities = priorities
        self._topics = topics
        self._schedule = FairSchedule()

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the next records of the class whose turn it is, or else of the next one that has some.

        The classes are asked in turn without waiting; if none has records, this waits for all. Raises like the source.
        """
        readable = self._topics if topics is None else topics
        by_class = {priority: self._priorities.among(readable, priority) for priority in Priority}
        present = [priority for priority, of_class in by_class.items() if of_class]
        for priority in self._schedule.order(present) if len(present) > 1 else ():
            records = await self._source.poll(timeout_s=0, max_records=max_records, topics=by_class[priority])
            if records:
                self._schedule.charge(priority, sum(map(len, records.values())))
                return records
        return await self._source.poll(timeout_s=timeout_s, max_records=max_records, topics=topics)
