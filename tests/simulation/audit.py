"""The observer of all committed outputs: it knows how many outcomes each record of the input has.

It sees what a reader of committed records sees. `check` may be called at any time, `check_all_decided` once nothing more is
to come.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from forebay.schemas import headers as names
from forebay.stream.core.records import TopicPartition
from tests.simulation.partition_log import LoggedRecord
from tests.simulation.world import SimulationError

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

PREDICTIONS, DEAD_LETTERS, DELTAS = "predictions", "dead-letters", "outcome-deltas"


class Violation(SimulationError):
    """Exactly once, the order per key, or the agreement of outputs and offsets was violated."""


def origin(topic: str, record: LoggedRecord) -> tuple[TopicPartition, int]:
    """Return the partition and offset of the event that an outcome is for."""
    if topic == PREDICTIONS:
        source = orjson.loads(record.value or b"")["source"]
        return TopicPartition(source["topic"], source["partition"]), source["offset"]
    fields = dict(record.headers)
    partition = int(fields[names.ERROR_PARTITION])
    return TopicPartition(fields[names.ERROR_TOPIC].decode(), partition), int(fields[names.ERROR_OFFSET])


class Audit:
    """Counts committed outcomes by record of the input."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.outcomes: dict[TopicPartition, Counter[int]] = defaultdict(Counter)
        self.committed: dict[TopicPartition, int] = {}
        self.num_deltas = 0
        self.num_outcomes = 0

    def on_outputs(self, partition: TopicPartition, records: Sequence[LoggedRecord]) -> None:
        """Count the records of a transaction that is committed in one output partition."""
        if partition.topic == DELTAS:
            self.num_deltas += sum(orjson.loads(record.value or b"")["count"] for record in records)
            return
        for record in records:
            source, offset = origin(partition.topic, record)
            self.outcomes[source][offset] += 1
            self.num_outcomes += 1
            if self.outcomes[source][offset] > 1:
                raise Violation(f"{source.topic}-{source.partition}@{offset} has a second outcome in {partition.topic}")

    def on_committed(self, partition: TopicPartition, before: int, after: int) -> None:
        """Follow a committed offset."""
        if after < before:
            raise Violation(
                f"{partition.topic}-{partition.partition}: the committed offset fell from {before} to {after}"
            )
        self.committed[partition] = after

    def check(self) -> None:
        """Check that outputs and offsets agree, unless the markers of a transaction are being written just now."""
        if self._cluster.transactions.is_ending_any:
            return
        for partition in self._cluster.inputs:
            end = self.committed.get(partition, 0)
            offsets = self._readable(partition)
            passed = bisect.bisect_left(offsets, end)
            outcomes = self.outcomes[partition]
            if len(outcomes) != passed or any(offset not in outcomes for offset in offsets[:passed]):
                without = [offset for offset in offsets[:passed] if offset not in outcomes]
                beyond = sorted(offset for offset in outcomes if offset >= end)
                raise Violation(
                    f"{partition.topic}-{partition.partition}: the committed offset is {end}, but records {without} before it "
                    f"have no outcome, and records {beyond} after it have one"
                )
        if self.num_deltas != self.num_outcomes:
            raise Violation(f"{self.num_outcomes} outcomes, but the outcome deltas count {self.num_deltas}")

    def num_undecided(self) -> int:
        """Return how many records of the input have no outcome yet."""
        return sum(len(self._readable(partition)) - len(self.outcomes[partition]) for partition in self._cluster.inputs)

    def check_order(self) -> None:
        """Check that the outcomes of each partition of the input are in offset order, in each output topic."""
        for topic in (PREDICTIONS, DEAD_LETTERS):
            for number in range(self._cluster.partitions[topic]):
                last: dict[TopicPartition, int] = defaultdict(lambda: -1)
                for record in self._cluster.logs[TopicPartition(topic, number)].committed():
                    source, offset = origin(topic, record)
                    if offset <= last[source]:
                        raise Violation(
                            f"{source.topic}-{source.partition}: in {topic}-{number} the outcome of {offset} comes after that "
                            f"of {last[source]}"
                        )
                    last[source] = offset

    def _readable(self, partition: TopicPartition) -> list[int]:
        return [record.offset for record in self._cluster.logs[partition].committed()]
