"""Topics on the cluster: describe and create them, and compare them with the catalogue.

Requests use connections of their own. With the client's own calls, brokers that create topics on demand would create missing
topics with default settings, and its admin client retries and logs where one clear error is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka import errors as kafka_errors
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.kafka.cluster.bootstrap import Broker, bootstrap_connection, connect
from forebay.stream.kafka.cluster.topic_plan import (
    CONFIGS,
    MAX_MESSAGE_BYTES,
    Difference,
    Finding,
    TopicState,
    WantedTopic,
    by_severity,
    differences,
    find_problems,
    plan_topics,
)

DEFAULT_TIMEOUT_S: Final = 15.0
_LEADER_POLL_S: Final = 0.05

_USABLE: Final = ("created", "exists")

CreateStatus = Literal["created", "would create", "exists", "differs", "refused"]


@dataclass(frozen=True, slots=True)
class CreateResult:
    """The result of creating a topic.

    state: its state, if it existed before.
    reason: why the cluster refused to create it.
    """

    topic: WantedTopic
    status: CreateStatus
    state: TopicState | None = None
    differences: tuple[Difference, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TopicCheck:
    """The wanted topics, their states by name, and findings about them by severity."""

    wanted: tuple[WantedTopic, ...]
    states: Mapping[str, TopicState]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings with which the worker cannot run."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def merge(self, other: TopicCheck) -> TopicCheck:
        """Return the topics and findings of both checks."""
        findings = by_severity((*self.findings, *other.findings))
        return TopicCheck((*self.wanted, *other.wanted), {**self.states, **other.states}, findings)


async def check_topics(
    settings: Settings, *, timeout_s: float = DEFAULT_TIMEOUT_S, outputs: TopicsSection | None = None
) -> TopicCheck:
    """Compare the cluster's topics with the catalogue, without changing them.

    outputs: names and numbers of the output topics, if they differ from the configuration.

    Raises BrokerError if the cluster does not answer within `timeout_s`, ConfigError for an invalid name.
    """
    wanted = plan_topics(settings, outputs)
    async with bootstrap_connection(settings.kafka, timeout_s=timeout_s) as broker, _bounded(settings.kafka, timeout_s):
        states, _ = await _describe(broker, [topic.name for topic in wanted])
    return TopicCheck(wanted, states, find_problems(settings, wanted, states))


async def describe_topics(
    kafka: KafkaSection, names: Sequence[str], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> dict[str, TopicState]:
    """Return the state of each topic. Raises BrokerError if the cluster does not answer within `timeout_s`."""
    async with bootstrap_connection(kafka, timeout_s=timeout_s) as broker, _bounded(kafka, timeout_s):
        return (await _describe(broker, names))[0]


async def create_topics(
    settings: Settings,
    wanted: Sequence[WantedTopic] | None = None,
    *,
    dry_run: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> tuple[CreateResult, ...]:
    """Create missing topics and wait until they can be used. Existing topics are not changed.

    wanted: the topics; by default those that a worker needs.
    dry_run: only ask the cluster whether it would create them.

    Raises BrokerError if the cluster does not answer within `timeout_s`, ConfigError for an invalid name.
    """
    wanted = plan_topics(settings) if wanted is None else wanted
    names = [topic.name for topic in wanted]
    async with bootstrap_connection(settings.kafka, timeout_s=timeout_s) as broker, _bounded(settings.kafka, timeout_s):
        states, controller = await _describe(broker, names)
        absent = [topic for topic in wanted if states[topic.name].status != "present"]
        answers: dict[str, tuple[int, str | None]] = {}
        if absent:
            if controller is None:
                raise BrokerError(
                    "the cluster has no controller now, and without one it cannot create topics",
                    kind="no_controller",
                    remedy="try again when the cluster is healthy",
                )
            controller_broker = await connect(settings.kafka, *controller, timeout_s=timeout_s)
            try:
                answers = await _create(controller_broker, absent, dry_run=dry_run, timeout_s=timeout_s)
            finally:
                controller_broker.connection.close()
        results = {name: _created(topic, answers[name], dry_run) for topic in absent if (name := topic.name) in answers}
        # Not for topics that this user may not describe.
        await _wait_until_led(
            broker,
            [name for name, result in results.items() if result.status in _USABLE and states[name].status == "missing"],
        )
        # A topic that another client created meanwhile may differ from the catalogue.
        raced = [name for name, result in results.items() if result.status == "exists"]
        if raced:
            states |= (await _describe(broker, raced))[0]
    return tuple(
        results[topic.name]
        if topic.name in results and states[topic.name].status != "present"
        else _existing(topic, states[topic.name])
        for topic in wanted
    )


async def topic_limits(
    kafka: KafkaSection, names: Sequence[str], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> dict[str, int | None]:
    """Return `max.message.bytes` of each topic: the size limit of a compressed record batch, in bytes.

    None if the topic is missing or the cluster does not return its settings. Raises BrokerError if the cluster does not answer
    within `timeout_s`.
    """
    async with bootstrap_connection(kafka, timeout_s=timeout_s) as broker, _bounded(kafka, timeout_s):
        configs = await _describe_configs(broker, names)
    return {name: TopicState(name, "present", configs=configs.get(name)).number(MAX_MESSAGE_BYTES) for name in names}


def _existing(topic: WantedTopic, state: TopicState) -> CreateResult:
    different = differences(topic, state)
    return CreateResult(topic, "differs" if different else "exists", state, different)


def _created(topic: WantedTopic, answer: tuple[int, str | None], dry_run: bool) -> CreateResult:
    error_code, message = answer
    error = kafka_errors.for_code(error_code)
    if error is kafka_errors.NoError:
        return CreateResult(topic, "would create" if dry_run else "created")
    if error is kafka_errors.TopicAlreadyExistsError:
        # Another client was faster, or this user may not describe it: either way it exists.
        return CreateResult(topic, "exists")
    reasons: dict[object, str] = {
        kafka_errors.TopicAuthorizationFailedError: "this user may not create it",
        kafka_errors.ClusterAuthorizationFailedError: "this user may not create topics",
    }
    return CreateResult(topic, "refused", reason=reasons.get(error) or message or error.__name__)


async def _create(
    broker: Broker, topics: Sequence[WantedTopic], *, dry_run: bool, timeout_s: float
) -> dict[str, tuple[int, str | None]]:
    """Return error code and message by topic. broker: the controller, or one that forwards to it."""
    request = CreateTopicsRequest(
        create_topic_requests=[
            (topic.name, topic.num_partitions, topic.replication_factor, [], list(topic.configs.items()))
            for topic in topics
        ],
        timeout=round(timeout_s * 1000),
        validate_only=dry_run,
    )
    answer = await broker.connection.send(request)
    # The first version of the response has no messages.
    return {name: (code, message[0] if message else None) for name, code, *message in answer.topic_errors}


async def _describe(broker: Broker, names: Sequence[str]) -> tuple[dict[str, TopicState], tuple[str, int] | None]:
    """Return the state of each topic, and host and port of the controller if the cluster has one."""
    metadata = await broker.connection.send(MetadataRequest(list(names), allow_auto_topic_creation=False))
    answer = metadata.to_object()
    described: dict[str, Any] = {topic["topic"]: topic for topic in answer["topics"]}
    present = [name for name in names if name in described and _is_present(described[name])]
    configs = await _describe_configs(broker, present) if present else {}
    states = {}
    for name in names:
        if name in present:
            partitions = described[name]["partitions"]
            replicas = min((len(partition["replicas"]) for partition in partitions), default=0)
            states[name] = TopicState(
                name, "present", num_partitions=len(partitions), replication_factor=replicas, configs=configs.get(name)
            )
        else:
            code = described[name]["error_code"] if name in described else 0
            forbidden = code == kafka_errors.TopicAuthorizationFailedError.errno
            states[name] = TopicState(name, "forbidden" if forbidden else "missing")
    addresses = {node["node_id"]: (node["host"], node["port"]) for node in answer["brokers"]}
    return states, addresses.get(answer["controller_id"])


def _is_present(topic: Mapping[str, Any]) -> bool:
    # While leaders are elected, an existing topic is reported with an error.
    return bool(topic["partitions"]) or topic["error_code"] == kafka_errors.LeaderNotAvailableError.errno


async def _wait_until_led(broker: Broker, names: Sequence[str]) -> None:
    """Wait until every partition has a leader: brokers learn of a topic only after the controller has created it."""
    request = MetadataRequest(list(names), allow_auto_topic_creation=False)
    while names:
        topics = (await broker.connection.send(request)).to_object()["topics"]
        if all(not topic["error_code"] and not any(p["error_code"] for p in topic["partitions"]) for topic in topics):
            return
        await asyncio.sleep(_LEADER_POLL_S)


async def _describe_configs(broker: Broker, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Return the settings of the topics for which the cluster returns them."""
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, name, list(CONFIGS)) for name in names], False)
    try:
        answer = (await broker.connection.send(request)).to_object()
    except (kafka_errors.IncompatibleBrokerVersion, NotImplementedError):  # the broker does not know this request
        return {}
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"]
            for entry in resource["config_entries"]
            if entry["config_value"] is not None
        }
        for resource in answer["resources"]
        if resource["error_code"] == 0
    }


@asynccontextmanager
async def _bounded(kafka: KafkaSection, timeout_s: float) -> AsyncIterator[None]:
    """Set one deadline for the block, and raise errors of the client as BrokerError."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise BrokerError(
            f"Kafka at {kafka.bootstrap_servers} did not answer about its topics within {timeout_s:g} s",
            kind="timeout",
            remedy="check that the cluster is healthy, and that the addresses that its brokers advertise can be reached",
        ) from None
    except (kafka_errors.KafkaError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise BrokerError(
            f"Kafka at {kafka.bootstrap_servers} did not answer about its topics: {reason}",
            kind="topics",
            remedy="`forebay check` reports more",
        ) from error
