"""Exactly once over several models, by counting: each event has one outcome of its own model, each window one prediction."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson
from aiokafka import ConsumerRecord

from forebay.schemas import headers as names
from tests.eventtime import reference
from tests.eventtime.windowed import MAX_ROWS
from tests.eventually import eventually
from tests.exactness.checker import Counts, check_input, counts_of, none_of, read_all
from tests.exactness.feed import ID_HEADER, KIND_HEADER, Author, Feed
from tests.exactness.mixture import (
    FAILING,
    MODEL_HEADER,
    MODELS,
    OF_TOPIC,
    WIDTHS,
    WINDOW_SPEC,
    WINDOWS,
    MixtureAuthor,
)
from tests.worker.echo import POISON, STEPS, feature_hash
from tests.worker.harness import OUTPUTS, WorkerGroup

IDLE_TIMEOUT_S = 90.0


class Place(NamedTuple):
    """The position of an event in the input."""

    topic: str
    partition: int
    offset: int


class Event(NamedTuple):
    """A committed record of the input.

    model: the one that it is for.
    outcome: predicted, accepted, late, or the kind of failure.
    fields: the document; empty for garbage.
    """

    id: str
    model: str
    outcome: str
    fields: Mapping[str, Any]
    record: ConsumerRecord


class Window(NamedTuple):
    """A window that the log determines.

    closed_at: the offset of the event that closes it; for one that only the clock closes, the last in the partition.
    """

    key: bytes
    topic: str
    partition: int
    closed_at: int
    num_events: int
    output: float


class Expected(NamedTuple):
    """The outcomes that the log determines. windows: by id."""

    events: dict[Place, Event]
    windows: dict[str, Window]


class Mixture:
    """The workload of three models (see `mixture`)."""

    inputs = tuple(OF_TOPIC)
    outputs = (*OUTPUTS, "late-events")
    options: Mapping[str, Any] = {"models": MODELS}

    def author(self, rng: Any, partitions: int) -> Author:
        return MixtureAuthor(rng, partitions)

    async def prepare(self, worker_group: WorkerGroup, *, replication: int) -> None:
        """Return at once: the models are built by the workers."""

    async def disturb(self, worker_group: WorkerGroup, rng: random.Random) -> None:
        """Return at once."""

    async def complete(self, worker_group: WorkerGroup) -> None:
        """Wait until each window has a prediction, including those that only the clock closes."""
        expected = expected_of({name: await worker_group.outputs(name) for name in self.inputs})

        async def missing() -> list[str]:
            documents = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
            return sorted(expected.windows.keys() - {document["id"] for document in documents})

        await eventually(
            missing,
            f"no window of {len(expected.windows)} without a prediction",
            until=lambda ids: not ids,
            timeout_s=IDLE_TIMEOUT_S,
            every_s=1.0,
        )

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts:
        """Wait until no transaction is open, read everything and count. Raises AssertionError with the first violations."""
        records, logs = await read_all(worker_group)
        expected = expected_of({name: records[name] for name in self.inputs})
        check_input((event.id for event in expected.events.values()), feed)
        check_outcomes(expected, worker_group, records)
        return replace(
            counts_of(worker_group, records, logs), windows=len(expected.windows), late=len(records["late-events"])
        )


def expected_of(inputs: Mapping[str, Sequence[ConsumerRecord]]) -> Expected:
    """Return the outcomes of the events in these topics and the windows that they form."""
    expected = Expected({}, {})
    for topic, records in inputs.items():
        by_partition: dict[int, list[ConsumerRecord]] = defaultdict(list)
        for record in records:
            by_partition[record.partition].append(record)
        for partition, own in by_partition.items():
            events = [_event_of(topic, record) for record in own]
            late = _add_windows(topic, partition, events, expected.windows)
            for event in events:
                offset = event.record.offset
                known = event._replace(outcome="late") if offset in late else event
                expected.events[Place(topic, partition, offset)] = known
    return expected


def _event_of(topic: str, record: ConsumerRecord) -> Event:
    headers = {name: value.decode() for name, value in record.headers}
    if KIND_HEADER in headers:
        return Event(headers[ID_HEADER], headers[MODEL_HEADER], outcome=headers[KIND_HEADER], fields={}, record=record)
    fields = orjson.loads(record.value)
    model = fields.get("model") or headers.get(names.MODEL) or OF_TOPIC[topic]
    outcome = "predicted"
    if model == WINDOWS:
        outcome = "accepted"
    elif model == FAILING and fields["features"][0] == POISON:
        outcome = "model_error"
    return Event(fields["id"], model, outcome=outcome, fields=fields, record=record)


def _add_windows(topic: str, partition: int, events: Sequence[Event], windows: dict[str, Window]) -> set[int]:
    """Add the windows of one partition. Returns the offsets of the events that are late."""
    own = {event.record.offset: event for event in events if event.outcome == "accepted"}
    result, still_open, _ = reference.windows(
        WINDOW_SPEC,
        [reference.Event(offset, event.record.key, event.fields["timestamp"]) for offset, event in own.items()],
        max_rows=MAX_ROWS,
    )
    last = max((event.record.offset for event in events), default=0)
    for closed_at, key, start, end, offsets, _ in [
        *result.closed,
        *((last, *reference.described(window)) for window in still_open),
    ]:
        x_TW = np.zeros((STEPS, WIDTHS[WINDOWS] + 1), dtype=np.float32)
        for step, offset in enumerate(offsets[-STEPS:]):
            x_TW[step] = [*own[offset].fields["features"], 1.0]
        output = feature_hash(x_TW, WINDOWS)
        windows[f"{key.decode()}|{start}|{end}"] = Window(
            key, topic, partition, closed_at=closed_at, num_events=len(offsets), output=output
        )
    assert not result.full
    return set(result.late)


def check_outcomes(
    expected: Expected, worker_group: WorkerGroup, records: Mapping[str, Sequence[ConsumerRecord]]
) -> None:
    """Compare predictions, dead letters, late events and deltas with what is expected."""
    topics = {worker_group.topic(name): name for name in worker_group.inputs}
    outcomes: dict[Place, list[str]] = defaultdict(list)
    windows: Counter[str] = Counter()
    wrong: list[str] = []
    for topic in ("predictions", "dead-letters", "late-events"):
        # By partition of the input: the offset up to which the outputs say that everything has come.
        reached: dict[tuple[str, int], int] = {}
        for record in records[topic]:
            what = f"{topic} {record.partition}@{record.offset}"
            fields = orjson.loads(record.value) if topic == "predictions" else {}
            if "window" in fields:
                window = expected.windows.get(fields["id"])
                windows[fields["id"]] += 1
                fault = _fault_of_window(record, fields, window, topics)
                if window is not None:
                    place = (window.topic, window.partition)
                    reached[place] = max(reached.get(place, -1), window.closed_at)
            else:
                place_of = _source(record, fields, topics)
                event = expected.events.get(place_of)
                outcomes[place_of].append(what)
                fault = "of no committed event" if event is None else _fault(topic, record, fields, event=event)
                if place_of.offset <= reached.get(place_of[:2], -1):
                    fault = fault or f"out of order: after what belongs to offset {reached[place_of[:2]]}"
                reached[place_of[:2]] = max(reached.get(place_of[:2], -1), place_of.offset)
            if fault:
                wrong.append(f"{what}: {fault}")
    visible = {place for place, event in expected.events.items() if event.outcome != "accepted"}
    none_of((place for place in visible if not outcomes[place]), "events have no outcome")
    none_of((f"{place}: {many}" for place, many in outcomes.items() if len(many) > 1), "events have several outcomes")
    none_of(expected.windows.keys() - windows.keys(), "windows have no prediction")
    none_of((one for one, count in windows.items() if count > 1), "windows have several predictions")
    none_of(wrong, "outcomes are not those of their events")
    counts = Counter((event.model, event.outcome) for event in expected.events.values())
    counts[WINDOWS, "window_predicted"] = len(expected.windows)
    _check_deltas(records["outcome-deltas"], +counts)


def _source(record: ConsumerRecord, fields: Mapping[str, Any], topics: Mapping[str, str]) -> Place:
    if fields:
        source = fields["source"]
        return Place(topics[source["topic"]], source["partition"], source["offset"])
    headers = {name: value.decode() for name, value in record.headers}
    topic, partition, offset = (
        headers[name] for name in (names.ERROR_TOPIC, names.ERROR_PARTITION, names.ERROR_OFFSET)
    )
    return Place(topics[topic], int(partition), int(offset))


def _fault_of_window(
    record: ConsumerRecord, fields: Mapping[str, Any], window: Window | None, topics: Mapping[str, str]
) -> str | None:
    if window is None:
        return f"of a window that the log does not have: {fields['id']}"
    source, said = fields["source"], fields["window"]
    seen = (record.key, topics[source["topic"]], source["partition"], record.partition, said["events"])
    wanted = (window.key, window.topic, window.partition, window.partition, window.num_events)
    if seen != wanted or fields["model"] != WINDOWS:
        return f"{seen} of {fields['model']}, expected {wanted}"
    return None if fields["prediction"] == [window.output] else "of other events"


def _fault(topic: str, record: ConsumerRecord, fields: Mapping[str, Any], *, event: Event) -> str | None:
    if (record.key, record.partition) != (event.record.key, event.record.partition):
        return f"key {record.key!r} in partition {record.partition}, but the event has {event.record.key!r}"
    if topic == "predictions":
        said = (fields["id"], fields["model"], "predicted")
        if said != (event.id, event.model, event.outcome):
            return f"{said}, expected {event.outcome} of {event.id} by {event.model}"
        row = np.array(event.fields["features"], dtype=np.float32)
        return None if fields["prediction"] == [feature_hash(row, event.model)] else "of other features"
    headers = {name: value.decode() for name, value in record.headers}
    kind, model = headers[names.ERROR_KIND], headers.get(names.ERROR_MODEL)
    if kind != event.outcome or (kind == "late") != (topic == "late-events"):
        return f"{kind}, expected {event.outcome}"
    if model != (event.model if kind == "model_error" else None):
        return f"failed in the model {model}"
    return None if record.value == event.record.value else "other values"


def _check_deltas(deltas: Sequence[ConsumerRecord], expected: Mapping[tuple[str, str], int]) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    for record in deltas:
        delta = orjson.loads(record.value)
        counted[delta["model"], delta["kind"]] += delta["count"]
    assert counted == expected, f"the deltas sum up to {dict(counted)}, the outcomes are {dict(expected)}"
