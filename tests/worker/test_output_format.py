"""The format of predictions: the id of their schema at the start, and what other clients read from the topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

import orjson
import pytest
from aiokafka import ConsumerRecord
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from forebay.schemas.binary_outputs import avro_text, proto_text
from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import DecisionSection, OutputSection, SchemaRegistrySection, Settings
from forebay.stream.output.prediction_format import BinaryFormat, BinaryPredictions
from forebay.stream.schema_registry.errors import RegistryUnavailable
from forebay.stream.worker.output_format import binary_predictions
from tests.brokers.resolve import Broker
from tests.core.build import ManualClock
from tests.registry.stub import StubRegistry, stub_registry
from tests.schemas.protoc import message_class
from tests.worker.harness import WorkerGroup, WorkerProcess

TEXTS: dict[str, tuple[str, str]] = {
    "avro": (avro_text("prediction"), "AVRO"),
    "protobuf": (proto_text("prediction"), "PROTOBUF"),
}


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The format of values is nothing that brokers look at."""
    return embedded_broker


def settings(stub: StubRegistry, name: str = "avro", *, auto_register: bool = False, **output: Any) -> Settings:
    return Settings(
        output=OutputSection.model_validate({"format": name, **output}),
        schema_registry=SchemaRegistrySection(urls=(stub.url,), auto_register=auto_register),
        decision=DecisionSection(review_from=0.4, review_to=0.6),
    )


async def found(section: Settings) -> BinaryPredictions | None:
    return await binary_predictions(section, clock=ManualClock())


@pytest.mark.parametrize("name", ["avro", "protobuf"])
@pytest.mark.parametrize(
    ("strategy", "subjects"),
    [
        ("TopicName", ["predictions-value", "review-value"]),
        ("RecordName", ["forebay.Prediction"]),
        ("TopicRecordName", ["predictions-forebay.Prediction", "review-forebay.Prediction"]),
    ],
)
async def test_the_id_is_that_of_the_schema_in_the_subjects_of_the_strategy(
    registry: StubRegistry, name: BinaryFormat, strategy: str, subjects: Sequence[str]
) -> None:
    registry.add("other", '"string"')
    chosen = settings(registry, name, subject_name_strategy=strategy)
    for missing in subjects:
        with pytest.raises(ConfigError, match=f"subject {missing} .* does not exist") as caught:
            await found(chosen)
        assert "schemas register --outputs" in (caught.value.remedy or "")
        registry.add(missing, *TEXTS[name])
    assert await found(chosen) == BinaryPredictions(name, 2)


async def test_a_schema_with_other_comments_is_the_same(registry: StubRegistry) -> None:
    document = orjson.loads(avro_text("prediction"))
    document["doc"] = document["fields"][0]["doc"] = "what an earlier release said"
    for topic in ("predictions", "review"):
        registry.add(f"{topic}-value", orjson.dumps(document).decode())
        registry.add(f"{topic}-value", '{"type": "record", "name": "Other", "fields": []}')
    assert await found(settings(registry)) == BinaryPredictions("avro", 1)


async def test_a_schema_with_other_fields_is_not(registry: StubRegistry) -> None:
    document = orjson.loads(avro_text("prediction"))
    document["fields"].pop()
    registry.add("predictions-value", orjson.dumps(document).decode())
    with pytest.raises(ConfigError, match="differs from all 1 versions"):
        await found(settings(registry))


async def test_with_auto_register_the_start_registers_the_schemas(registry: StubRegistry) -> None:
    assert await found(settings(registry, "protobuf", auto_register=True)) == BinaryPredictions("protobuf", 1)
    assert [known[0].document["schema"] for known in registry.subjects.values()] == [proto_text("prediction")] * 2


async def test_json_needs_no_registry_and_avro_one_that_answers(registry: StubRegistry) -> None:
    assert await found(settings(registry, "json")) is None and not registry.requests
    registry.failures[""] = 503
    with pytest.raises(RegistryUnavailable):
        await found(settings(registry))


def confluent_reader(name: str, url: str) -> Callable[[bytes], Any]:
    """Return confluent-kafka's deserialiser of predictions, as docs/formats.md shows it."""
    if name == "avro":
        deserialise: Any = AvroDeserializer(SchemaRegistryClient({"url": url}))
    else:
        deserialise = ProtobufDeserializer(message_class("prediction"), {"use.deprecated.format": False})
    return lambda value: deserialise(value, SerializationContext("predictions", MessageField.VALUE))


@pytest.mark.parametrize("name", ["avro", "protobuf"])
async def test_confluents_deserialisers_read_what_a_worker_writes(
    worker_group: WorkerGroup, registry: StubRegistry, name: Literal["avro", "protobuf"]
) -> None:
    await worker_group.create(partitions=1)
    registry.add(f"{worker_group.topic('predictions')}-value", *TEXTS[name])
    worker: WorkerProcess = worker_group.start(output={"format": name}, schema_registry={"urls": [registry.url]})
    await worker.ready()
    await worker_group.publish(50)
    await worker_group.settled_by(worker)
    records = await worker_group.outputs("predictions")
    read = confluent_reader(name, registry.url)
    predictions = [await asyncio.to_thread(read, record.value) for record in records]
    worker_group.check_predictions(
        [as_json(*pair) for pair in zip(records, predictions, strict=True)], exactly_once=True
    )


def as_json(record: ConsumerRecord, prediction: Any) -> ConsumerRecord:
    """Return the record with the JSON that says the same."""
    if not isinstance(prediction, dict):
        prediction = {
            "id": prediction.id,
            "prediction": list(prediction.prediction),
            "source": {"partition": prediction.source.partition},
        }
    return ConsumerRecord(**{**vars_of(record), "value": orjson.dumps(prediction)})


def vars_of(record: ConsumerRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ConsumerRecord.__dataclass_fields__}
