"""The input of a proof: transactions of events at a steady pace, some aborted, some of their records garbage."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
import orjson
from aiokafka.errors import KafkaError

from forebay.stream.core.outputs import Headers, Outgoing
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.producer.producer import OutputProducer, TransactionSettings
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import WorkerGroup

KEYS: Final = 40
TRANSACTION_S: Final = 0.1
ABORT_EVERY: Final = 7
GARBAGE_EVERY: Final = 50
END_TIMEOUT_S: Final = 5.0

ID_HEADER: Final = "proof-id"
KIND_HEADER: Final = "proof-kind"
"""Headers of garbage only, which has no id of its own: its number, and the expected kind of failure."""

GARBAGE: Final = {
    "not_json": b'{"id":',
    "not_an_object": b"[1,2,3,4]",
    "missing_field": b'{"id":"x","timestamp":1790000000000}',
    "wrong_length": b'{"id":"x","timestamp":1790000000000,"features":[1,2,3]}',
    "missing_value": b'{"id":"x","timestamp":1790000000000,"features":[1,2,null,4]}',
    "empty_value": b"",
}

MAX_EXTRA_S: Final = 90.0
"""How much longer it writes if the workers have not yet done what the run is to prove, for instance on a busy machine."""


class FeedEvent(NamedTuple):
    """An event to write. topic: without the prefix."""

    id: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers


class Author(Protocol):
    """Makes up events. A key always goes to one partition; no two events have the same id."""

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]: ...


class OneModelAuthor:
    """Makes up events for a worker's only model, some of them garbage."""

    def __init__(self, rng: random.Random, partitions: int) -> None:
        self._random = rng
        self._numpy = np.random.default_rng(rng.randrange(1 << 32))
        self._partitions = partitions
        self._serials: Counter[int] = Counter()
        self._num_events = 0

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]:
        """Yield events with this timestamp."""
        features = self._numpy.normal(size=(count, NUM_FEATURES)).astype(np.float32).tolist()
        for row in features:
            key = self._random.randrange(KEYS)
            event_id = f"{key}/{self._serials[key]:07d}"
            self._serials[key] += 1
            self._num_events += 1
            headers: Headers = []
            if self._num_events % GARBAGE_EVERY == 0:
                kind = self._random.choice(list(GARBAGE))
                value = GARBAGE[kind]
                headers = [(ID_HEADER, event_id.encode()), (KIND_HEADER, kind.encode())]
            else:
                value = orjson.dumps({"id": event_id, "timestamp": now_ms, "features": row})
            yield FeedEvent(
                event_id,
                "features",
                key % self._partitions,
                key=b"key-%d" % key,
                value=value,
                headers=headers,
            )


class Feed:
    """Writes `rate` events a second for `seconds`. An event is written once.

    author: makes up the events; without one, they are for a worker's only model.
    enough: whether it may end then; if not, it continues for at most MAX_EXTRA_S.
    committed, aborted: the ids of events known to be so. The outcome of any other event is known only from the log.
    """

    def __init__(
        self,
        worker_group: WorkerGroup,
        rng: random.Random,
        *,
        rate: int,
        seconds: float,
        enough: Callable[[], bool] = lambda: True,
        author: Author | None = None,
    ) -> None:
        self._group = worker_group
        self._author = author or OneModelAuthor(rng, worker_group.partitions)
        self._size = round(rate * TRANSACTION_S)
        self._seconds = seconds
        self._enough = enough
        self._stopping = False
        self.committed: set[str] = set()
        self.aborted: set[str] = set()
        self._output_producer = OutputProducer(
            {"bootstrap_servers": worker_group.bootstrap},
            compression_type=None,
            max_batch_bytes=1 << 20,
            transactional=TransactionSettings(f"{worker_group.prefix}-feed", 10_000),
        )

    async def run(self) -> None:
        """Write the events. After an outage, catch up with the schedule."""
        await self._output_producer.start()
        try:
            start_s = time.monotonic()
            for number in range(round((self._seconds + MAX_EXTRA_S) / TRANSACTION_S)):
                over = number >= round(self._seconds / TRANSACTION_S)
                if self._stopping or (over and self._enough()):
                    break
                await asyncio.sleep(max(0.0, start_s + number * TRANSACTION_S - time.monotonic()))
                await self._write(abort=number % ABORT_EVERY == ABORT_EVERY - 1)
        finally:
            await self._output_producer.stop(timeout_s=END_TIMEOUT_S)

    def stop(self) -> None:
        """Stop writing after the current transaction."""
        self._stopping = True

    async def _write(self, *, abort: bool) -> None:
        now_ms = time.time_ns() // 1_000_000
        outgoing, ids = self._transaction(now_ms)
        if abort:
            self.aborted |= ids
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                producer = self._output_producer.producer
                await producer.begin_transaction()
                await self._output_producer.send(outgoing, timestamp_ms=now_ms)
                await (producer.abort_transaction() if abort else producer.commit_transaction())
        except (KafkaError, TimeoutError):
            await self._output_producer.restart()
        else:
            if not abort:
                self.committed |= ids

    def _transaction(self, now_ms: int) -> tuple[dict[TopicPartition, Outgoing], set[str]]:
        outgoing: dict[TopicPartition, Outgoing] = {}
        ids: set[str] = set()
        for event in self._author.write(self._size, now_ms):
            ids.add(event.id)
            place = TopicPartition(self._group.topic(event.topic), event.partition)
            outgoing.setdefault(place, Outgoing()).append(event.key, event.value, event.headers, offset=0)
        return outgoing, ids
