"""Decision 2: every private part of aiokafka that the code uses. A test fails if one changes or is not listed here.

tests/aggregate/test_faust_internals.py pins the parts of Faust.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from types import NoneType, UnionType
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, Subscription, SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from forebay.stream.kafka.producer.column_batch import ColumnBatch
from tests.brokers.resolve import Broker
from tests.source_files import ROOT, python_files

# receiver.attribute, as written in the code -> the type of its value, or the parameters of a method.
PINNED: dict[str, type | UnionType | list[str]] = {
    "consumer._client": AIOKafkaClient,
    "consumer._coordinator": GroupCoordinator,
    "consumer._fetcher": Fetcher,
    "consumer._subscription": SubscriptionState,
    "client._conns": dict,
    "client._md_update_fut": asyncio.Future | None,
    "connection._reader": asyncio.StreamReader,
    "coordinator._group_instance_id": NoneType,
    "coordinator._send_req": ["request"],
    "fetcher._client": AIOKafkaClient,
    "fetcher._fetch_max_wait_ms": int,
    "fetcher._proc_fetch_request": ["assignment", "node_id", "request"],
    "fetcher._records": dict,
    "result._partition_records": PartitionRecords,
    "result._topic_partition": TopicPartition,
    "result._update_position": [],
    "partition_records._consumer_record": ["tp", "record"],
    "partition_records._records": MemoryRecords,
    "producer._closed": bool,
    "producer._sender": Sender,
    "producer._txn_manager": TransactionManager,
    "sender._coordinator_dead": ["coordinator_type"],
    "sender._find_coordinator": ["coordinator_type", "coordinator_key"],
    "transactions._transaction_waiter": asyncio.Future,
    "builder._build": [],
    "builder._builder": DefaultRecordBatchBuilder,
    "builder._relative_offset": int,
}

# Of fitted models of scikit-learn, read at registration. The tests of their readers compare with the library, so they fail if
# one of these changes.
OF_SCIKIT_LEARN = {
    "model._average_path_length_per_tree",
    "model._baseline_prediction",
    "model._decision_path_lengths",
    "model._max_features",
    "model._max_samples",
    "model._predictors",
    "model._preprocessor",
    "model._raw_predict_init",
    "step._infrequent_enabled",
    "step._scaler",
}

# Public names, but undocumented: what the code uses of the private objects above.
BEHIND_THEM: dict[str, type | UnionType | list[str]] = {
    "client.fetch_all_metadata": [],
    "client.send": ["node_id", "request", "group"],
    "coordinator.coordinator_dead": [],
    "coordinator.coordinator_id": int,
    "coordinator.ensure_coordinator_known": [],
    "coordinator.generation": int,
    "coordinator.member_id": str,
    "coordinator.maybe_leave_group": [],
    "coordinator.reset_generation": [],
    "subscription.is_assigned": ["tp"],
    "subscription.subscription": Subscription,
    "assignment.active": bool,
    "assignment.state_value": ["tp"],
    "state.has_valid_position": bool,
    "state.highwater": NoneType,
    "state.position": int,
    "result.check_assignment": ["tp"],
    "result.getall": ["max_records"],
    "result.has_more": [],
    "partition_records.next_fetch_offset": int,
    "producer.client": AIOKafkaClient,
    "sender.sender_task": asyncio.Task,
    "transactions.consumer_group_added": ["group_id"],
    "transactions.producer_epoch": int,
    "transactions.producer_id": int,
    "transactions.transactional_id": str,
    "transactions.txn_partitions": set,
}

# Names with an underscore that are not private parts of a library: documented methods of named tuples, and parts of Forebay.
NAMED_TUPLE = {"_asdict", "_fields", "_replace"}
NOT_A_LIBRARY_S = {"os._exit", "decoder._models"}
BY_NAME = {"delattr", "getattr", "hasattr", "setattr"}
MISSING = object()
TP = TopicPartition("features", 0)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def receiver(node: ast.expr) -> str:
    """The last name of an expression, without leading underscores: `producer` for `self._delivery.producer`."""
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    if isinstance(node, ast.Name):
        return node.id.lstrip("_")
    if isinstance(node, ast.Call):
        return f"{receiver(node.func)}()"
    return ast.unparse(node)


def private_accesses(source: str) -> Iterator[str]:
    """Yield each use of a private attribute of an object other than self, cls and super(), including by getattr and similar.

    Attributes that a class of the same file sets on itself are left out: they are read when two of its objects are merged.
    """
    tree = ast.parse(source)
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if node.attr in own:
                continue
            target, name = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in BY_NAME
            and isinstance(node.args[1], ast.Constant)
            and is_private(node.args[1].value)
        ):
            target, name = node.args[0], node.args[1].value
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiokafka":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if any(map(is_private, name.split("."))))
            continue
        else:
            continue
        if ast.unparse(target) not in ("self", "cls", "super()") and name not in NAMED_TUPLE:
            yield f"{receiver(target)}.{name}"


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    """Return the private parts in use, with the files that use them."""
    found: dict[str, set[str]] = {}
    for path in python_files():
        for access in private_accesses(path.read_text()):
            found.setdefault(access, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_every_private_part_in_use_is_pinned(used: dict[str, set[str]]) -> None:
    missing = {
        access: files
        for access, files in used.items()
        if access not in PINNED.keys() | OF_SCIKIT_LEARN | NOT_A_LIBRARY_S
    }
    assert missing == {}, "add these to PINNED, with what the code expects of them"


def test_every_pinned_part_is_in_use(used: dict[str, set[str]]) -> None:
    assert (PINNED.keys() | OF_SCIKIT_LEARN | NOT_A_LIBRARY_S) - used.keys() == set()


def test_the_decision_names_every_module_that_uses_them(used: dict[str, set[str]]) -> None:
    (decision,) = (ROOT / "docs" / "decisions").glob("0002-*.md")
    text = decision.read_text()
    files = set().union(*(files for access, files in used.items() if access in PINNED))
    assert {file for file in files if f"`{file}`" not in text} == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("consumer._fetcher", ["consumer._fetcher"]),
        ("self._consumer._fetcher._closed", ["fetcher._closed", "consumer._fetcher"]),
        ("self._delivery.producer._loop = 1", ["producer._loop"]),
        ("del producer()._loop", ["producer()._loop"]),
        ("getattr(result, '_backoff', None)", ["result._backoff"]),
        ("setattr(self._result, '_backoff', 1)", ["result._backoff"]),
        ("from aiokafka.util import _closing", ["aiokafka.util._closing"]),
        ("from aiokafka.record._crecords import Batch", ["aiokafka.record._crecords.Batch"]),
        ("with x._lock:\n    async def f(): await y[0]._wait()", ["x._lock", "y[0]._wait"]),
        ("self._own; cls._own; super()._own; getattr(self, '_own'); row._replace(a=1); a.__dict__; a.b", []),
    ],
)
def test_the_scan_finds_private_parts(source: str, found: list[str]) -> None:
    assert list(private_accesses(source)) == found


def test_the_version_is_the_one_whose_source_was_read() -> None:
    assert version("aiokafka").startswith("0.14.")


def log_of_one() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    builder.append(0, 1000, b"k", b"v", [])
    return bytes(builder.build())


@pytest.fixture
async def parts(embedded_broker: Broker) -> AsyncIterator[dict[str, object]]:
    """Yield real objects of a consumer in a group and a producer in a transaction, by their names in the code."""
    servers = embedded_broker.bootstrap
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id="private-parts", enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id="private-parts")
    await consumer.start()
    await producer.start()
    await producer.begin_transaction()
    try:
        fetcher, client, coordinator = consumer._fetcher, consumer._client, consumer._coordinator
        await coordinator.ensure_coordinator_known()
        consumer.assign([TP])
        consumer.seek(TP, 0)
        assignment = consumer._subscription.subscription.assignment
        records = PartitionRecords(TP, MemoryRecords(log_of_one()), [], 0, None, None, True, 1)
        yield {
            "consumer": consumer,
            "client": client,
            "connection": next(iter(client._conns.values())),
            "coordinator": coordinator,
            "fetcher": fetcher,
            "subscription": consumer._subscription,
            "assignment": assignment,
            "state": assignment.state_value(TP),
            "partition_records": records,
            "result": FetchResult(TP, assignment=assignment, partition_records=records, backoff=0),
            "producer": producer,
            "sender": producer._sender,
            "transactions": producer._txn_manager,
            "builder": producer.create_batch(),
        }
    finally:
        await producer.abort_transaction()
        await producer.stop()
        await consumer.stop()


async def test_each_part_has_the_pinned_type(parts: dict[str, object]) -> None:
    wrong = []
    for access, expected in (PINNED | BEHIND_THEM).items():
        owner, _, name = access.partition(".")
        part = getattr(parts[owner], name, MISSING)
        if isinstance(expected, list):
            actual = list(inspect.signature(part).parameters) if callable(part) else part
            if actual != expected:
                wrong.append(f"{access}: {actual}, not {expected}")
        elif not isinstance(part, expected):
            wrong.append(f"{access}: {part!r}, not of {expected}")
    assert wrong == []


async def test_replaced_attributes_are_not_slots(parts: dict[str, object]) -> None:
    """An attribute can be set on an instance only if its class has no slots and no property of that name."""
    for owner, name in (
        ("fetcher", "_client"),
        ("fetcher", "_proc_fetch_request"),
        ("partition_records", "_records"),
        ("partition_records", "_consumer_record"),
        ("partition_records", "next_fetch_offset"),
        ("result", "getall"),
        ("result", "_partition_records"),
        ("producer", "_closed"),
        ("builder", "_relative_offset"),
    ):
        setattr(parts[owner], name, value := getattr(parts[owner], name))
        assert vars(parts[owner])[name] == value


def source_of(part: Any) -> str:
    return inspect.getsource(part)


def test_the_fetcher_calls_what_is_replaced() -> None:
    assert "self._proc_fetch_request(assignment, node_id, request)" in source_of(Fetcher._fetch_requests_routine)
    assert "await self._client.send(node_id, request)" in source_of(Fetcher._proc_fetch_request)
    assert "self._records[tp] = FetchResult(" in source_of(Fetcher._proc_fetch_request)
    assert "for partition, error_code, highwater, *part_data in partitions" in source_of(Fetcher._proc_fetch_request)
    assert "MemoryRecords(part_data[-1])" in source_of(Fetcher._proc_fetch_request)
    assert "res_or_error.getall(max_records)" in source_of(Fetcher.fetched_records)


def test_batches_are_read_lazily_and_through_what_is_replaced() -> None:
    source = source_of(PartitionRecords._unpack_records)
    assert inspect.isgeneratorfunction(PartitionRecords._unpack_records)
    assert "records = self._records" in source and "consumer_record = self._consumer_record(tp, record)" in source
    for call in ("records.has_next()", "records.next_batch()", "next_batch.validate_crc()", "in next_batch:"):
        assert call in source
    assert "self.next_fetch_offset = record.offset + 1" in source  # of a piece: `offset` is that of its last record
    assert "consumed_to(self._partition_records.next_fetch_offset)" in source_of(FetchResult._update_position)


def test_a_connection_reads_by_readexactly() -> None:
    assert source_of(AIOKafkaConnection._read).count("await reader.readexactly(") == 2
    assert "reader = self._reader" in source_of(AIOKafkaConnection._read)


def test_metadata_is_refreshed_under_a_future() -> None:
    assert "self._md_update_fut = self._loop.create_future()" in source_of(AIOKafkaClient.force_metadata_update)


def test_group_requests_go_to_the_coordinator_with_its_membership() -> None:
    assert "node_id = self.coordinator_id" in source_of(GroupCoordinator._send_req)
    assert "self.generation = OffsetCommitRequest.DEFAULT_GENERATION_ID" in source_of(GroupCoordinator.reset_generation)
    assert "self.coordinator_id = None" in source_of(GroupCoordinator.coordinator_dead)


def test_positions_and_high_watermarks_are_kept_by_partition() -> None:
    assert "tp_state.highwater = highwater" in source_of(Fetcher._proc_fetch_request)
    assert "self._position is not None" in source_of(TopicPartitionState.has_valid_position.fget)
    assert isinstance(inspect.getattr_static(Assignment, "active"), property)


def test_an_abandoned_producer_logs_nothing() -> None:
    assert "if self._closed is False:" in source_of(AIOKafkaProducer.__del__)


def test_the_sender_keeps_a_coordinator_until_it_is_dead() -> None:
    assert "self._coordinators.pop(coordinator_type, None)" in source_of(Sender._coordinator_dead)
    assert "return self._coordinators[coordinator_type]" in source_of(Sender._find_coordinator)


async def test_a_transaction_ends_only_if_the_manager_has_partitions_or_a_group() -> None:
    """Forebay's own requests add partitions and group. They are recorded in the manager, so that it sends EndTxn for them."""
    for add in (lambda manager: manager.txn_partitions.update([TP]), lambda manager: manager.consumer_group_added("g")):
        manager = TransactionManager("id", 1000)
        assert manager.is_empty_transaction()
        add(manager)
        assert not manager.is_empty_transaction()


def test_of_a_batch_the_producer_needs_only_what_our_own_has() -> None:
    source = source_of(MessageBatch) + source_of(MessageAccumulator)
    used = set(re.findall(r"builder\.(\w+)\(", source))
    assert used == {"record_count", "append", "close", "closed", "_set_producer_state", "_build"}
    assert used - {"append"} <= vars(ColumnBatch).keys()  # `append` is for messages that are sent one by one
    assert source_of(MessageAccumulator).count(".append(key") == 1 and "batch.append(key" in source_of(
        MessageAccumulator
    )


def test_a_batch_counts_by_its_relative_offset() -> None:
    assert "return self._relative_offset" in source_of(BatchBuilder.record_count)
    batch = BatchBuilder(1 << 20, 0, is_transactional=0)
    assert batch._builder.append(0, 1000, b"k", b"v", [("h", b"x")]) is not None
    batch._relative_offset = 1
    batch.close()
    assert batch.record_count() == 1 and MemoryRecords(bytes(batch._build())).has_next()
