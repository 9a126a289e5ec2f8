"""Records as the client's compiled parser gives them, some thousands at a time, without the client's object around each.

That object repeats topic and partition, counts key and value and copies the headers, and a generator hands it over one by
one: together an eighth of the worker's processor time, for nothing that the pipeline reads. Which batches count (aborted
transactions, control batches) and the positions are the client's business as before: its reader of batches is kept, and
takes each piece of a batch for one record. It asks each batch whether its checksum is right, and here the answer is computed by
the processor's instruction (see `checksum.py`), over the bytes of the fetch answer.

What the parser raises on is handed out too (see `batch_pieces.py`). Where that cannot be, reading stops with the place.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException

from forebay.schemas.errors import BrokerError
from forebay.stream.kafka.patches.crc32c import crc32c
from forebay.stream.kafka.protocol.batch_pieces import ImplausibleBatch, Piece, pieces

_LENGTH_AT, _AFTER_LENGTH, _FORMAT_AT, _CHECKSUM_AT, _CHECKED_FROM = 8, 12, 16, 17, 21
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """max_unpacked_bytes: of one compressed batch, a larger one is rejected unread; max_poll_bytes: about how much one poll
    hands out."""

    max_unpacked_bytes: int = 64 << 20
    max_poll_bytes: int = 16 << 20


class PollBudget:
    """How many bytes a consumer may still hand out in this poll. Call `begin_poll` before each `getmany`."""

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self.bytes_left = limits.max_poll_bytes

    def begin_poll(self) -> None:
        """Allow the next poll its bytes."""
        self.bytes_left = self.limits.max_poll_bytes


def use_raw_records(consumer: AIOKafkaConsumer, limits: ReadLimits) -> PollBudget:
    """Have `consumer`, already started, hand out the parsed records themselves: offset, timestamp, key, value, headers.

    For `getmany` only. Patches this consumer's fetches alone, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("use_raw_records needs a started consumer")
    proc_fetch_request = fetcher._proc_fetch_request
    fetcher._client = client = _RememberingClient(fetcher._client)
    budget = PollBudget(limits)

    async def fetch(assignment: Any, node_id: int, request: Any) -> bool:
        with client.remembering(request) as log_of:
            brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        for partition, result in fetcher._records.items():
            partition_records = getattr(result, "_partition_records", None)  # an error has none
            if partition_records is None or isinstance(partition_records._records, _WholeBatches):
                continue
            log = log_of.get(tuple(partition))
            if log is not None:
                # Nothing of it was read yet: the generator that reads it begins with the first record asked for.
                # Weak: a cycle would keep fetched megabytes until the collector looks, which is seldom.
                reader = weakref.proxy(partition_records)
                partition_records._records = _WholeBatches(partition_records._records, log, limits, reader)
                partition_records._consumer_record = partial(_unread, reader)
                result.getall = _Taker(weakref.proxy(result), budget).take
        return brought_data

    fetcher._proc_fetch_request = fetch
    return budget


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
    """A partition's batches, each of which iterates as `Piece`s.

    log: the bytes in which they lie one after the other; reader: the client's, which knows the offset to read from.
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
    """The piece's records from the position on, which may lie within it."""
    return piece.from_offset(partition_records.next_fetch_offset)


class _Taker:
    """Hands out a fetched partition's records, in the place of the client's `FetchResult.getall`."""

    def __init__(self, result: Any, budget: PollBudget) -> None:
        self._result = result
        self._budget = budget
        self._waiting: Any = ()
        self._stopped_by: BrokerError | None = None

    def take(self, max_records: int) -> list[Any]:
        """At most `max_records` of the next records; none when the position was moved meanwhile, or the partition paused.

        Raises BrokerError where reading cannot go on, after all that lies before that place was handed out.
        """
        result = self._result
        if not result.check_assignment(result._topic_partition) or not result.has_more():
            return []
        if self._stopped_by is not None:
            raise self._stopped_by
        taken = self._take(max_records)
        if not taken and self._stopped_by is not None:
            raise self._stopped_by
        return taken

    def _take(self, max_records: int) -> list[Any]:
        result = self._result
        partition_records = result._partition_records
        taken: list[Any] = []
        while len(taken) < max_records:
            if not self._waiting:
                if self._budget.bytes_left <= 0:
                    break
                piece = self._next_piece(partition_records)
                if piece is None:
                    if self._stopped_by is not None:
                        break
                    result._update_position()  # beyond what was skipped at the end
                    result._partition_records = None
                    return taken
                self._waiting = piece.records
                self._budget.bytes_left -= piece.num_bytes
            room = max_records - len(taken)
            taken += self._waiting[:room]
            self._waiting = self._waiting[room:]
        if taken:
            partition_records.next_fetch_offset = taken[-1].offset + 1
            result._update_position()
        return taken

    def _next_piece(self, partition_records: Any) -> Piece | None:
        try:
            piece: Piece | None = next(partition_records, None)
        except Exception as error:
            self._stopped_by = _broken_log(self._result._topic_partition, partition_records.next_fetch_offset, error)
            self._stopped_by.__cause__ = error
            return None
        return piece


def _broken_log(partition: Any, offset: int, error: Exception) -> BrokerError:
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
        remedy="start again: bytes may have changed on the way. If it stops at the same place, look at that partition's "
        "replicas on the brokers' disks (kafka-dump-log); to go on without these records, stop the group and set its offset "
        "beyond them (kafka-consumer-groups --reset-offsets --to-offset)",
    )
