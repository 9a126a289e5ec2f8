"""Predictions in Avro and Protobuf are parsed like those in JSON, also after the registry was unreachable."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, get_args

import fastavro
import numpy as np
import orjson
import pytest

from forebay.schemas.binary_outputs import avro_text, proto_text
from forebay.stream.config.sections import SchemaRegistrySection, Settings
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, MicroBatch, Record, TopicPartition
from forebay.stream.evaluate.admin import EvaluatorAdmin
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.prediction_parser import ParsedPredictions, PredictionParser
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.experiments.blocks import key_blocks
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.prediction_format import BinaryFormat, BinaryPredictions
from forebay.stream.output.slices import SliceColumn
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.resolver import build_resolver
from tests.core.build import JULY, FakeRecord, ManualClock, chunk, finish
from tests.evaluate.records import Polled, label, prediction
from tests.evaluate.test_evaluator import Cluster, evaluator_on
from tests.evaluate.test_joins import L0, P0
from tests.eventually import eventually
from tests.registry.stub import StubRegistry, stub_registry

PLACE = TopicPartition("predictions", 0)
SLICES = [SliceColumn("x", 0, ("missing", "a", "b"))]


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


@asynccontextmanager
async def reading(
    registry: StubRegistry, *, clock: Clock | None = None, on_unknown_id: Literal["retry", "reject"] = "retry"
) -> AsyncIterator[PredictionDocuments]:
    section = SchemaRegistrySection(
        urls=(registry.url,), on_unknown_id=on_unknown_id, retry_backoff_ms=1, retry_backoff_max_ms=1_000
    )
    async with open_registry(section) as client:
        resolver = build_resolver(section, client, clock=clock or SystemClock())
        try:
            yield PredictionDocuments(resolver)
        finally:
            await resolver.stop()


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
    async with reading(registry) as documents:
        polled = {PLACE: mixed, TopicPartition("labels", 0): mixed}
        await eventually(lambda: documents.problem(polled, ["predictions"]) is None, "the schema")
        parsed = parser(documents).parse(mixed)
    assert comparable(parsed) == comparable(parser(None).parse(encoded(None)))
    assert not parsed.refused and sum(len(columns.offsets_B) for columns in parsed.columns) == 6


async def test_a_prediction_of_a_later_release_is_read_by_the_schema_that_wrote_it(registry: StubRegistry) -> None:
    later = orjson.loads(avro_text("prediction"))
    later["fields"].insert(0, {"name": "new", "type": "string"})
    added = registry.add("predictions-value", orjson.dumps(later).decode())
    values = [frame(added.id, b"\2n" + record.value[5:]) for record in encoded("avro") if record.value]
    records: Sequence[Record] = [FakeRecord(i, value, key=b"k", timestamp=JULY) for i, value in enumerate(values)]
    async with reading(registry) as documents:
        await eventually(lambda: documents.problem({PLACE: records}, ["predictions"]) is None, "the schema")
        assert comparable(parser(documents).parse(records)) == comparable(parser(None).parse(encoded(None)))


async def test_a_registry_that_is_away_is_waited_for(registry: StubRegistry) -> None:
    added = registry.add("predictions-value", avro_text("prediction"))
    polled = {PLACE: encoded("avro", added.id)[:1]}
    registry.failures[""] = 503
    async with reading(registry) as documents:
        assert documents.problem(polled, ["labels"]) is None, "only predictions have schemas"
        await eventually(lambda: "status 503" in str(documents.problem(polled, ["predictions"])), "the reason")
        registry.failures.clear()
        await eventually(lambda: documents.problem(polled, ["predictions"]) is None, "the schema")
        assert not parser(documents).parse(polled[PLACE]).refused


async def test_a_schema_that_the_registry_lacks_is_asked_for_again(registry: StubRegistry) -> None:
    polled = {PLACE: encoded("avro", 1)[:1]}
    async with reading(registry) as documents:
        await eventually(lambda: "does not have" in str(documents.problem(polled, ["predictions"])), "the reason")
        assert registry.add("predictions-value", avro_text("prediction")).id == 1
        await eventually(lambda: documents.problem(polled, ["predictions"]) is None, "the schema")
        assert not parser(documents).parse(polled[PLACE]).refused


async def test_an_unknown_schema_is_refused_for_a_while_if_so_configured(registry: StubRegistry) -> None:
    polled = {PLACE: encoded("avro", 1)[:1]}
    clock = ManualClock()
    async with reading(registry, on_unknown_id="reject", clock=clock) as documents:
        for _ in range(2):
            await eventually(lambda: documents.problem(polled, ["predictions"]) is None, "the answer")
            (refusal,) = parser(documents).parse(polled[PLACE]).refused
            assert refusal.offset == 0 and "id 1" in refusal.detail
            documents.end_wait()
        assert registry.requests.total() == 1, "a schema is not asked for with every poll"
        registry.add("predictions-value", avro_text("prediction"))
        clock.advance(60.0)
        assert documents.problem(polled, ["predictions"]) == "waiting for the schema with id 1 of predictions"
        await eventually(lambda: documents.problem(polled, ["predictions"]) is None, "the schema")
        assert not parser(documents).parse(polled[PLACE]).refused


async def test_look_ups_end_if_the_records_are_not_wanted_any_more(registry: StubRegistry) -> None:
    registry.failures[""] = 503
    cluster = Cluster()
    cluster.polls = [{P0: [in_avro(prediction(0), 1)]}]
    async with reading(registry) as documents:
        evaluator = evaluator_on(cluster, documents=documents)
        running = asyncio.create_task(evaluator.run())
        await eventually(lambda: registry.requests.total() >= 2, "a second request")
        cluster.epoch = None
        await eventually(lambda: evaluator.waits_for_schema is None, "the end of the wait")
        await eventually(lambda: not lookups(), "the end of the look-up")
        evaluator.stop()
        await running
    assert cluster.calls == ["pause", "resume"] and not cluster.committed


def lookups() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("resolve schema")]


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
    cluster.polls = [{P0: [in_avro(prediction(number), added.id) for number in (0, 1)]}]
    clock = ManualClock()
    async with reading(registry) as documents:
        evaluator = evaluator_on(cluster, documents=documents, clock=clock)
        admin = EvaluatorAdmin(Settings(), evaluator, clock=clock)
        admin.progress.started = True
        running = asyncio.create_task(evaluator.run())
        await eventually(lambda: "status 503" in str(admin.readiness().reasons), "the reason")
        assert not admin.readiness().ok and not cluster.committed and cluster.calls == ["pause"]
        for _ in range(10):  # an outage of ten minutes: the loop is alive
            clock.advance(60.0)
            await eventually(lambda: evaluator.last_step_s == clock.monotonic_s(), "a step")
            assert admin.liveness().ok
        registry.failures.clear()
        await eventually(lambda: evaluator.totals.commits > 0, "the commit")
        cluster.polls = [{L0: [label(0)]}]
        await eventually(lambda: evaluator.totals.commits > 1, "the label")
        assert admin.readiness().ok
        evaluator.stop()
        await running
    ref = ModelRef("late", 3)
    assert (evaluator.totals.predictions[ref], evaluator.totals.matched[ref]) == (2, 1)
    assert cluster.committed == {P0: 2, L0: 1} and "resume" in cluster.calls
