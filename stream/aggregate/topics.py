"""The topics that the aggregator writes: made where they are missing, and compared with what they must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.errors import BrokerError
from schemas.topics import (
    AGGREGATOR_CHANGELOG,
    AGGREGATOR_TOPICS,
    ALERTS,
    ERROR_AGGREGATES,
    HOUR_MS,
    OUTCOME_DELTAS,
    TopicSpec,
    partitions_of,
    topic_name,
)
from stream.aggregate.layout import Found, Layout, judge
from stream.config.sections import Settings
from stream.kafka.client import client_options
from stream.kafka.topic_plan import CLEANUP_POLICY, MIN_INSYNC_REPLICAS, RETENTION_MS, WantedTopic
from stream.kafka.topics import Created, CreateStatus

COMPACTION_LAG_MS: Final = "min.compaction.lag.ms"
TIMEOUT_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.1


def plan_aggregator_topics(settings: Settings, *, num_deltas: int | None = None) -> tuple[WantedTopic, ...]:
    """The topics as they are meant to be. num_deltas: partitions that outcome-deltas really has, where that is known."""
    section = settings.topics

    def count(spec: TopicSpec) -> int:
        if spec is AGGREGATOR_CHANGELOG and num_deltas is not None:
            return num_deltas
        return partitions_of(spec, section.partitions)

    return tuple(
        WantedTopic(
            topic_name(section.prefix, spec.name),
            spec,
            count(spec),
            section.replication_factor,
            {
                CLEANUP_POLICY: spec.cleanup_policy,
                RETENTION_MS: str(spec.retention_ms),
                MIN_INSYNC_REPLICAS: "2" if section.replication_factor >= 3 else "1",
                **spec.configs,
                **(_changelog_configs(settings) if spec is AGGREGATOR_CHANGELOG else {}),
            },
        )
        for spec in AGGREGATOR_TOPICS
    )


def _changelog_configs(settings: Settings) -> dict[str, str]:
    """Longer than windows are open, and at least as long as the catalogue has it (see decision 14)."""
    least = int(AGGREGATOR_CHANGELOG.configs[COMPACTION_LAG_MS])
    return {COMPACTION_LAG_MS: str(max(least, settings.aggregate.closed_after_ms + HOUR_MS))}


async def prepare_topics(settings: Settings, *, create: bool = True) -> tuple[Layout, tuple[str, ...]]:
    """Look at the topics, and make those that are missing and ours. Gives the layout, and the names of those that were made.

    Raises BrokerError where one is missing that is not ours, or is not what it must be.
    """
    prefix = settings.topics.prefix
    deltas = topic_name(prefix, OUTCOME_DELTAS.name)
    async with _admin(settings) as admin:
        found = await _look(admin, [deltas])
        if deltas not in found:
            raise BrokerError(
                f"topic {deltas}: there is no such topic",
                kind="missing",
                remedy="`forebay topics create` makes it; its deltas come from the workers",
            )
        wanted = plan_aggregator_topics(settings, num_deltas=found[deltas].num_partitions)
        found |= await _look(admin, [topic.name for topic in wanted])
        missing = [topic for topic in wanted if topic.name not in found]
        if missing and create:
            await _create(admin, missing)
            found |= await _until_there(admin, [topic.name for topic in missing])
    judge(deltas, topic_name(prefix, AGGREGATOR_CHANGELOG.name), found)
    aggregates = topic_name(prefix, ERROR_AGGREGATES.name)
    layout = Layout(
        deltas=deltas,
        changelog=topic_name(prefix, AGGREGATOR_CHANGELOG.name),
        aggregates=aggregates,
        alerts=topic_name(prefix, ALERTS.name),
        num_aggregates=found[aggregates].num_partitions,
    )
    return layout, tuple(topic.name for topic in missing)


async def create_aggregator_topics(settings: Settings, *, dry_run: bool) -> tuple[Created, ...]:
    """Make those that are missing; with `dry_run` the cluster only says whether it would. Raises BrokerError."""
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    async with _admin(settings) as admin:
        found = await _look(admin, [deltas])
        num_deltas = found[deltas].num_partitions if deltas in found else None
        wanted = plan_aggregator_topics(settings, num_deltas=num_deltas)
        found = await _look(admin, [topic.name for topic in wanted])
        missing = [topic for topic in wanted if topic.name not in found]
        refused = await _ask_for(admin, missing, dry_run=dry_run) if missing else {}
        if not dry_run:
            await _until_there(admin, [topic.name for topic in missing if topic.name not in refused])
    made: CreateStatus = "would create" if dry_run else "created"
    return tuple(
        Created(topic, "exists")
        if topic.name in found
        else Created(topic, "refused", reason=refused[topic.name])
        if topic.name in refused
        else Created(topic, made)
        for topic in wanted
    )


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    servers = settings.kafka.bootstrap_servers
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await admin.start()
            yield admin
    except TimeoutError:
        raise BrokerError(
            f"Kafka at {servers} did not answer about its topics within {TIMEOUT_S:g} s",
            kind="timeout",
            remedy="`forebay check` tells more",
        ) from None
    except (kafka_errors.KafkaError, OSError) as error:
        raise BrokerError(
            f"cannot reach Kafka at {servers}: {error}", kind="unreachable", remedy="`forebay check` tells more"
        ) from error
    finally:
        await admin.close()


async def _look(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Found]:
    """Those that are there and led. Asking for a topic by name would make it, on clusters that do that."""
    there = set(await admin.list_topics()) & set(names)
    if not there:
        return {}
    described = {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics(sorted(there))}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs={CLEANUP_POLICY: ""}) for name in sorted(there)]
    policies: dict[str, str | None] = {}
    for answer in await admin.describe_configs(resources):
        for _code, _message, _kind, name, entries, *_ in answer.resources:
            policies[name] = next((entry[1] for entry in entries if entry[0] == CLEANUP_POLICY), None)
    return {name: Found(count, policies.get(name)) for name, count in described.items() if count}


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[WantedTopic]) -> None:
    for name, reason in (await _ask_for(admin, topics, dry_run=False)).items():
        raise BrokerError(
            f"topic {name} is missing and cannot be made: {reason}",
            kind="missing",
            remedy="let this user create topics, or have somebody who may run `forebay topics create`",
        )


async def _ask_for(admin: AIOKafkaAdminClient, topics: Sequence[WantedTopic], *, dry_run: bool) -> dict[str, str]:
    """Why the cluster refused, by topic."""
    answer: Any = await admin.create_topics(
        [
            NewTopic(topic.name, topic.num_partitions, topic.replication_factor, topic_configs=dict(topic.configs))
            for topic in topics
        ],
        validate_only=dry_run,
    )
    refused = {}
    for name, code, *message in answer.topic_errors:
        error = kafka_errors.for_code(code)
        if error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            refused[name] = str(message[0] if message and message[0] else error.__name__)
    return refused


async def _until_there(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Found]:
    while True:
        found = await _look(admin, names)
        if len(found) == len(names):
            return found
        await asyncio.sleep(_LOOK_AGAIN_S)
