"""Topics on a cluster: created once, compared, read; and an unreachable cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import DescribeConfigsRequest, DescribeConfigsResponse_v1
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v5

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import KafkaSection, OutputSection, Settings, TopicsSection
from forebay.stream.kafka.cluster.bootstrap import Broker as Reached
from forebay.stream.kafka.cluster.topic_plan import RETENTION_MS, plan_topics
from forebay.stream.kafka.cluster.topics import _created, _describe, check_topics, create_topics, topic_limits
from tests.brokers.resolve import Broker
from tests.conftest import Names


def settings_for(broker: Broker, names: Names, **topics: Any) -> Settings:
    return Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap),
        topics=TopicsSection(prefix=names(""), **topics),
    )


async def make(broker: Broker, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics(list(topics))
    finally:
        await admin.close()
    assert [code for _, code, *_ in answer.topic_errors] == [0] * len(topics)


async def test_created_topics_are_as_wanted_and_are_not_created_twice(broker: Broker, names: Names) -> None:
    settings = settings_for(broker, names)
    assert [one.status for one in await create_topics(settings)] == ["created"] * 4
    assert [one.status for one in await create_topics(settings)] == ["exists"] * 4
    checked = await check_topics(settings)
    assert checked.findings == ()
    assert {state.num_partitions for state in checked.states.values()} == {4}
    state = checked.states[names("dead-letters")]
    assert state.configs is not None and state.configs[RETENTION_MS] == str(30 * 86_400_000)


async def test_neither_a_dry_run_nor_a_check_creates_topics(broker: Broker, names: Names) -> None:
    settings = settings_for(broker, names)
    assert [one.status for one in await create_topics(settings, dry_run=True)] == ["would create"] * 4
    for _ in range(2):
        # A broker with automatic topic creation would have created them at the first request for their metadata.
        checked = await check_topics(settings)
        assert {state.status for state in checked.states.values()} == {"missing"}
        assert [finding.kind for finding in checked.errors] == ["missing"] * 4


async def test_existing_topics_are_unchanged_and_reported(broker: Broker, names: Names) -> None:
    await make(broker, NewTopic(names("features"), 2, 1, topic_configs={RETENTION_MS: "3600000"}))
    settings = settings_for(broker, names)
    features, *others = await create_topics(settings)
    assert [one.status for one in others] == ["created"] * 3
    assert features.status == "differs"
    assert {str(each) for each in features.differences} >= {
        "partitions is 2, not 4",
        "retention.ms is 3600000, not 604800000",
    }
    checked = await check_topics(settings)
    assert checked.errors == ()
    assert {(f.severity, f.kind) for f in checked.findings} >= {
        ("warning", "partition_counts"),
        ("warning", "retention"),
    }


async def test_a_compacted_input_is_an_error(broker: Broker, names: Names) -> None:
    settings = settings_for(broker, names)
    await make(broker, NewTopic(names("features"), 4, 1, topic_configs={"cleanup.policy": "compact"}))
    await create_topics(settings)
    assert [(f.topic, f.kind) for f in (await check_topics(settings)).errors] == [(names("features"), "compacted")]


async def test_a_refusal_carries_the_clusters_message(broker: Broker, names: Names) -> None:
    done = await create_topics(settings_for(broker, names, replication_factor=7))
    assert {one.status for one in done} == {"refused"}
    assert all("replication factor" in (one.reason or "") for one in done)


async def test_limits_are_returned_for_existing_topics(broker: Broker, names: Names) -> None:
    settings = settings_for(broker, names).model_copy(update={"output": OutputSection(max_request_size=2_000_000)})
    await create_topics(settings)
    limits = await topic_limits(settings.kafka, [names("predictions"), names("dead-letters"), names("nowhere")])
    assert limits == {names("predictions"): 2_000_000, names("dead-letters"): 1_114_112, names("nowhere"): None}


async def test_two_clients_that_create_topics_at_once_both_succeed(broker: Broker, names: Names) -> None:
    settings = settings_for(broker, names)
    both = await asyncio.gather(create_topics(settings), create_topics(settings))
    assert {one.status for done in both for one in done} <= {"created", "exists"}
    assert (await check_topics(settings)).findings == ()


CALLS = {
    "check": lambda settings: check_topics(settings, timeout_s=0.5),
    "create": lambda settings: create_topics(settings, timeout_s=0.5),
    "limits": lambda settings: topic_limits(settings.kafka, ["features"], timeout_s=0.5),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_silent_broker_fails_after_the_timeout(call: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = Settings(kafka=KafkaSection(bootstrap_servers=f"127.0.0.1:{port}"))
        started_s = time.monotonic()
        with pytest.raises(BrokerError) as caught:
            await call(settings)
    assert time.monotonic() - started_s < 20  # kafka.request_timeout_ms is 30 s
    assert str(port) in caught.value.message and caught.value.remedy


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_port_where_nothing_listens_is_a_broker_error(call: Any, unused_tcp_port: int) -> None:
    settings = Settings(kafka=KafkaSection(bootstrap_servers=f"127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(BrokerError, match="nothing listens there"):
        await call(settings)


async def test_created_topics_can_be_used_at_once(broker: Broker, names: Names) -> None:
    for attempt in range(5):
        settings = settings_for(broker, names)
        settings = settings.model_copy(update={"topics": TopicsSection(prefix=names(f"{attempt}-"))})
        await create_topics(settings)
        limits = await topic_limits(settings.kafka, [topic.name for topic in plan_topics(settings)])
        assert None not in limits.values()


class Answering:
    """A connection that responds from a table of topics: name -> (error code, partitions)."""

    def __init__(self, topics: Mapping[str, tuple[int, int]], *, controller: int = 1, configs: int | Exception = 0):
        self._topics, self._controller, self._configs = topics, controller, configs

    async def send(self, request: object) -> object:
        if isinstance(request, MetadataRequest):
            topics = [
                (error, name, False, [(0, number, 1, [1], [1], []) for number in range(count)])
                for name, (error, count) in self._topics.items()
            ]
            return MetadataResponse_v5(0, [(1, "b", 9092, None)], "id", self._controller, topics)
        assert isinstance(request, DescribeConfigsRequest)
        if isinstance(self._configs, Exception):
            raise self._configs
        entries = [] if self._configs else [(RETENTION_MS, "5", False, 1, False, []), ("x", None, False, 1, True, [])]
        return DescribeConfigsResponse_v1(0, [(self._configs, "", 2, "t", entries)])


def reached(connection: Answering) -> Reached:
    return Reached("b", 9092, connection, {})  # type: ignore[arg-type]


async def test_missing_forbidden_and_electing_topics_are_distinguished() -> None:
    answers = {"a": (29, 0), "b": (3, 0), "t": (5, 0), "c": (0, 3)}
    states, controller = await _describe(reached(Answering(answers)), ["a", "b", "t", "c", "d"])
    assert {name: state.status for name, state in states.items()} == {
        "a": "forbidden",
        "b": "missing",
        "t": "present",
        "c": "present",
        "d": "missing",
    }
    assert controller == ("b", 9092)


async def test_a_cluster_without_a_controller_is_an_error() -> None:
    _, controller = await _describe(reached(Answering({"t": (0, 1)}, controller=-1)), ["t"])
    assert controller is None


@pytest.mark.parametrize("configs", [29, 31, kafka_errors.IncompatibleBrokerVersion("no"), NotImplementedError()])
async def test_settings_that_the_cluster_does_not_return_are_unknown(configs: int | Exception) -> None:
    states, _ = await _describe(reached(Answering({"t": (0, 1)}, configs=configs)), ["t"])
    assert states["t"].status == "present" and states["t"].configs is None


async def test_settings_without_a_value_are_left_out() -> None:
    states, _ = await _describe(reached(Answering({"t": (0, 1)})), ["t"])
    assert states["t"].configs == {RETENTION_MS: "5"}


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (0, "created", None),
        (36, "exists", None),
        (29, "refused", "this user may not create it"),
        (31, "refused", "this user may not create topics"),
        (44, "refused", "said by the cluster"),
    ],
)
def test_an_error_code_becomes_a_status(code: int, status: str, reason: str | None) -> None:
    done = _created(plan_topics(Settings())[0], (code, "said by the cluster"), dry_run=False)
    assert (done.status, done.reason) == (status, reason)
