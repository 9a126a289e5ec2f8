"""Real workers and an aggregator on a real Kafka, a collector that they send to, and a producer and a reader that trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

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


def shares(log: str) -> int:
    """How many partitions a worker was given last."""
    return re.findall(r"partitions assigned: (.*) \(generation", log)[-1].count("@")


async def test_an_event_is_followed_from_its_producer_to_the_reader_of_its_prediction(
    worker_group: WorkerGroup, fake: FakeCollector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await worker_group.create()
    workers = [worker_group.start(telemetry=telemetry(fake, logs=True)) for _ in range(2)]
    # The aggregator finds its collector as any program that uses OpenTelemetry does.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", fake.endpoint)
    aggregates = AggregatorGroup(worker_group.bootstrap, worker_group.prefix, tmp_path)
    aggregator = aggregates.start()
    mine = TracerProvider(resource=Resource.create({"service.instance.id": "test"}), shutdown_on_exit=False)
    mine.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{fake.endpoint}/v1/traces")))
    tracer = mine.get_tracer("test")
    try:
        await aggregator.says("aggregator ready")
        for worker in workers:
            await worker.ready()
        await eventually(
            lambda: [shares(worker.log) for worker in workers],
            "two partitions for each worker",
            until=lambda seen: seen == [2, 2],
            context=lambda: workers[1].log,
        )

        # Three events a partition: a good one and garbage that are sampled, and a good one that is not.
        sent: dict[str, tuple[str, str]] = {}
        carried: dict[tuple[int, int], bytes] = {}
        async with producer(worker_group.bootstrap) as client:
            for place in range(worker_group.partitions):
                headers: list[list[tuple[str, bytes]]] = []
                for kind in ("good", "garbage"):
                    carrier: dict[str, str] = {}
                    with tracer.start_as_current_span("send features", kind=SpanKind.PRODUCER) as span:
                        inject(carrier)
                        context = span.get_span_context()
                    sent[f"{kind}-{place}"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
                    headers.append([(name, value.encode()) for name, value in carrier.items()])
                headers.append([(TRACEPARENT, f"00-{place + 1:032x}-{place + 1:016x}-00".encode())])
                values = [event(f"good-{place}"), b"garbage", event(f"quiet-{place}")]
                where = TopicPartition(worker_group.topic("features"), place)
                first = await send_batch(client, where, values, headers=headers)
                for index, pairs in enumerate(headers):
                    carried[place, first + index] = dict(pairs)[TRACEPARENT]
        await worker_group.settled()

        predictions = await worker_group.outputs("predictions")
        assert len(predictions) == 2 * worker_group.partitions
        for record in predictions:
            said = orjson.loads(record.value)
            assert dict(record.headers)[TRACEPARENT] == carried[record.partition, said["source"]["offset"]]
            if said["id"].startswith("good"):
                context = extract({name: value.decode() for name, value in record.headers})
                tracer.start_span(f"read {said['id']}", context, kind=SpanKind.CONSUMER).end()
        letters = await worker_group.outputs("dead-letters")
        assert {dict(letter.headers)[TRACEPARENT] for letter in letters} == {
            value for (_, offset), value in carried.items() if offset == 1
        }

        def process_spans() -> list[ReceivedSpan]:
            return [span for span in fake.spans() if span.name == f"process {worker_group.topic('features')}"]

        def aggregator_spans() -> list[ReceivedSpan]:
            return [span for span in fake.spans() if span.name == f"process {worker_group.topic('outcome-deltas')}"]

        await eventually(
            lambda: (
                set(sent.values()) <= {link for span in process_spans() for link in span.links}
                and {span.ids for span in process_spans()} <= {link for one in aggregator_spans() for link in one.links}
            ),
            "spans of all events, and the aggregator's links to them",
            context=lambda: [(span.name, span.links) for span in fake.spans()],
        )
        spans = {span.ids: span for span in fake.spans()}
        batches = process_spans()
        # Each sampled event has one micro-batch, on whichever worker has its partition, and the others have none.
        assert sorted(link for span in batches for link in span.links) == sorted(sent.values())
        assert len({span.instance for span in batches}) == 2
        for span in batches:
            assert span.span.kind == SpanKind.CONSUMER.value + 1
            assert span.attributes["messaging.system"] == "kafka"
            assert span.attributes["messaging.operation.type"] == "process"
            assert span.attributes["messaging.destination.name"] == worker_group.topic("features")
            assert span.attributes["messaging.consumer.group.name"] == worker_group.prefix
            assert span.attributes["messaging.batch.message_count"] >= 3
            assert (span.attributes["forebay.model.name"], span.attributes["forebay.model.version"]) == ("echo", 1)
            assert span.attributes["forebay.batch.reason"] == "delay"
            assert span.attributes["forebay.batch.queue_time"] > 0
            assert span.attributes["forebay.batch.rejected"] >= 1
            children = [one for one in spans.values() if one.span.parent_span_id == span.span.span_id]
            assert sorted(child.name for child in children) == CHILDREN
            for child in children:
                assert child.span.trace_id == span.span.trace_id
                assert span.span.start_time_unix_nano <= child.span.start_time_unix_nano
                assert child.span.start_time_unix_nano <= child.span.end_time_unix_nano
                assert child.span.end_time_unix_nano <= span.span.end_time_unix_nano
        polls = [span for span in spans.values() if span.name == f"poll {worker_group.topic('features')}"]
        assert {link for span in polls for link in span.links} == set(sent.values())
        assert {span.attributes["messaging.operation.type"] for span in polls} == {"receive"}

        # The producer's span and the reader's are one trace.
        for place in range(worker_group.partitions):
            trace_id, span_id = sent[f"good-{place}"]
            (read,) = [span for span in spans.values() if span.name == f"read good-{place}"]
            assert (read.span.trace_id.hex(), read.span.parent_span_id.hex()) == (trace_id, span_id)

        for worker in workers:
            assert await worker.stop() == 0, worker.log
        assert "worker ready" in {record.body.string_value for record in fake.log_records()}
        assert "Bearer secret" in {headers.get("authorization") for headers in fake.headers}
        assert "Bearer" not in "".join(worker.log for worker in workers)
        assert await aggregator.stop() == 0, aggregator.log
    finally:
        aggregates.kill_all()
        mine.shutdown()


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

    def metric(name: str) -> Any:
        (metrics,) = fake.metrics().values()
        return metrics.get(name)

    def lags() -> dict[str, int]:
        found = points(metric("forebay.consumer.lag.records"))
        return {dict(labels)["partition"]: point.as_int for labels, point in found.items()}

    async def until_predicted(count: int) -> None:
        await eventually(
            lambda: total(metric("forebay.events"), outcome="predicted") if fake.metrics() else 0,
            f"{count} predicted events among the metrics",
            until=lambda seen: seen == count,
            context=lambda: worker.log,
        )

    async def until_no_lag() -> None:
        none = dict.fromkeys("0123", 0)
        await eventually(lags, "no lag", until=lambda seen: seen == none, context=lambda: worker.log)

    # What transactions leave at a partition's end is nothing to read: their marks, what was aborted, what is still open.
    async with producer(worker_group.bootstrap, transactional_id=f"{worker_group.prefix}-input") as aborting:
        await aborting.begin_transaction()
        for number in range(10):
            await aborting.send_and_wait(topic, event(f"a{number}"), partition=number % worker_group.partitions)
        await aborting.commit_transaction()
        await aborting.begin_transaction()
        for number in range(10):
            await aborting.send_and_wait(topic, event(f"b{number}"), partition=number % worker_group.partitions)
        await aborting.abort_transaction()
        await aborting.begin_transaction()
        await aborting.send_and_wait(topic, event("c"), partition=0)
        await until_predicted(10)
        await until_no_lag()
        await aborting.commit_transaction()
        await until_predicted(11)

    # A call that hangs: what was read stays in flight, and the rest is the lag, although nothing is fetched any more.
    async with producer(worker_group.bootstrap) as client:
        await send_batch(client, TopicPartition(topic, 1), [event("poison", POISON)])
        await eventually(
            lambda: total(metric("forebay.in_flight.events")),
            "one event in flight",
            until=lambda seen: seen == 1,
            context=lambda: worker.log,
        )
        await send_batch(client, TopicPartition(topic, 1), [event(f"d{number}") for number in range(500)])
        await eventually(
            lambda: (lags()["1"], total(metric("forebay.breaker.state"), breaker="model")),
            "lag, and an open circuit breaker",
            until=lambda seen: seen[0] > 0 and seen[1] == 2,
        )
        await send_batch(client, TopicPartition(topic, 1), [event(f"e{number}") for number in range(250)])
        # 12 were read before these.
        read_of_these = lambda: total(metric("forebay.received.events")) - 12  # noqa: E731
        await eventually(
            lambda: (lags()["1"], read_of_these()), "a lag of what was not read", until=lambda seen: sum(seen) == 750
        )
    assert total(metric("forebay.consumer.lag"), partition="1") > 0
    assert total(metric("forebay.consumer.lag"), partition="2") == 0
    assert total(metric("forebay.in_flight.events")) == 1 + read_of_these()
    flag.unlink()
    await until_predicted(762)
    await until_no_lag()
    assert await worker.stop() == 0, worker.log

    # What is sent last is complete.
    assert total(metric("forebay.received.events"), topic=topic) == 762
    assert total(metric("forebay.commits"), result="committed") >= 3
    assert total(metric("forebay.rebalances")) == 1
    assert total(metric("forebay.breaker.state"), breaker="model") == 0
    assert total(metric("forebay.process.cpu")) > 0
    assert total(metric("forebay.process.memory")) > 1e7
    (latency,) = points(metric("forebay.event.latency")).values()
    assert latency.count == sum(latency.bucket_counts) == 762
    assert latency.max > 0.5
    for name in ("queue", "prepare", "model", "decode", "commit"):
        (point,) = points(metric(f"forebay.{name}.duration")).values()
        assert point.count > 0
