"""The checker of the proof over several models finds each kind of violation in outputs that are otherwise right."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import ConsumerRecord

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.core.build import JULY
from tests.exactness.mixture import SLOW, WINDOWS, MixtureAuthor
from tests.exactness.mixture_checker import Event, Expected, Mixture, Place, check_outcomes, expected_of
from tests.worker.echo import feature_hash
from tests.worker.harness import WorkerGroup

PARTITIONS = 2
Outputs = dict[str, list[ConsumerRecord]]


@pytest.fixture
def worker_group(tmp_path: Path) -> WorkerGroup:
    """A group that is only named: there is no broker."""
    group = WorkerGroup("127.0.0.1:1", "t", tmp_path, partitions=PARTITIONS)
    group.inputs, group.output_topics = Mixture.inputs, Mixture.outputs
    return group


@pytest.fixture
def expected() -> Expected:
    """What 600 events come to."""
    author, inputs, ends = MixtureAuthor(random.Random(16), PARTITIONS), defaultdict(list), Counter[tuple[str, int]]()
    for number in range(60):
        for event in author.write(10, JULY + 100 * number):
            place = (event.topic, event.partition)
            inputs[event.topic].append(record_of(*place, event.key, event.value, event.headers, offset=ends[place]))
            ends[place] += 1
    return expected_of(inputs)


def record_of(
    topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[Any] = (), *, offset: int = 0
) -> Any:
    return ConsumerRecord(
        topic,
        partition,
        offset=offset,
        timestamp=JULY,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=headers,
    )


def outputs_of(expected: Expected, worker_group: WorkerGroup) -> Outputs:
    """Return the outputs of a worker without faults."""
    outputs: Outputs = {name: [] for name in Mixture.outputs}
    records: list[tuple[str, int, int, str, Any]] = []
    for place, event in expected.events.items():
        if event.outcome != "accepted":
            records.append((*place, *_output_of(place, event, worker_group)))
    for window_id, window in expected.windows.items():
        source = {"topic": worker_group.topic(window.topic), "partition": window.partition, "offset": 0}
        said = {"id": window_id, "model": WINDOWS, "prediction": [window.output], "source": source}
        value = orjson.dumps(said | {"window": {"events": window.num_events}})
        record = record_of("predictions", window.partition, window.key, value)
        records.append((window.topic, window.partition, window.closed_at, "predictions", record))
    for *_, topic, record in sorted(records, key=lambda one: one[:3]):
        outputs[topic].append(record)
    counts = Counter((event.model, event.outcome) for event in expected.events.values())
    counts[WINDOWS, "window_predicted"] = len(expected.windows)
    for (model, kind), count in counts.items():
        delta = orjson.dumps({"model": model, "kind": kind, "count": count})
        outputs["outcome-deltas"].append(record_of("outcome-deltas", 0, None, delta))
    return outputs


def _output_of(place: Place, event: Event, worker_group: WorkerGroup) -> tuple[str, Any]:
    topic, partition, offset = worker_group.topic(place.topic), place.partition, place.offset
    if event.outcome == "predicted":
        features = np.array(event.fields["features"], dtype=np.float32)
        said = {"id": event.id, "model": event.model, "prediction": [feature_hash(features, event.model)]}
        value = orjson.dumps(said | {"source": {"topic": topic, "partition": partition, "offset": offset}})
        return "predictions", record_of("predictions", partition, event.record.key, value)
    headers: Headers = [
        (names.ERROR_KIND, event.outcome.encode()),
        (names.ERROR_TOPIC, topic.encode()),
        (names.ERROR_PARTITION, b"%d" % partition),
        (names.ERROR_OFFSET, b"%d" % offset),
    ]
    if event.outcome == "model_error":
        headers.append((names.ERROR_MODEL, event.model.encode()))
    name = "late-events" if event.outcome == "late" else "dead-letters"
    return name, record_of(name, partition, event.record.key, event.record.value, headers=headers)


def first(records: Sequence[ConsumerRecord], *, windows: bool = False, model: str | None = None) -> int:
    """Return the index of the first prediction of this kind."""
    for index, record in enumerate(records):
        said = orjson.loads(record.value)
        if ("window" in said) == windows and model in (None, said["model"]):
            return index
    raise AssertionError("no such prediction")


def change(records: list[ConsumerRecord], index: int, **fields: object) -> None:
    records[index] = replace(records[index], value=orjson.dumps(orjson.loads(records[index].value) | fields))


def _lose_event(outputs: Outputs) -> None:
    del outputs["predictions"][first(outputs["predictions"])]


def _lose_letter(outputs: Outputs) -> None:
    del outputs["dead-letters"][3]


def _lose_window(outputs: Outputs) -> None:
    del outputs["predictions"][first(outputs["predictions"], windows=True)]


def _repeat_event(outputs: Outputs) -> None:
    predictions = outputs["predictions"]
    predictions.append(predictions[first(predictions)])


def _repeat_window(outputs: Outputs) -> None:
    predictions = outputs["predictions"]
    predictions.append(predictions[first(predictions, windows=True)])


def _predict_by_another_model(outputs: Outputs) -> None:
    change(outputs["predictions"], first(outputs["predictions"], model=SLOW), model="failing")


def _predict_other_features(outputs: Outputs) -> None:
    change(outputs["predictions"], first(outputs["predictions"]), prediction=[1.0])


def _predict_other_window(outputs: Outputs) -> None:
    change(outputs["predictions"], first(outputs["predictions"], windows=True), prediction=[1.0])


def _exchange_order(outputs: Outputs) -> None:
    predictions = outputs["predictions"]
    predictions[0], predictions[1] = predictions[1], predictions[0]


def _publish_window_too_early(outputs: Outputs) -> None:
    predictions = outputs["predictions"]
    windows = [index for index, record in enumerate(predictions) if b'"window":' in record.value]
    predictions.insert(0, predictions.pop(windows[-1]))


def _count_too_few(outputs: Outputs) -> None:
    change(outputs["outcome-deltas"], 0, count=1)


def _count_for_another_model(outputs: Outputs) -> None:
    change(outputs["outcome-deltas"], 0, model="nobody")


def _publish_late_event_as_dead_letter(outputs: Outputs) -> None:
    outputs["dead-letters"].append(outputs["late-events"].pop())


VIOLATIONS: dict[Callable[[Outputs], None], str] = {
    _lose_event: "events have no outcome",
    _lose_letter: "events have no outcome",
    _lose_window: "windows have no prediction",
    _repeat_event: "several outcomes",
    _repeat_window: "several predictions",
    _predict_by_another_model: "expected predicted of",
    _predict_other_features: "of other features",
    _predict_other_window: "of other events",
    _exchange_order: "out of order",
    _publish_window_too_early: "out of order",
    _count_too_few: "the deltas sum up",
    _count_for_another_model: "the deltas sum up",
    _publish_late_event_as_dead_letter: "late, expected late|out of order",
}


def test_outputs_without_violations_are_accepted(expected: Expected, worker_group: WorkerGroup) -> None:
    assert {event.outcome for event in expected.events.values()} >= {"predicted", "accepted", "late", "model_error"}
    assert len(expected.windows) > 50
    check_outcomes(expected, worker_group, outputs_of(expected, worker_group))


@pytest.mark.parametrize("violate", VIOLATIONS, ids=lambda violate: violate.__name__.strip("_"))
def test_each_violation_is_found(
    expected: Expected, worker_group: WorkerGroup, violate: Callable[[Outputs], None]
) -> None:
    outputs = outputs_of(expected, worker_group)
    violate(outputs)
    with pytest.raises(AssertionError, match=VIOLATIONS[violate]):
        check_outcomes(expected, worker_group, outputs)
