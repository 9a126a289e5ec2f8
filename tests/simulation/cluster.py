"""A model of a Kafka cluster in memory, with one transaction coordinator and one consumer group.

It knows what a worker's client sends: fetches, idempotent and transactional batches, offsets in and outside of transactions,
joining and heartbeats. It follows Kafka 4.1 in what exactly once depends on: epochs fence producers, markers are written some
time after a transaction's end was accepted, offsets of open transactions are pending, and a commit without member and
generation is not checked.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

from forebay.stream.core.records import Committed, TopicPartition
from tests.simulation.audit import Audit
from tests.simulation.faults import Kind
from tests.simulation.group import Group, Reply
from tests.simulation.partition_log import Fetched, Headers, PartitionLog
from tests.simulation.transactions import TransactionalId, TransactionCoordinator
from tests.simulation.world import World

OUT_OF_ORDER_SEQUENCE: Final = 45
FETCH_WAIT_S: Final = 1.0
MAX_FETCHED: Final = 50
_TAGS: Final[dict[int, bytes]] = {}

Handler = Callable[[Any, Reply], None]


class SimulatedCluster:
    """The cluster. partitions: the number of partitions of each input and output topic; inputs: the input topics.

    input_headers: of all events that are published.
    registry: of schemas, if the simulation has one (see `schemas`).
    """

    input_headers: Headers = ()
    registry: object = None

    def __init__(self, world: World, partitions: Mapping[str, int], inputs: tuple[str, ...]) -> None:
        self.world = world
        self.partitions = dict(partitions)
        self.logs = {
            TopicPartition(topic, number): PartitionLog()
            for topic, count in partitions.items()
            for number in range(count)
        }
        self.inputs = [partition for partition in self.logs if partition.topic in inputs]
        self._topic_ids = {topic: uuid.UUID(int=index + 1) for index, topic in enumerate(sorted(partitions))}
        self.group = Group(world, self._on_committed)
        self.transactions = TransactionCoordinator(world, self._write_marker)
        self.audit = Audit(self)
        self._waiting_fetches: list[Callable[[], None]] = []
        self.handlers: dict[Kind, Handler] = {
            Kind.METADATA: self._metadata,
            Kind.OFFSET_COMMIT: self._offset_commit,
            Kind.OFFSET_FETCH: self._offset_fetch,
            Kind.JOIN: lambda request, reply: self.group.join(request, reply),
            Kind.HEARTBEAT: lambda r, reply: reply(_code(self.group.heartbeat(r.member_id, r.generation_id))),
            Kind.LEAVE: lambda r, reply: reply(_code(self.group.leave(r.member_id))),
            Kind.SYNC: lambda request, reply: self.group.sync(request, reply),
            Kind.INIT_PRODUCER: self._init_producer,
            Kind.ADD_PARTITIONS: self._add_partitions,
            Kind.ADD_OFFSETS: self._add_offsets,
            Kind.END_TXN: self._end_txn,
            Kind.TXN_OFFSET_COMMIT: self._txn_offset_commit,
        }

    # ---- records

    def publish(
        self, partition: TopicPartition, records: list[tuple[bytes, bytes]], *, writer: object = None
    ) -> list[int]:
        """Append input records, (key, value) each, and return their offsets. writer: as for `PartitionLog.append`."""
        log = self.logs[partition]
        offsets = [
            log.append(self.world.wall_ms(), key, value, self.input_headers, writer=writer) for key, value in records
        ]
        self.notify()
        return offsets

    def end_input_transaction(self, partition: TopicPartition, writer: object, *, commit: bool) -> None:
        """End a transaction of the program that writes the input."""
        self.logs[partition].end_transaction(writer, commit=commit)
        self.notify()

    def notify(self) -> None:
        """Answer the fetches that wait for records."""
        waiting, self._waiting_fetches = self._waiting_fetches, []
        for answer in waiting:
            answer()

    def fetch(self, positions: Mapping[TopicPartition, int], reply: Reply) -> None:
        """Answer a fetch once there are records or something to skip, or after `FETCH_WAIT_S`."""
        answered = False

        def answer(*, late: bool = False) -> None:
            nonlocal answered
            if answered:
                return
            fetched: dict[TopicPartition, Fetched] = {
                partition: self.logs[partition].fetch(position, MAX_FETCHED)
                for partition, position in positions.items()
            }
            if late or any(found.records or found.next_offset > positions[at] for at, found in fetched.items()):
                answered = True
                reply(fetched)
            else:
                self._waiting_fetches.append(answer)

        answer()
        if not answered:
            self.world.after(FETCH_WAIT_S, lambda: answer(late=True))

    def produce(
        self, producer: tuple[int, int], partition: TopicPartition, sequence: int, records: list[tuple[Any, ...]]
    ) -> int:
        """Append a batch of a transactional producer; return an error code. records: (timestamp, key, value, headers) each."""
        if code := self.transactions.verify(producer, partition):
            return code
        log = self.logs[partition]
        accepted = log.accepts(producer, sequence, len(records))
        if accepted is None:
            return 0
        if not accepted:
            return OUT_OF_ORDER_SEQUENCE
        for timestamp, key, value, headers in records:
            log.append(timestamp, key, value, headers, writer=producer[0])
        return 0

    def _write_marker(self, entry: TransactionalId, partition: TopicPartition | None, commit: bool) -> None:
        if partition is None:
            self.group.end_transaction(entry.producer_id, commit=commit)
            return
        span = self.logs[partition].end_transaction(entry.producer_id, commit=commit)
        if span is not None and commit:
            self.audit.on_outputs(partition, span.records)
        self.notify()

    def _on_committed(self, partition: TopicPartition, before: int, after: int) -> None:
        self.audit.on_committed(partition, before, after)

    # ---- requests

    def _metadata(self, request: Any, reply: Reply) -> None:
        topics = [
            {"error_code": 0, "topic": topic, "topic_id": self._topic_ids[topic]} for topic in sorted(self.partitions)
        ]
        brokers = [{"node_id": 0, "host": "simulated", "port": 9092}]
        reply(SimpleNamespace(to_object=lambda: {"topics": topics, "brokers": brokers}))

    def _offset_commit(self, request: Any, reply: Reply) -> None:
        offsets = {
            TopicPartition(topic, number): Committed(offset, metadata)
            for topic, parts in request.topics
            for number, offset, metadata in parts
        }
        code = self.group.commit(offsets, request.consumer_id, request.consumer_group_generation_id)
        reply(offset_commit_response(request, code))

    def _offset_fetch(self, request: Any, reply: Reply) -> None:
        asked = [TopicPartition(topic, number) for topic, numbers, _ in request.topics for number in numbers]
        found = self.group.fetch(asked, require_stable=request.require_stable)
        by_topic: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for (topic, number), committed in found.items():
            if isinstance(committed, int) and not isinstance(committed, tuple):
                by_topic[topic].append((number, -1, -1, "", committed, _TAGS))
            else:
                offset, metadata = (-1, "") if committed is None else committed
                by_topic[topic].append((number, offset, -1, metadata, 0, _TAGS))
        reply(SimpleNamespace(error_code=0, topics=[(topic, parts, _TAGS) for topic, parts in by_topic.items()]))

    def _init_producer(self, request: Any, reply: Reply) -> None:
        code, producer_id, epoch = self.transactions.init_producer(
            request.transactional_id, request.transaction_timeout_ms / 1000
        )
        reply(SimpleNamespace(error_code=code, producer_id=producer_id, producer_epoch=epoch))

    def _add_partitions(self, request: Any, reply: Reply) -> None:
        partitions = [TopicPartition(topic, number) for topic, numbers in request.topics for number in numbers]
        producer = (request.producer_id, request.producer_epoch)
        code = self.transactions.add(request.transactional_id, producer, partitions, group=False)
        reply(add_partitions_response(request, code))

    def _add_offsets(self, request: Any, reply: Reply) -> None:
        producer = (request.producer_id, request.producer_epoch)
        reply(_code(self.transactions.add(request.transactional_id, producer, (), group=True)))

    def _end_txn(self, request: Any, reply: Reply) -> None:
        producer = (request.producer_id, request.producer_epoch)
        commit = bool(request.transaction_result)
        reply(_code(self.transactions.end(request.transactional_id, producer, commit=commit)))

    def _txn_offset_commit(self, request: Any, reply: Reply) -> None:
        offsets = {
            TopicPartition(topic, number): Committed(offset, metadata)
            for topic, parts, _ in request.topics
            for number, offset, _, metadata, _ in parts
        }
        producer = (request.producer_id, request.producer_epoch)
        code = self.transactions.verify(producer, None) or self.group.commit_in_transaction(
            offsets, request.producer_id, request.member_id, request.generation_id
        )
        reply(txn_offset_commit_response(request, code))


def _code(code: int) -> Any:
    return SimpleNamespace(error_code=code)


def offset_commit_response(request: Any, code: int) -> Any:
    """Return an OffsetCommit response with one code for all partitions."""
    return SimpleNamespace(topics=[(topic, [(part[0], code) for part in parts]) for topic, parts in request.topics])


def add_partitions_response(request: Any, code: int) -> Any:
    """Return an AddPartitionsToTxn response with one code for all partitions."""
    return SimpleNamespace(
        errors=[(topic, [(number, code) for number in numbers]) for topic, numbers in request.topics]
    )


def txn_offset_commit_response(request: Any, code: int) -> Any:
    """Return a TxnOffsetCommit response with one code for all partitions."""
    return SimpleNamespace(
        topics=[(topic, [(part[0], code, _TAGS) for part in parts], _TAGS) for topic, parts, _ in request.topics]
    )


def error_response(kind: Kind, request: Any, code: int) -> Any:
    """Return the answer of a coordinator that does nothing but return this code."""
    match kind:
        case Kind.OFFSET_COMMIT:
            return offset_commit_response(request, code)
        case Kind.ADD_PARTITIONS:
            return add_partitions_response(request, code)
        case Kind.TXN_OFFSET_COMMIT:
            return txn_offset_commit_response(request, code)
        case Kind.OFFSET_FETCH:
            return SimpleNamespace(error_code=code, topics=[])
        case Kind.JOIN:
            return SimpleNamespace(API_VERSION=5, error_code=code, generation_id=-1, member_id="", members=[])
        case Kind.SYNC:
            return SimpleNamespace(error_code=code, member_assignment=b"")
        case Kind.INIT_PRODUCER:
            return SimpleNamespace(error_code=code, producer_id=-1, producer_epoch=-1)
        case _:
            return _code(code)
