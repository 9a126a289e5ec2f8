"""A topic's log as written, batch by batch, including the aborted records, which readers never see."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

_MAX_BYTES = 4 << 20
_READ_UNCOMMITTED = 0


@dataclass(slots=True)
class LogCounts:
    """Records by how their transaction ended, and the aborted transactions that had records in the log.

    aborted: (producer id, epoch) of each. A worker has a fresh epoch after every abort, so that these are transactions.
    abort_markers: by partition, including those of transactions that had begun there without writing records.
    """

    committed_records: int = 0
    aborted_records: int = 0
    open_records: int = 0
    aborted: set[tuple[int, int]] = field(default_factory=set)
    abort_markers: Counter[int] = field(default_factory=Counter)


async def scan(bootstrap: str, topic: str, partitions: int) -> LogCounts:
    """Count all records of a topic that are replicated by now."""
    counts = LogCounts()
    async with raw_client(bootstrap) as client:
        for number in range(partitions):
            await _scan_partition(client, TopicPartition(topic, number), counts)
    return counts


@asynccontextmanager
async def raw_client(bootstrap: str) -> AsyncIterator[AIOKafkaClient]:
    """Yield a connected client that sends single requests."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


async def _scan_partition(client: AIOKafkaClient, place: TopicPartition, counts: LogCounts) -> None:
    await client._wait_on_metadata(place.topic)
    leader = client.cluster.leader_for_partition(place)
    offset, end = 0, 1
    open_batches: dict[int, list[Any]] = defaultdict(list)
    while offset < end:
        where = [(place.topic, [(place.partition, offset, _MAX_BYTES)])]
        response = await client.send(leader, FetchRequest(100, 1, _MAX_BYTES, _READ_UNCOMMITTED, where))
        ((_topic, ((_number, error_code, end, *_, data),)),) = response.topics
        if error_code:
            raise for_code(error_code)(place)
        batches = MemoryRecords(data)
        while batches.has_next():
            batch = batches.next_batch()
            if batch.next_offset > offset:  # the first fetched batch may begin earlier
                _count(batch, place.partition, open_batches, counts)
                offset = batch.next_offset
    counts.open_records += sum(map(_num_records, (batch for part in open_batches.values() for batch in part)))


def _count(batch: Any, partition: int, open_batches: dict[int, list[Any]], counts: LogCounts) -> None:
    if not batch.is_transactional:
        counts.committed_records += _num_records(batch)
    elif not batch.is_control_batch:
        open_batches[batch.producer_id].append(batch)
    else:
        ended = open_batches.pop(batch.producer_id, [])
        if ControlRecord.parse(next(iter(batch)).key) != ABORT_MARKER:
            counts.committed_records += sum(map(_num_records, ended))
            return
        counts.aborted_records += sum(map(_num_records, ended))
        counts.aborted |= {(one.producer_id, one.producer_epoch) for one in ended}
        counts.abort_markers[partition] += 1


def _num_records(batch: Any) -> int:
    return int(batch.last_offset_delta) + 1
