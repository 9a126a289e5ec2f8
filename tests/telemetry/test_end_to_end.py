"""Telemetry end to end: real workers and an aggregator on a real Kafka, a collector, and a tracing producer and reader."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from forebay.schemas.headers import TRACEPARENT
from tests.aggregate.harness import AggregatorGroup
from tests.brokers.clients import producer, send_batch
from tests.eventually import eventually
from tests.telemetry.collector import FakeCollector, ReceivedSpan, collector, points, total
from tests.worker.echo import NUM_FEATURES, POISON
from tests.worker.harness import WorkerGroup

CHILDREN = ["commit", "decode", "emit", "model", "prepare"]


@pytest.fixture
def fake() -> Iterator[FakeCollector]:
    with collector() as running:
        yield running


def telemetry(fake: FakeCollector, **more: Any) -> dict[str, Any]:
    return {
        "otlp_endpoint": fake.endpoint,
        "otlp_headers": "authorization=Bearer%20secret",
        "trace_sample_ratio": 0.0,
        "metrics_interval_ms": 1000,
    } | more


def event(event_id: str, first_feature: float = 1.0) -> bytes:
    features = [first_feature, *[1.0] * (NUM_FEATURES - 1)]
    return orjson.dumps({"id": event_id, "timestamp": 1_372_636_800_000, "features": features})


def num_partitions(log: str) -> int:
    """Return the number of partitions in the worker's last assignment."""
    return re.findall(r"partitions assigned: (.*) \(generation", log)[-1].count("@")


class Sent(NamedTuple):
    """Events that were sent with traces.

    ids: trace and span of the producer, by event; headers: traceparent, by partition and offset.
    """

    ids: dict[str, tuple[str, str]]
    headers: dict[tuple[int, int], bytes]


async def send_traced(worker_group: WorkerGroup, tracer: Tracer) -> Sent:
    """Send three events a partition: a good one and garbage that are sampled, and a good one that is not."""
    ids: dict[str, tuple[str, str]] = {}
    traceparents: dict[tuple[int, int], bytes] = {}
    async with producer(worker_group.bootstrap) as client:
        for partition in range(worker_group.partitions):
            headers: list[list[tuple[str, bytes]]] = []
            for kind in ("good", "garbage"):
                carrier: dict[str, str] = {}
                with tracer.start_as_current_span("send features", kind=SpanKind.PRODUCER) as span:
                    inject(carrier)
                    context = span.get_span_context()
                ids[f"{kind}-{partition}"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
                headers.append([(name, value.encode()) for name, value in carrier.items()])
            headers.append([(TRACEPARENT, f"00-{partition + 1:032x}-{partition + 1:016x}-00".encode())])
            values = [event(f"good-{partition}"), b"garbage", event(f"quiet-{partition}")]
            target = TopicPartition(worker_group.topic("features"), partition)
            first = await send_batch(client, target, values, headers=headers)
            for index, pairs in enumerate(headers):
                traceparents[partition, first + index] = dict(pairs)[TRACEPARENT]
    return Sent(ids, traceparents)


async def check_outputs(worker_group: WorkerGroup, tracer: Tracer, sent: Sent) -> None:
    """Outputs carry the trace of their event. Each good prediction is read in a span."""
    predictions = await worker_group.outputs("predictions")
    assert len(predictions) == 2 * worker_group.partitions
    for record in predictions:
        prediction = orjson.loads(record.value)
        assert dict(record.headers)[TRACEPARENT] == sent.headers[record.partition, prediction["source"]["offset"]]
        if prediction["id"].startswith("good"):
            context = extract({name: value.decode() for name, value in record.headers})
            tracer.start_span(f"read {prediction['id']}", context, kind=SpanKind.CONSUMER).end()
    dead_letters = await worker_group.outputs("dead-letters")
    assert {dict(dead_letter.headers)[TRACEPARENT] for dead_letter in dead_letters} == {
        value for (_, offset), value in sent.headers.items() if offset == 1
    }


def spans_named(fake: FakeCollector, name: str) -> list[ReceivedSpan]:
    return [span for span in fake.spans() if span.name == name]


def links(spans: Iterable[ReceivedSpan]) -> list[Any]:
    return [link for span in spans for link in span.links]


def check_batch(span: ReceivedSpan, spans: Collection[ReceivedSpan], worker_group: WorkerGroup) -> None:
    """Check the attributes of a micro-batch's span, and its child spans."""
    assert span.span.kind == SpanKind.CONSUMER.value + 1
    assert span.attributes["messaging.system"] == "kafka"
    assert span.attributes["messaging.operation.type"] == "process"
    assert span.attributes["messaging.destination.name"] == worker_group.topic("features")
    assert span.attributes["messaging.consumer.group.name"] == worker_group.prefix
    assert span.attributes["messaging.batch.message_count"] >= 3
    assert (span.attributes["forebay.model.name"], span.attributes["forebay.model.version"]) == ("echo", 1)
    assert span.attributes["forebay.batch.reason"] == "idle"
    assert span.attributes["forebay.batch.queue_time"] > 0
    assert span.attributes["forebay.batch.rejected"] >= 1
    children = [child for child in spans if child.span.parent_span_id == span.span.span_id]
    assert sorted(child.name for child in children) == CHILDREN
    for child in children:
        assert child.span.trace_id == span.span.trace_id
        assert span.span.start_time_unix_nano <= child.span.start_time_unix_nano
        assert child.span.start_time_unix_nano <= child.span.end_time_unix_nano
        assert child.span.end_time_unix_nano <= span.span.end_time_unix_nano


def check_spans(worker_group: WorkerGroup, fake: FakeCollector, sent: Sent) -> None:
    spans = list({span.ids: span for span in fake.spans()}.values())
    topic = worker_group.topic("features")
    batches = spans_named(fake, f"process {topic}")
    # Each sampled event is linked to one micro-batch, on the worker that has its partition; the others are not linked.
    assert sorted(links(batches)) == sorted(sent.ids.values())
    assert len({span.instance for span in batches}) == 2
    for span in batches:
        check_batch(span, spans, worker_group)
    polls = spans_named(fake, f"poll {topic}")
    assert set(links(polls)) == set(sent.ids.values())
    assert {span.attributes["messaging.operation.type"] for span in polls} == {"receive"}

    # The spans of producer and reader are in one trace.
    for partition in range(worker_group.partitions):
        (read,) = spans_named(fake, f"read good-{partition}")
        assert (read.span.trace_id.hex(), read.span.parent_span_id.hex()) == sent.ids[f"good-{partition}"]


async def test_an_event_is_followed_from_its_producer_to_the_reader_of_its_prediction(
    worker_group: WorkerGroup, fake: FakeCollector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await worker_group.create()
    workers = [worker_group.start(telemetry=telemetry(fake, logs=True)) for _ in range(2)]
    # The aggregator finds its collector through the standard variables of OpenTelemetry.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", fake.endpoint)
    aggregates = AggregatorGroup(worker_group.bootstrap, worker_group.prefix, tmp_path)
    aggregator = aggregates.start()
    provider = TracerProvider(resource=Resource.create({"service.instance.id": "test"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{fake.endpoint}/v1/traces")))
    tracer = provider.get_tracer("test")
    try:
        await aggregator.says("aggregator ready")
        for worker in workers:
            await worker.ready()
        await eventually(
            lambda: [num_partitions(worker.log) for worker in workers],
            "two partitions for each worker",
            until=lambda seen: seen == [2, 2],
            context=lambda: workers[1].log,
        )

        sent = await send_traced(worker_group, tracer)
        await worker_group.settled()
        await check_outputs(worker_group, tracer, sent)

        features, deltas = worker_group.topic("features"), worker_group.topic("outcome-deltas")

        def all_are_linked() -> bool:
            batches, merges = spans_named(fake, f"process {features}"), spans_named(fake, f"process {deltas}")
            return set(sent.ids.values()) <= set(links(batches)) and {span.ids for span in batches} <= set(
                links(merges)
            )

        await eventually(
            all_are_linked,
            "spans of all events, and the aggregator's links to them",
            context=lambda: [(span.name, span.links) for span in fake.spans()],
        )
        check_spans(worker_group, fake, sent)

        for worker in workers:
            assert await worker.stop() == 0, worker.log
        assert "worker ready" in {record.body.string_value for record in fake.log_records()}
        assert "Bearer secret" in {headers.get("authorization") for headers in fake.headers}
        assert "Bearer" not in "".join(worker.log for worker in workers)
        assert await aggregator.stop() == 0, aggregator.log
    finally:
        aggregates.kill_all()
        provider.shutdown()


def metric(fake: FakeCollector, name: str) -> Any:
    (metrics,) = fake.metrics().values()
    return metrics.get(name)


def lags_of(fake: FakeCollector) -> dict[str, int]:
    """Return the lag of each partition, in records."""
    lags = points(metric(fake, "forebay.consumer.lag.records"))
    return {dict(labels)["partition"]: point.as_int for labels, point in lags.items()}


def check_last_metrics(fake: FakeCollector, topic: str) -> None:
    """Check that the last metrics are complete."""
    assert total(metric(fake, "forebay.received.events"), topic=topic) == 762
    assert total(metric(fake, "forebay.commits"), result="committed") >= 3
    assert total(metric(fake, "forebay.rebalances")) == 1
    assert total(metric(fake, "forebay.breaker.state"), breaker="model") == 0
    assert total(metric(fake, "forebay.process.cpu")) > 0
    assert total(metric(fake, "forebay.process.memory")) > 1e7
    (latency,) = points(metric(fake, "forebay.event.latency")).values()
    assert latency.count == sum(latency.bucket_counts) == 762
    assert latency.max > 0.5
    for name in ("queue", "prepare", "model", "decode", "commit"):
        (point,) = points(metric(fake, f"forebay.{name}.duration")).values()
        assert point.count > 0


async def send_committed_and_aborted(client: AIOKafkaProducer, topic: str, partitions: int) -> None:
    """Send ten events in a transaction that is committed, and ten in one that is aborted."""
    for name, end in (("a", client.commit_transaction), ("b", client.abort_transaction)):
        await client.begin_transaction()
        for number in range(10):
            await client.send_and_wait(topic, event(f"{name}{number}"), partition=number % partitions)
        await end()


async def test_metrics_and_a_lag_that_is_right_under_transactions(
    worker_group: WorkerGroup, fake: FakeCollector, tmp_path: Path
) -> None:
    await worker_group.create()
    flag = tmp_path / "hangs"
    flag.touch()
    worker = worker_group.start(
        mode="hang",
        flag=flag,
        telemetry=telemetry(fake),
        limits={"max_in_flight_events": 64},
        model={"call_timeout_ms": 500},
        breaker={"reset_timeout_ms": 60_000},
    )
    await worker.ready()
    topic = worker_group.topic("features")

    async def until_predicted(count: int) -> None:
        await eventually(
            lambda: total(metric(fake, "forebay.events"), outcome="predicted") if fake.metrics() else 0,
            f"{count} predicted events among the metrics",
            until=lambda seen: seen == count,
            context=lambda: worker.log,
        )

    async def until_no_lag() -> None:
        none = dict.fromkeys("0123", 0)
        await eventually(lambda: lags_of(fake), "no lag", until=lambda seen: seen == none, context=lambda: worker.log)

    # Transaction markers, aborted records and open transactions at the end of a partition are not lag.
    async with producer(worker_group.bootstrap, transactional_id=f"{worker_group.prefix}-input") as aborting:
        await send_committed_and_aborted(aborting, topic, worker_group.partitions)
        await aborting.begin_transaction()
        await aborting.send_and_wait(topic, event("c"), partition=0)
        await until_predicted(10)
        await until_no_lag()
        await aborting.commit_transaction()
        await until_predicted(11)

    # A model call hangs: records that were read stay in flight, and the rest is lag, although nothing is fetched any more.
    async with producer(worker_group.bootstrap) as client:
        await send_batch(client, TopicPartition(topic, 1), [event("poison", POISON)])
        await eventually(
            lambda: total(metric(fake, "forebay.in_flight.events")),
            "one event in flight",
            until=lambda seen: seen == 1,
            context=lambda: worker.log,
        )
        await send_batch(client, TopicPartition(topic, 1), [event(f"d{number}") for number in range(500)])
        await eventually(
            lambda: (lags_of(fake)["1"], total(metric(fake, "forebay.breaker.state"), breaker="model")),
            "lag, and an open circuit breaker",
            until=lambda seen: seen[0] > 0 and seen[1] == 2,
        )
        await send_batch(client, TopicPartition(topic, 1), [event(f"e{number}") for number in range(250)])
        # 12 were read before these.
        read_of_these = lambda: total(metric(fake, "forebay.received.events")) - 12  # noqa: E731
        await eventually(
            lambda: (lags_of(fake)["1"], read_of_these()),
            "a lag of all unread records",
            until=lambda seen: sum(seen) == 750,
        )
    assert total(metric(fake, "forebay.consumer.lag"), partition="1") > 0
    assert total(metric(fake, "forebay.consumer.lag"), partition="2") == 0
    assert total(metric(fake, "forebay.in_flight.events")) == 1 + read_of_these()
    flag.unlink()
    await until_predicted(762)
    await until_no_lag()
    assert await worker.stop() == 0, worker.log
    check_last_metrics(fake, topic)
