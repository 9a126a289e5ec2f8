"""Predictions in Avro and Protobuf are parsed like those in JSON, also after the registry was unreachable."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, get_args

import fastavro
import numpy as np
import orjson
import pytest

from forebay.schemas.binary_outputs import avro_text, proto_text
from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, MicroBatch, Record, TopicPartition
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.prediction_parser import ParsedPredictions, PredictionParser
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.experiments.blocks import key_blocks
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.prediction_format import BinaryFormat, BinaryPredictions
from forebay.stream.output.slices import SliceColumn
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.framing import frame
from tests.core.build import JULY, FakeRecord, chunk, finish
from tests.evaluate.records import Polled, label, prediction
from tests.evaluate.test_evaluator import Cluster, evaluator_on, run_until_read
from tests.evaluate.test_joins import L0, P0
from tests.registry.stub import StubRegistry, stub_registry

PLACE = TopicPartition("predictions", 0)
SLICES = [SliceColumn("x", 0, ("missing", "a", "b"))]


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


def results() -> list[tuple[BatchResult, tuple[str, ...], int]]:
    events = chunk([3, 4])
    events.x_BF[:, 0] = [0, 1]
    of_classes = finish(MicroBatch(0, (events,), "size", 0.0))
    regression = dataclasses.replace(
        of_classes, classes_B=None, confidences_B=None, values_BO=of_classes.values_BO[:, :1]
    )
    return [(of_classes, ("no", "yes"), 2), (of_classes, (), 2), (regression, (), 0)]


def encoded(name: BinaryFormat | None, schema_id: int = 0) -> list[Record]:
    values: list[bytes] = []
    for result, labels, num_classes in results():
        model: Any = {"model": "m", "version": 3, "labels": labels, "num_classes": num_classes, "slices": SLICES}
        encoder = PredictionEncoder(**model) if name is None else BinaryPredictions(name, schema_id).encoder(**model)
        values += encoder.encode(result, result.batch.chunks[0], 0, None)  # type: ignore[arg-type]
    return [FakeRecord(offset, value, key=b"k", timestamp=JULY) for offset, value in enumerate(values)]


def parser(documents: PredictionDocuments | None) -> PredictionParser:
    slices = SliceValues(("x",), max_values=10)
    return PredictionParser("position", slices=slices, max_future_ms=10**9, blocks=key_blocks, documents=documents)


def comparable(parsed: ParsedPredictions) -> list[object]:
    def plain(value: object) -> object:
        return value.tolist() if isinstance(value, np.ndarray) else value

    columns = [
        [(field.name, plain(getattr(part, field.name))) for field in dataclasses.fields(part)]
        for part in parsed.columns
    ]
    return [columns, parsed.refused]


@pytest.mark.parametrize("name", get_args(BinaryFormat))
async def test_the_columns_are_those_of_the_json(registry: StubRegistry, name: BinaryFormat) -> None:
    text = avro_text("prediction") if name == "avro" else proto_text("prediction")
    added = registry.add("predictions-value", text, name.upper())
    mixed = [*encoded(name, added.id)[:3], *encoded(None)[3:]]
    async with open_registry(SchemaRegistrySection(urls=(registry.url,))) as client:
        documents = PredictionDocuments(client)
        await documents.resolve({PLACE: mixed, TopicPartition("labels", 0): mixed}, ["predictions"], lambda: True)
        parsed = parser(documents).parse(mixed)
    assert comparable(parsed) == comparable(parser(None).parse(encoded(None)))
    assert not parsed.refused and sum(len(columns.offsets_B) for columns in parsed.columns) == 6


async def test_a_prediction_of_a_later_release_is_read_by_the_schema_that_wrote_it(registry: StubRegistry) -> None:
    later = orjson.loads(avro_text("prediction"))
    later["fields"].insert(0, {"name": "new", "type": "string"})
    added = registry.add("predictions-value", orjson.dumps(later).decode())
    values = [frame(added.id, b"\2n" + record.value[5:]) for record in encoded("avro") if record.value]
    records: Sequence[Record] = [FakeRecord(i, value, key=b"k", timestamp=JULY) for i, value in enumerate(values)]
    async with open_registry(SchemaRegistrySection(urls=(registry.url,))) as client:
        documents = PredictionDocuments(client)
        await documents.resolve({PLACE: records}, ["predictions"], lambda: True)
        assert comparable(parser(documents).parse(records)) == comparable(parser(None).parse(encoded(None)))


async def test_a_registry_that_is_away_is_waited_for_and_an_unknown_schema_refused(registry: StubRegistry) -> None:
    added = registry.add("predictions-value", avro_text("prediction"))
    records = [*encoded("avro", added.id)[:1], *encoded("avro", 99)[1:2]]
    registry.failures[""] = 503
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        registry.failures.clear()

    async with open_registry(SchemaRegistrySection(urls=(registry.url,))) as client:
        documents = PredictionDocuments(client, sleep=sleep)
        await documents.resolve({PLACE: records}, ["predictions"], lambda: True)
        parsed = parser(documents).parse(records)
        assert waits == [1.0] and sum(len(columns.offsets_B) for columns in parsed.columns) == 1
        (refusal,) = parsed.refused
        assert refusal.offset == 1 and "id 99" in refusal.detail
        before = registry.requests.total()
        await documents.resolve({PLACE: records}, ["predictions"], lambda: True)
        assert registry.requests.total() == before, "a schema is not asked for with every poll"


async def test_waiting_ends_if_the_records_are_not_wanted_any_more(registry: StubRegistry) -> None:
    registry.failures[""] = 503
    wanted = [True, False]

    async def sleep(seconds: float) -> None:
        pass

    async with open_registry(SchemaRegistrySection(urls=(registry.url,))) as client:
        documents = PredictionDocuments(client, sleep=sleep)
        assert not await documents.resolve({PLACE: encoded("avro", 1)[:1]}, ["predictions"], lambda: wanted.pop(0))
    assert not wanted


def test_without_a_registry_only_json_is_read() -> None:
    parsed = parser(PredictionDocuments()).parse(encoded("avro", 1)[:1])
    assert [refusal.detail for refusal in parsed.refused] == ["the value is not JSON"]


def in_avro(record: Polled, schema_id: int) -> Polled:
    written = io.BytesIO()
    schema = fastavro.parse_schema(orjson.loads(avro_text("prediction")))
    fastavro.schemaless_writer(written, schema, orjson.loads(record.value or b""))
    return dataclasses.replace(record, value=frame(schema_id, written.getvalue()))


async def test_an_evaluator_counts_predictions_in_avro_once_the_registry_answers(registry: StubRegistry) -> None:
    added = registry.add("predictions-value", avro_text("prediction"))
    registry.failures[""] = 503
    cluster = Cluster()
    cluster.polls = [{P0: [in_avro(prediction(number), added.id) for number in (0, 1)]}, {L0: [label(0)]}]

    async def sleep(seconds: float) -> None:
        assert not cluster.committed, "nothing is committed while the schema is not known"
        registry.failures.clear()

    async with open_registry(SchemaRegistrySection(urls=(registry.url,))) as client:
        evaluator = evaluator_on(cluster, documents=PredictionDocuments(client, sleep=sleep))
        await run_until_read(evaluator, cluster)
    ref = ModelRef("late", 3)
    assert (evaluator.totals.predictions[ref], evaluator.totals.matched[ref]) == (2, 1)
    assert cluster.committed == {P0: 2, L0: 1}
