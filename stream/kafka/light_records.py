"""Records as the client's compiled parser gives them, a record batch at a time, without the client's object around each.

That object repeats topic and partition, counts key and value and copies the headers, and a generator hands it over one by
one: together an eighth of the worker's processor time, for nothing that the pipeline reads. Which batches count (aborted
transactions, control batches) and the positions are the client's business as before: its reader of batches is kept, and
takes each whole batch for one record. It asks each batch whether its checksum is right, and here the answer is computed by
the processor's instruction (see `checksum.py`), over the bytes of the fetch answer.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer

from stream.kafka.checksum import crc32c

_LENGTH_AT, _AFTER_LENGTH, _FORMAT_AT, _CHECKSUM_AT, _CHECKED_FROM = 8, 12, 16, 17, 21
_FORMAT = 2


def hand_out_light_records(consumer: AIOKafkaConsumer) -> None:
    """Has `consumer`, already started, hand out the parsed records themselves: offset, timestamp, key, value, headers.

    For `getmany` only. Patches this consumer's fetches alone, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("hand_out_light_records wants a consumer that has been started")
    proc_fetch_request = fetcher._proc_fetch_request
    fetcher._client = client = _RememberingClient(fetcher._client)

    async def light(assignment: Any, node_id: int, request: Any) -> bool:
        with client.remembering(request) as log_of:
            brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        for partition, result in fetcher._records.items():
            partition_records = getattr(result, "_partition_records", None)  # an error has none
            if partition_records is None or isinstance(partition_records._records, _WholeBatches):
                continue
            log = log_of.get(tuple(partition))
            if log is not None:
                # Nothing of it was read yet: the generator that reads it begins with the first record asked for.
                partition_records._records = _WholeBatches(partition_records._records, log)
                # Weak: a cycle would keep fetched megabytes until the collector looks, which is seldom.
                partition_records._consumer_record = partial(_unread, weakref.proxy(partition_records))
                result.getall = _Taker(weakref.proxy(result)).take
        return brought_data

    fetcher._proc_fetch_request = light


class _Batch(NamedTuple):
    """All of a batch's records, to the client one record with the offset of the last."""

    offset: int
    records: list[Any]


class _RememberingClient:
    """The fetcher's client, which also tells the bytes that a fetch answer brought."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._logs: dict[int, dict[tuple[str, int], bytes]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @contextlib.contextmanager
    def remembering(self, request: Any) -> Iterator[dict[tuple[str, int], bytes]]:
        """Gives what the answer to this request brings of each partition, once it is there."""
        logs: dict[tuple[str, int], bytes] = {}
        self._logs[id(request)] = logs
        try:
            yield logs
        finally:
            del self._logs[id(request)]

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        answer = await self._client.send(node_id, request, **options)
        logs = self._logs.get(id(request))
        if logs is not None:
            for topic, partitions in answer.topics:
                for partition, *_, log in partitions:
                    logs[topic, partition] = log
        return answer


class _WholeBatches:
    """A partition's batches, each of which iterates as one `_Batch`. log: the bytes in which they lie one after the other."""

    def __init__(self, batches: Any, log: bytes) -> None:
        self._batches = batches
        self._log = log
        self._end = 0

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        begin, log = self._end, self._log
        content = begin + _AFTER_LENGTH
        self._end = content + int.from_bytes(log[begin + _LENGTH_AT : content], "big")
        batch = self._batches.next_batch()
        return batch if batch.is_control_batch else _WholeBatch(batch, log, begin, self._end)


class _WholeBatch:
    def __init__(self, batch: Any, log: bytes, begin: int, end: int) -> None:
        self._batch = batch
        self._log = log
        self._begin = begin
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        log, begin = self._log, self._begin
        if log[begin + _FORMAT_AT] != _FORMAT:
            return bool(self._batch.validate_crc())
        checked_from = begin + _CHECKED_FROM
        checksum = int.from_bytes(log[begin + _CHECKSUM_AT : checked_from], "big")
        return crc32c(log[checked_from : self._end]) == checksum

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
