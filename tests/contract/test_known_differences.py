"""Known differences between the embedded broker and Apache Kafka, as a table, so that a change on either side is detected.

No guarantee of Forebay may depend on a behaviour in which the two differ.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.transaction import EndTxnRequest

from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.embedded import EmbeddedBroker
from forebay.stream.kafka.protocol.offset_requests import TxnOffsetCommit
from tests.brokers.clients import consumer, create_topic, producer, read, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually

DIFFERENCES: dict[str, dict[str, bool]] = {
    "an empty fetch is held until fetch_max_wait_ms": {"apache": True, "embedded": False},
    "a transactional commit of an older generation is refused": {"apache": True, "embedded": False},
    "a member that died without leaving is replaced": {"apache": True, "embedded": False},
    "a record sent after its transaction has ended is never visible": {"apache": True, "embedded": False},
    "a transaction is aborted after its timeout": {"apache": True, "embedded": False},
    "reading from after an aborted transaction finds its producer's next one": {"apache": True, "embedded": False},
}


async def holds_an_empty_fetch(broker: Broker, names: Names) -> bool:
    await create_topic(broker.bootstrap, names("features"))
    async with consumer(broker.bootstrap, names("features"), fetch_max_wait_ms=1000) as reader:
        fetcher: Any = reader._fetcher
        took_s: list[float] = []
        unpaced = fetcher._client.send

        async def timed(node_id: int, request: Any, **options: Any) -> Any:
            start_s = time.monotonic()
            response = await unpaced(node_id, request, **options)
            if type(request).__name__.startswith("FetchRequest"):
                took_s.append(time.monotonic() - start_s)
            return response

        fetcher._client.send = timed
        await reader.getmany(timeout_ms=2500, max_records=1)
    assert took_s, "no fetch was sent"
    return max(took_s) > 0.5


async def refuses_an_older_generation(broker: Broker, names: Names) -> bool:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with (
        consumer(broker.bootstrap, names("features"), group_id=names("group")) as reader,
        producer(broker.bootstrap, transactional_id=names("writer")) as sender,
    ):
        coordinator: Any = reader._coordinator
        transaction: Any = sender._txn_manager

        async def commit(generation: int) -> int:
            await sender.begin_transaction()
            await sender.send_offsets_to_transaction({partition: 1}, names("group"))
            request = TxnOffsetCommit(
                transactional_id=names("writer"),
                producer=(transaction.producer_id, transaction.producer_epoch),
                group_id=names("group"),
                epoch=Epoch(generation, coordinator.member_id, None, 1),
                positions={TopicPartition(*partition): 2},
                metadata={},
            )
            response = await sender.client.send(coordinator.coordinator_id, request)
            await sender.abort_transaction()
            ((_topic, ((_partition, code, _), *_rest), _tags),) = response.topics
            return int(code)

        assert await commit(coordinator.generation) == 0
        code = await commit(coordinator.generation - 1)
        assert code in (0, 22)  # ILLEGAL_GENERATION
        return code == 22


async def replaces_a_dead_member(broker: Broker, names: Names) -> bool:
    await create_topic(broker.bootstrap, names("features"), 2)
    options: dict[str, Any] = {"group_id": names("group"), "session_timeout_ms": 6000}

    async def leaves_nothing() -> None:
        """Replace LeaveGroup: the member ends without sending a request."""

    async with consumer(broker.bootstrap, names("features"), **options) as dies:
        await eventually(lambda: len(dies.assignment()), "both partitions", until=lambda seen: seen == 2)
        coordinator: Any = dies._coordinator
        coordinator._maybe_leave_group = leaves_nothing
    # Its start returns only once it has joined the group, so it runs in a task.
    joining = asyncio.create_task(_joins_and_gets_all(broker, names, options))
    done, _ = await asyncio.wait({joining}, timeout=14)
    joining.cancel()
    await asyncio.wait({joining})
    return bool(done) and joining.result()


async def _joins_and_gets_all(broker: Broker, names: Names, options: dict[str, Any]) -> bool:
    async with consumer(broker.bootstrap, names("features"), **options) as survives:
        await eventually(lambda: len(survives.assignment()), "both partitions", until=lambda seen: seen == 2)
        return True


async def hides_what_comes_after_the_end(broker: Broker, names: Names) -> bool:
    """Return whether a late batch of an aborted transaction never becomes visible with the producer's next commit."""
    (partition,) = await create_topic(broker.bootstrap, names("dead-letters"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as sender:
        transaction: Any = sender._txn_manager
        await sender.begin_transaction()
        await send_batch(sender, partition, [b"in time"])
        # End the transaction without the client's knowledge, so that the next batch is late.
        end = EndTxnRequest(
            transactional_id=names("writer"),
            producer_id=transaction.producer_id,
            producer_epoch=transaction.producer_epoch,
            transaction_result=False,
        )
        node = await sender._sender._find_coordinator(CoordinationType.TRANSACTION, names("writer"))
        assert (await sender.client.send(node, end, group=ConnectionGroup.COORDINATION)).error_code == 0
        try:
            async with asyncio.timeout(5):
                await send_batch(sender, partition, [b"late"])
        except (KafkaError, TimeoutError):
            return True
        await sender.abort_transaction()
        # With the same producer: a new one with its id would fence the late batch by its epoch.
        await sender.begin_transaction()
        await send_batch(sender, partition, [b"next"])
        await sender.commit_transaction()
    values: list[bytes | None] = []
    async with consumer(broker.bootstrap, names("dead-letters")) as reader:
        while b"next" not in values:
            values += [record.value for record in await read(reader, 1)]
    return b"late" not in values


async def finds_what_follows_an_aborted_transaction(broker: Broker, names: Names) -> bool:
    (partition,) = await create_topic(broker.bootstrap, names("features"))
    async with producer(broker.bootstrap, transactional_id=names("writer")) as sender:
        for ends in (sender.abort_transaction, sender.commit_transaction):
            await sender.begin_transaction()
            await send_batch(sender, partition, [b"x"])
            await ends()
    async with consumer(broker.bootstrap) as reader:
        reader.assign([partition])
        # Until the second transaction is visible: two records and two markers.
        await eventually(
            lambda: reader.end_offsets([partition]), "the transactions", until=lambda ends: ends[partition] == 4
        )
        reader.seek(partition, 2)
        found = await reader.getmany(timeout_ms=2000)
    return bool(found)


async def aborts_after_the_timeout(broker: Broker, names: Names) -> bool:
    (partition,) = await create_topic(broker.bootstrap, names("predictions"))
    async with producer(broker.bootstrap, transactional_id=names("writer"), transaction_timeout_ms=1000) as sender:
        await sender.begin_transaction()
        await send_batch(sender, partition, [b"left open"])
        # Kafka checks every 10 s.
        await asyncio.sleep(14)
        try:
            await sender.commit_transaction()
        except KafkaError:
            return True
    async with consumer(broker.bootstrap, names("predictions")) as reader:
        assert len(await read(reader, 1)) == 1
    return False


PROBES: dict[str, Callable[[Broker, Names], Awaitable[bool]]] = {
    "an empty fetch is held until fetch_max_wait_ms": holds_an_empty_fetch,
    "a transactional commit of an older generation is refused": refuses_an_older_generation,
    "a member that died without leaving is replaced": replaces_a_dead_member,
    "a record sent after its transaction has ended is never visible": hides_what_comes_after_the_end,
    "a transaction is aborted after its timeout": aborts_after_the_timeout,
    "reading from after an aborted transaction finds its producer's next one": finds_what_follows_an_aborted_transaction,
}


def test_every_difference_has_a_probe() -> None:
    assert PROBES.keys() == DIFFERENCES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("difference", DIFFERENCES)
async def test_a_known_difference_still_exists(broker: Broker, names: Names, difference: str) -> None:
    assert await PROBES[difference](broker, names) is DIFFERENCES[difference][broker.kind]


@pytest.mark.embedded
async def test_the_embedded_broker_loses_all_data_when_it_is_killed(names: Names, tmp_path: Any) -> None:
    async with EmbeddedBroker(data_dir=tmp_path / "broker") as first:
        (partition,) = await create_topic(first.bootstrap_servers, names("features"))
        async with producer(first.bootstrap_servers) as sender:
            await send_batch(sender, partition, [b"kept?"])
        async with consumer(first.bootstrap_servers, names("features")) as reader:
            assert len(await read(reader, 1)) == 1
        first._process.kill()  # type: ignore[union-attr]
    async with EmbeddedBroker(data_dir=tmp_path / "broker") as second:
        await create_topic(second.bootstrap_servers, names("features"))  # would fail if it existed
