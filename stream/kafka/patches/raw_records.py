"""Raw records: records as columns, thousands at a time, without an object each.

The client makes an object for each record, then a `ConsumerRecord`, which repeats topic and partition, measures key and value
and copies the headers, and a generator yields them one by one. The pipeline reads columns. The client still decides which
batches to return (aborted transactions, control batches) and keeps the positions: its reader of batches remains, and each piece
of a batch looks like one record to it. It also asks each batch whether its checksum is valid. Here the checksum is
computed by the CPU's instruction (see `crc32c.py`) over the bytes of the fetch response.

Records that cannot be read are returned too (see `batch_pieces.py`). If that is not possible, reading stops with an error
that names the place.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException

from forebay.schemas.errors import BrokerError
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.kafka.patches.crc32c import crc32c
from forebay.stream.kafka.protocol.batch_pieces import ImplausibleBatch, Piece, pieces

_LENGTH_AT, _AFTER_LENGTH, _FORMAT_AT, _CHECKSUM_AT, _CHECKED_FROM = 8, 12, 16, 17, 21
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits of what is read.

    max_unpacked_bytes: the unpacked size of a compressed batch; a larger one is rejected unread.
    max_poll_bytes: the approximate size of the records of one poll.
    """

    max_unpacked_bytes: int = 64 << 20
    max_poll_bytes: int = 16 << 20


class PollBudget:
    """The number of bytes that a consumer may still return in this poll. Call `begin_poll` before each `getmany`.

    fetched_bytes: size of the last fetch response of each broker, by node id.
    """

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self.bytes_left = limits.max_poll_bytes
        self.fetched_bytes: dict[int, int] = {}

    def begin_poll(self) -> None:
        """Reset the budget for the next poll."""
        self.bytes_left = self.limits.max_poll_bytes


def use_raw_records(consumer: AIOKafkaConsumer, limits: ReadLimits) -> PollBudget:
    """Make a started consumer return sequences of records with offset, timestamp, key, value and headers (`RecordColumns`).

    For `getmany` only. Patches the fetcher of this consumer, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("use_raw_records needs a started consumer")
    proc_fetch_request = fetcher._proc_fetch_request
    fetcher._client = client = _RecordingClient(fetcher._client)
    budget = PollBudget(limits)

    async def fetch(assignment: Any, node_id: int, request: Any) -> bool:
        with client.recording(request) as logs:
            brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        budget.fetched_bytes[node_id] = sum(map(len, logs.values()))
        for partition, result in fetcher._records.items():
            partition_records = getattr(result, "_partition_records", None)  # a fetch error does not have it
            if partition_records is None or isinstance(partition_records._records, _WholeBatches):
                continue
            log = logs.get(tuple(partition))
            if log is not None:
                # Nothing has been read from it yet: the generator that reads it starts with the first record requested.
                # Weak references: a cycle would keep fetched megabytes until a garbage collection, which is rare.
                reader = weakref.proxy(partition_records)
                partition_records._records = _WholeBatches(partition_records._records, log, limits, reader)
                partition_records._consumer_record = partial(_unread, reader)
                result.getall = _Taker(weakref.proxy(result), budget).take
        return brought_data

    fetcher._proc_fetch_request = fetch
    return budget


class _RecordingClient:
    """The fetcher's client, which also records the bytes of fetch responses."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._logs: dict[int, dict[tuple[str, int], bytes]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @contextlib.contextmanager
    def recording(self, request: Any) -> Iterator[dict[tuple[str, int], bytes]]:
        """Yield a dict that will hold the bytes of each partition from the response to this request."""
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
    """The batches of a partition, which iterate as `Piece`s.

    log: the bytes of the batches, one after another.
    reader: the client's, which knows the offset to read from.
    """

    def __init__(self, batches: Any, log: bytes, limits: ReadLimits, reader: Any) -> None:
        self._batches = batches
        self._log = log
        self._limits = limits
        self._reader = reader
        self._end = 0

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        begin, log = self._end, self._log
        content = begin + _AFTER_LENGTH
        self._end = content + int.from_bytes(log[begin + _LENGTH_AT : content], "big")
        batch = self._batches.next_batch()
        if batch.is_control_batch:
            return batch
        raw = memoryview(log)[begin : self._end]
        return _WholeBatch(batch, raw, self._limits.max_unpacked_bytes, self._reader.next_fetch_offset)


class _WholeBatch:
    """A batch that iterates as `Piece`s and verifies its checksum by the CPU's instruction."""

    def __init__(self, batch: Any, raw: memoryview, max_unpacked_bytes: int, position: int) -> None:
        self._batch = batch
        self._raw = raw
        self._max_unpacked_bytes = max_unpacked_bytes
        self._position = position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        raw = self._raw
        if raw[_FORMAT_AT] != _FORMAT:
            return bool(self._batch.validate_crc())
        checksum = int.from_bytes(raw[_CHECKSUM_AT:_CHECKED_FROM], "big")
        return crc32c(bytes(raw[_CHECKED_FROM:])) == checksum

    def __iter__(self) -> Iterator[Piece]:
        return pieces(self._batch, self._raw, self._max_unpacked_bytes, position=self._position)


def _unread(partition_records: Any, _partition: Any, piece: Piece) -> Piece:
    """Return the records of a piece from the position, which may be within it."""
    return piece.from_offset(partition_records.next_fetch_offset)


class _Taker:
    """Returns the records of a fetched partition, in place of the client's `FetchResult.getall`."""

    def __init__(self, result: Any, budget: PollBudget) -> None:
        self._result = result
        self._budget = budget
        self._pending: Any = ()
        self._error: BrokerError | None = None

    def take(self, max_records: int) -> Sequence[Any]:
        """Return at most `max_records` next records; none if the position has changed meanwhile or the partition is paused.

        Raises BrokerError where reading cannot continue, after all records before that place were returned.
        """
        result = self._result
        if not result.check_assignment(result._topic_partition) or not result.has_more():
            return []
        if self._error is not None:
            raise self._error
        taken = self._take(max_records)
        if not taken and self._error is not None:
            raise self._error
        return taken

    def _take(self, max_records: int) -> Sequence[Any]:
        result = self._result
        partition_records = result._partition_records
        taken: list[Sequence[Any]] = []
        count_left = max_records
        while count_left:
            if not self._pending:
                if self._budget.bytes_left <= 0:
                    break
                piece = self._next_piece(partition_records)
                if piece is None:
                    if self._error is not None:
                        break
                    result._update_position()  # past what was skipped at the end
                    result._partition_records = None
                    return _joined(taken)
                self._pending = piece.records
                self._budget.bytes_left -= piece.num_bytes
            part = self._pending[:count_left]
            count_left -= len(part)
            self._pending = self._pending[len(part) :]
            taken.append(part)
        if taken:
            partition_records.next_fetch_offset = taken[-1][-1].offset + 1
            result._update_position()
        return _joined(taken)

    def _next_piece(self, partition_records: Any) -> Piece | None:
        try:
            piece: Piece | None = next(partition_records, None)
        except Exception as error:
            self._error = _corrupt_log(self._result._topic_partition, partition_records.next_fetch_offset, error)
            self._error.__cause__ = error
            return None
        return piece


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return the records of several pieces: as columns, unless one has records that are not plain."""
    columns = [part for part in parts if isinstance(part, RecordColumns)]
    if columns and len(columns) == len(parts):
        return RecordColumns.joined(columns)
    return [record for part in parts for record in part]


def _corrupt_log(partition: Any, offset: int, error: Exception) -> BrokerError:
    place = f"{partition.topic}-{partition.partition}@{offset}"
    if isinstance(error, CorruptRecordException):
        what = "the record batch does not match its checksum"
    elif isinstance(error, ImplausibleBatch):
        what = f"the record batch cannot be read: {error}"
    else:
        what = f"the record batch cannot be read: {error or type(error).__name__}"
    return BrokerError(
        f"{place}: {what}",
        kind="corrupt_batch",
        remedy="restart: bytes may have changed in transit. If it stops at the same place, check that partition's replicas on "
        "the brokers' disks (kafka-dump-log); to continue without these records, stop the group and set its offset past "
        "them (kafka-consumer-groups --reset-offsets --to-offset)",
    )
