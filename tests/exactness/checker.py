"""Exactly once, by counting: every committed event has one outcome, aborted ones have none, and the sums agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson
from aiokafka import ConsumerRecord, TopicPartition

from forebay.schemas import headers as names
from tests.brokers.clients import consumer
from tests.eventually import eventually
from tests.exactness.feed import ID_HEADER, KIND_HEADER, Feed
from tests.exactness.log_scan import LogCounts, scan
from tests.worker.echo import feature_hash
from tests.worker.harness import WorkerGroup, kinds

STABLE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The result of a run.

    aborted_*: transactions that had written records and were aborted.
    windows: how many of the predictions are of windows.
    late: events that were too late for their windows.
    """

    events: int
    predictions: int
    dead_letters: Mapping[str, int]
    aborted_input: int
    aborted_output: int
    aborted_output_records: int
    windows: int = 0
    late: int = 0


class Place(NamedTuple):
    """The position of an event in the input."""

    partition: int
    offset: int


class Event(NamedTuple):
    """A committed record of the input. kind: the expected kind of failure, or None for a valid event."""

    id: str
    kind: str | None
    record: ConsumerRecord


Opened = Callable[[Mapping[str, list[ConsumerRecord]]], Mapping[str, list[ConsumerRecord]]]


async def until_stable(worker_group: WorkerGroup, *, timeout_s: float = STABLE_TIMEOUT_S) -> None:
    """Wait until no transaction is open in any topic: it would hide later records from readers of committed records."""
    places = [
        TopicPartition(worker_group.topic(name), number)
        for name in topics_of(worker_group)
        for number in range(worker_group.partitions)
    ]
    async with (
        consumer(worker_group.bootstrap) as stable,
        consumer(worker_group.bootstrap, isolation_level="read_uncommitted") as written,
    ):

        async def held_back() -> dict[TopicPartition, tuple[int, int]]:
            last_stable, ends = await stable.end_offsets(places), await written.end_offsets(places)
            return {place: (last_stable[place], ends[place]) for place in places if last_stable[place] != ends[place]}

        await eventually(
            held_back,
            "no open transaction (seen: last stable offset and end)",
            until=lambda seen: not seen,
            timeout_s=timeout_s,
            every_s=0.1,
        )


def topics_of(worker_group: WorkerGroup) -> tuple[str, ...]:
    return (*worker_group.inputs, *worker_group.output_topics)


async def read_all(worker_group: WorkerGroup) -> tuple[dict[str, list[ConsumerRecord]], dict[str, LogCounts]]:
    """Wait until no transaction is open, and return the committed records of each topic and the counts of its log."""
    await until_stable(worker_group)
    records = {name: await worker_group.outputs(name) for name in topics_of(worker_group)}
    logs = {
        name: await scan(worker_group.bootstrap, worker_group.topic(name), worker_group.partitions) for name in records
    }
    for name, log in logs.items():
        assert log.open_records == 0
        assert log.committed_records == len(records[name]), (
            f"{name}: a reader did not see exactly the committed records"
        )
    return records, logs


async def check(worker_group: WorkerGroup, feed: Feed, *, opened: Opened = lambda records: records) -> Counts:
    """Wait until no transaction is open, read everything and count. Raises AssertionError with the first few violations.

    opened: returns the records of all topics with plain values, if some are encrypted.
    """
    stored, logs = await read_all(worker_group)
    records = opened(stored)
    events = _events(records["features"])
    check_input((event.id for event in events.values()), feed)
    _check_outcomes(events, worker_group, records["predictions"], records["dead-letters"])
    by_kind = kinds(records["dead-letters"])
    _check_deltas(records["outcome-deltas"], {"predicted": len(records["predictions"]), **by_kind})
    return counts_of(worker_group, records, logs)


def counts_of(
    worker_group: WorkerGroup, records: Mapping[str, Sequence[ConsumerRecord]], logs: Mapping[str, LogCounts]
) -> Counts:
    outputs = [logs[name] for name in worker_group.output_topics]
    return Counts(
        events=sum(len(records[name]) for name in worker_group.inputs),
        predictions=len(records["predictions"]),
        dead_letters=dict(sorted(kinds(records["dead-letters"]).items())),
        aborted_input=max(max(logs[name].abort_markers.values(), default=0) for name in worker_group.inputs),
        aborted_output=len(set().union(*(log.aborted for log in outputs))),
        aborted_output_records=sum(log.aborted_records for log in outputs),
    )


def _events(records: Sequence[ConsumerRecord]) -> dict[Place, Event]:
    events: dict[Place, Event] = {}
    for record in records:
        headers = dict(record.headers)
        if KIND_HEADER in headers:
            event = Event(headers[ID_HEADER].decode(), headers[KIND_HEADER].decode(), record)
        else:
            event = Event(orjson.loads(record.value)["id"], None, record)
        events[Place(record.partition, record.offset)] = event
    return events


def check_input(ids: Iterable[str], feed: Feed) -> None:
    """Check that the input is what the feed has committed. ids: of the events in the input."""
    seen = Counter(ids)
    none_of((one for one, count in seen.items() if count > 1), "events are twice in the input: the feed is wrong")
    none_of(feed.committed - seen.keys(), "events were committed and cannot be read")
    none_of(feed.aborted & seen.keys(), "events were aborted and can be read")


def _check_outcomes(
    events: Mapping[Place, Event],
    worker_group: WorkerGroup,
    predictions: Sequence[ConsumerRecord],
    dead_letters: Sequence[ConsumerRecord],
) -> None:
    features = worker_group.topic("features")
    outcomes: dict[Place, list[str]] = defaultdict(list)
    unknown: list[str] = []
    wrong: list[str] = []
    for topic, records in (("predictions", predictions), ("dead-letters", dead_letters)):
        order: dict[bytes | None, list[Place]] = defaultdict(list)
        for record in records:
            source, place = _source(topic, record)
            event = events.get(place)
            if source != features or event is None:
                unknown.append(f"{topic} {record.partition}@{record.offset} for {source} {place}")
                continue
            outcomes[place].append(f"{topic} {record.partition}@{record.offset}")
            order[record.key].append(place)
            fault = _fault_of_prediction(record, event) if topic == "predictions" else _fault_of_letter(record, event)
            if fault:
                wrong.append(f"{topic} {record.partition}@{record.offset} for {place}: {fault}")
        none_of((key for key, places in order.items() if places != sorted(places)), f"keys are out of order in {topic}")
    none_of(unknown, "outcomes are of no committed event")
    none_of((place for place in events if not outcomes[place]), "events have no outcome")
    none_of((f"{place}: {many}" for place, many in outcomes.items() if len(many) > 1), "events have several outcomes")
    none_of(wrong, "outcomes are not those of their events")


def _source(topic: str, record: ConsumerRecord) -> tuple[str, Place]:
    """Return topic and position of the event that an output belongs to."""
    if topic == "predictions":
        said = orjson.loads(record.value)["source"]
        return said["topic"], Place(said["partition"], said["offset"])
    headers = dict(record.headers)
    place = Place(int(headers[names.ERROR_PARTITION]), int(headers[names.ERROR_OFFSET]))
    return headers[names.ERROR_TOPIC].decode(), place


def _fault_of_prediction(record: ConsumerRecord, event: Event) -> str | None:
    said = orjson.loads(record.value)
    if event.kind is not None:
        return f"a prediction for garbage of kind {event.kind}"
    if (said["id"], record.key, record.partition) != (event.id, event.record.key, event.record.partition):
        return f"id {said['id']}, key {record.key!r}, but the event has {event.id}, {event.record.key!r}"
    features = np.array(orjson.loads(event.record.value)["features"], dtype=np.float32)
    return None if said["prediction"] == [feature_hash(features)] else "the prediction is of other features"


def _fault_of_letter(record: ConsumerRecord, event: Event) -> str | None:
    headers = dict(record.headers)
    kind = headers[names.ERROR_KIND].decode()
    if kind != event.kind:
        return f"rejected as {kind}, expected {event.kind}"
    same = (record.key, record.value, headers[ID_HEADER].decode(), record.partition)
    expected = (event.record.key, event.record.value, event.id, event.record.partition)
    return None if same == expected else f"{same} is not the event {expected}"


def _check_deltas(deltas: Sequence[ConsumerRecord], expected: Mapping[str, int]) -> None:
    counted: Counter[str] = Counter()
    for record in deltas:
        delta = orjson.loads(record.value)
        counted[delta["kind"]] += delta["count"]
    assert counted == expected, f"the deltas sum up to {dict(counted)}, the outcomes are {dict(expected)}"


def none_of(offenders: Iterable[object], what: str) -> None:
    """Check that there are no offenders. what: describes them in the failure message."""
    found = list(offenders)
    assert not found, f"{len(found)} {what}, the first: {found[:5]}"
