"""A worker predicts the same events in every format, mixed in one topic: byte-identical predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.signature import Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.core.outputs import Headers
from tests.brokers.resolve import Broker
from tests.formats.events import (
    MIXED,
    NUMBERS,
    FeatureEvent,
    Wire,
    WireFormat,
    events_of,
    json_mapped,
    mapping_of,
    wire_formats,
)
from tests.registry.stub import StubRegistry, stub_registry
from tests.worker.echo import feature_hash
from tests.worker.harness import WorkerGroup, kinds

COUNT = 12
MODELS = {"numbers": NUMBERS, "mixed": MIXED}
REFUSED = Wire(b"\x00\x00\x00\x00\x01not Avro")


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: formats are decoded behind the consumer."""
    return embedded_broker


def registered(registry: StubRegistry, signature: Signature) -> dict[str, WireFormat]:
    """Return the formats after registering their schemas, with the ids that the registry gives them."""
    ids = []
    for name, wire_format in wire_formats(signature, first_id=1).items():
        if wire_format.schema is not None:
            ids.append(
                registry.add(
                    f"{name}-{signature.features[-1].name}", wire_format.schema.text, wire_format.schema.type
                ).id
            )
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    return wire_formats(signature, first_id=ids[0])


def wires_of(formats: dict[str, WireFormat], events: Sequence[FeatureEvent], model: str) -> list[tuple[str, Wire]]:
    """Return the record of each event in each format, the formats in turn, with the ids that their predictions have."""
    found = []
    for event in events:
        for number, wire_format in enumerate(formats.values()):
            event_id = f"{model}/{number}/{event.id}"
            wire = wire_format.encode(replace(event, id=event_id))
            found.append((event_id, replace(wire, headers=(*wire.headers, ("forebay-model", model.encode())))))
    return found


async def test_predictions_of_all_formats_are_identical(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1, inputs=["features", "mapped"])
    events = {model: events_of(signature, COUNT) for model, signature in MODELS.items()}
    async with stub_registry() as registry:
        formats = {model: registered(registry, signature) for model, signature in MODELS.items()}
        sent = [pair for model in MODELS for pair in wires_of(formats[model], events[model], model)]
        order = np.random.default_rng(1).permutation(len(sent)).tolist()
        wires = [sent[index][1] for index in order] + [REFUSED]
        mapped = [json_mapped(replace(event, id=f"mixed/mapped/{event.id}")).value for event in events["mixed"]]
        worker = worker_group.start(
            models=[_model(model, topics) for model, topics in (("numbers", ["features"]), ("mixed", ["mapped"]))],
            schema_registry={"urls": [registry.url]},
            input={"mappings": {"mapped": mapping_of(MIXED)}},
        )
        headers: list[Headers] = [list(wire.headers) for wire in wires]
        await worker_group.send([[wire.value for wire in wires]], headers=[headers])
        await worker_group.send([mapped], topic="mapped")
        await worker_group.settled_by(worker)
    predictions = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert Counter(document["id"] for document in predictions) == Counter(
        [event_id for event_id, _ in sent] + [f"mixed/mapped/{event.id}" for event in events["mixed"]]
    )
    _check_equal(predictions, {model: len(formats[model]) + (model == "mixed") for model in MODELS})
    assert kinds(await worker_group.outputs("dead-letters")) == {FailureKind.INVALID_PAYLOAD: 1}


def _model(name: str, topics: Sequence[str]) -> dict[str, Any]:
    features = [feature.to_dict() for feature in MODELS[name].features]
    return {"name": name, "topics": topics, "features": features}


def _check_equal(predictions: Sequence[dict[str, Any]], num_formats: dict[str, int]) -> None:
    """Check that all predictions of an event have the same bytes, besides the id and the position."""
    found: dict[tuple[str, str], Counter[bytes]] = {}
    for document in predictions:
        model, _, event_id = document["id"].split("/")
        same = orjson.dumps({**document, "id": event_id, "source": document["source"]["timestamp"]})
        found.setdefault((model, event_id), Counter())[same] += 1
    for (model, event_id), counts in found.items():
        assert list(counts.values()) == [num_formats[model]], (model, event_id, counts)
    numbers = {event.id: event for event in events_of(NUMBERS, COUNT)}
    for document in predictions:
        model, _, event_id = document["id"].split("/")
        if model == "numbers":
            row = np.array(list(numbers[event_id].features.values()), dtype=np.float32)
            assert document["prediction"] == [feature_hash(row, "numbers")]
