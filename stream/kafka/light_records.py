"""Records as the client's compiled parser gives them, a record batch at a time, without the client's object around each.

That object repeats topic and partition, counts key and value and copies the headers, and a generator hands it over one by
one: together an eighth of the worker's processor time, for nothing that the pipeline reads. Which batches count (aborted
transactions, control batches, checksums) and the positions are the client's business as before: its reader of batches is
kept, and takes each whole batch for one record.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer


def hand_out_light_records(consumer: AIOKafkaConsumer) -> None:
    """Has `consumer`, already started, hand out the parsed records themselves: offset, timestamp, key, value, headers.

    For `getmany` only. Patches this consumer's fetches alone, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("hand_out_light_records wants a consumer that has been started")
    proc_fetch_request = fetcher._proc_fetch_request

    async def light(assignment: Any, node_id: int, request: Any) -> bool:
        brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        for result in fetcher._records.values():
            partition_records = getattr(result, "_partition_records", None)  # an error has none
            if partition_records is not None and not isinstance(partition_records._records, _WholeBatches):
                # Nothing of it was read yet: the generator that reads it begins with the first record asked for.
                partition_records._records = _WholeBatches(partition_records._records)
                # Weak: a cycle would keep fetched megabytes until the collector looks, which is seldom.
                partition_records._consumer_record = partial(_unread, weakref.proxy(partition_records))
                result.getall = _Taker(weakref.proxy(result)).take
        return brought_data

    fetcher._proc_fetch_request = light


class _Batch(NamedTuple):
    """All of a batch's records, to the client one record with the offset of the last."""

    offset: int
    records: list[Any]


class _WholeBatches:
    """A partition's batches, each of which iterates as one `_Batch`."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        return batch if batch.is_control_batch else _WholeBatch(batch)


class _WholeBatch:
    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[_Batch]:
        records = list(self._batch)
        if records:
            yield _Batch(records[-1].offset, records)


def _unread(partition_records: Any, _partition: Any, batch: _Batch) -> list[Any]:
    """The batch's records from the position on, which may lie within it."""
    position = partition_records.next_fetch_offset
    if batch.records[0].offset >= position:
        return batch.records
    return [record for record in batch.records if record.offset >= position]


class _Taker:
    """Hands out a fetched partition's records, in the place of the client's `FetchResult.getall`."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._waiting: list[Any] = []

    def take(self, max_records: int) -> list[Any]:
        """At most so many of the next records; none when the position was moved meanwhile, or the partition paused."""
        result = self._result
        if not result.check_assignment(result._topic_partition) or not result.has_more():
            return []
        partition_records = result._partition_records
        taken: list[Any] = []
        while len(taken) < max_records:
            if not self._waiting:
                batch = next(partition_records, None)
                if batch is None:
                    result._update_position()  # beyond what was skipped at the end
                    result._partition_records = None
                    return taken
                self._waiting = batch
            room = max_records - len(taken)
            taken += self._waiting[:room]
            self._waiting = self._waiting[room:]
        partition_records.next_fetch_offset = taken[-1].offset + 1
        result._update_position()
        return taken
