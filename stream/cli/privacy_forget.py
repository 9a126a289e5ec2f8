"""`forebay privacy forget`: find the records of a key in all topics, and write tombstones where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import click

from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.privacy_topics import DeploymentTopic, deployment_topics
from forebay.stream.core.quantities import quantity
from forebay.stream.privacy.erasure import Erasure, ErasureState, KeySearch, TopicErasure, plan_erasure

if TYPE_CHECKING:
    from rich.table import Table

    from forebay.stream.config.sections import Settings

_WORDS: Final = {
    Erasure.TOMBSTONE: "tombstone",
    Erasure.DONE: "has a tombstone",
    Erasure.RETENTION: "retention only",
    Erasure.NEVER: "stays",
}


def forms_of_key(settings: Settings, key: str) -> Callable[[int], tuple[str, ...]]:
    """Return the texts that stand for a key in records of a time. Raises ConfigError as the worker does.

    With the action hash, they include what workers of this configuration write for it. Masked keys of several persons are the
    same, so no record can be found by them.
    """
    from forebay.stream.privacy.policy import Action, Place, Policy
    from forebay.stream.privacy.protector import Protector
    from forebay.stream.worker.privacy_assembly import DAY_MS, detectors_of, pseudonyms_of

    section = settings.privacy
    pseudonyms = pseudonyms_of(section) if section.enabled else None
    if pseudonyms is None:
        return lambda _time_ms: (key,)
    policy = Policy(dict.fromkeys(Place, Action.HASH))
    protector = Protector(detectors_of(section), policy, pseudonyms)
    period_ms = section.hash_period_days * DAY_MS

    @lru_cache(maxsize=64)
    def forms_in(period: int) -> tuple[str, ...]:
        hashed = protector.texts([key], Place.KEYS, now_ms=period * (period_ms or 1)).get(0)
        return (key,) if hashed is None else (key, hashed)

    return lambda time_ms: forms_in(max(0, time_ms) // period_ms if period_ms else 0)


async def find_records(settings: Settings, key: str, others: Sequence[str], *, quiet: bool) -> list[TopicErasure]:
    """Read all topics of the deployment, and return what becomes of the records of the key. Raises BrokerError."""
    from forebay.schemas.errors import BrokerError
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    topics = await deployment_topics(settings, others)
    for topic in topics:
        if topic.problem is not None and (topic.name in others or topic.state.status == "forbidden"):
            raise BrokerError(
                f"{topic.name}: {topic.problem}",
                kind=topic.state.status,
                remedy="all topics must be read to find all records",
            )
    search = KeySearch(forms_of_key(settings, key))
    present = [topic for topic in topics if topic.is_present]
    if present:
        names = [topic.name for topic in present]
        reader = TopicReader(
            client_options(settings.kafka), names, from_beginning=True, clock=SystemClock(), bounded=True
        )
        async with reader:
            ranges = await reader.offset_ranges()
            with bar("reading", quiet=quiet) as progress:
                async for partition, records in reader.within(ranges, on_progress=progress):
                    search.add(partition.topic, partition.partition, records)
    return plan_erasure(search.found, {topic.name: _state(topic) for topic in present})


def _state(topic: DeploymentTopic) -> ErasureState:
    refuses = None
    if topic.is_input:
        refuses = "workers read it, and would make a dead letter of a tombstone, with the key"
    elif topic.is_internal:
        refuses = "it holds the state of the aggregator"
    return ErasureState(topic.cleanup_policy, topic.retention_ms, refuses)


async def write_tombstones(settings: Settings, plan: Sequence[TopicErasure]) -> int:
    """Write the tombstones, each confirmed by the brokers, and return their number. Raises BrokerError."""
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.producer.plain_producer import PlainProducer

    producer, written = PlainProducer(client_options(settings.kafka)), 0
    try:
        await producer.start()
        for topic in plan:
            for partition, key in topic.tombstones:
                await producer.send(topic.topic, key, None, partition=partition)
                written += 1
    finally:
        await producer.stop()
    return written


def document_of(plan: Sequence[TopicErasure], *, dry_run: bool, written: int) -> dict[str, Any]:
    """Return the result as JSON values."""
    return {
        "dry_run": dry_run,
        "records": sum(topic.found.num_records for topic in plan),
        "tombstones_written": written,
        "topics": [topic.to_dict() for topic in plan],
    }


def show_plan(plan: Sequence[TopicErasure]) -> None:
    """Print what is found and what becomes of it."""
    from forebay.stream.terminal.console import print_whole

    if not plan:
        echo("no topic holds a record with this key or id")
        return
    print_whole(_table(plan))


def _table(plan: Sequence[TopicErasure]) -> Table:
    from forebay.stream.core.time_format import local_date_time
    from forebay.stream.terminal.console import plain_table

    numbers = ("records", "as key", "as id")
    table = plain_table("topic", *numbers, "erasure", "gone by", "why", right=numbers)
    for topic in plan:
        row = topic.to_dict()
        table.add_row(
            topic.topic,
            f"{row['records']:,}",
            f"{row['as_key']:,}",
            f"{row['as_id'] + row['as_field_key']:,}",
            _WORDS[topic.erasure],
            "–" if topic.gone_by_ms is None else local_date_time(topic.gone_by_ms),
            topic.reason or "",
        )
    return table


def confirm(plan: Sequence[TopicErasure]) -> bool:
    """Ask whether to write the tombstones."""
    number = sum(len(topic.tombstones) for topic in plan)
    topics = ", ".join(topic.topic for topic in plan if topic.tombstones)
    return click.confirm(f"Write {quantity(number, 'tombstone')} to {topics}?", err=True)


def print_document(plan: Sequence[TopicErasure], *, dry_run: bool, written: int) -> None:
    """Print the result as JSON."""
    echo_json(document_of(plan, dry_run=dry_run, written=written))
