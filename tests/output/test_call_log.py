"""The performance of a model's calls in the deltas of a commit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.delta import parse_measured_delta
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, MicroBatch, RowFailure, TopicPartition
from forebay.stream.output.call_log import CallLog, MeasuredLane
from forebay.stream.output.emitter import Emission, Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from forebay.stream.rollouts.performance import Performance, ProcessUsage
from tests.core.build import MODEL, chunk, finish

LANE = MeasuredLane(queue_delay_s=0.005, memory_bytes=1 << 20)


def emitter(measured: MeasuredLane | None) -> Emitter:
    topics = OutputTopics(
        OutputTopic("predictions", 2, 10_000),
        OutputTopic("dead-letters", 2, 10_000),
        OutputTopic("outcome-deltas", 1, 10_000),
    )
    return Emitter(
        PredictionEncoder(model=MODEL.name, version=MODEL.version, labels=("no", "yes"), num_classes=2),
        model=MODEL.name,
        version=MODEL.version,
        topics=topics,
        placer=Placer({"features": 2}, len),
        worker="w",
        measured=measured,
    )


def result(offsets: list[int], *, latency_s: float, model_s: float, cpu_s: float = 0.25) -> BatchResult:
    finished = finish(MicroBatch(0, (chunk(offsets),), "size", opened_s=10.0))
    return replace(finished, model_s=model_s, started_s=10.0 + latency_s - model_s, cpu_s=cpu_s)


def deltas(emission: Emission) -> list[dict[str, object]]:
    return [
        orjson.loads(value or b"")
        for place, out in emission.outgoing.items()
        if place.topic == "outcome-deltas"
        for value in out.values
    ]


def test_one_delta_of_a_commit_has_the_performance_of_all_calls() -> None:
    failed = result([3, 4], latency_s=0.02, model_s=0.004)
    failed.failures[1] = RowFailure(FailureKind.OUTPUT_NOT_FINITE, "output 0 is NaN or infinite")
    first, second = deltas(emitter(LANE).emit([result([0, 1, 2], latency_s=0.01, model_s=0.002), failed]))
    assert "performance" not in second
    parsed = parse_measured_delta(orjson.dumps(first))
    assert parsed is not None
    found = parsed[1]
    assert found is not None
    assert (found.rows, found.calls, found.not_finite, found.cpu_s, found.gpu_s) == (5, 2, 1, 0.5, None)
    assert found.memory_bytes == 1 << 20 and found.queue_delay_s == 0.005
    assert found.latency.quantile(0.6) == pytest.approx(0.01, rel=0.09)
    assert found.latency.quantile(0.61) == pytest.approx(0.02, rel=0.09)
    assert found.model_time.quantile(1.0) == pytest.approx(0.004, rel=0.09)


def test_without_rollouts_and_without_rows_there_is_no_performance() -> None:
    ran = result([0, 1], latency_s=0.01, model_s=0.002)
    assert [sorted(delta) for delta in deltas(emitter(None).emit([ran]))] == [
        sorted(set(deltas(emitter(LANE).emit([ran]))[0]) - {"performance"})
    ]
    rejected = finish(MicroBatch(0, (chunk([0, 1], rejected=[0, 1]),), "empty", 0.0))
    assert all("performance" not in delta for delta in deltas(emitter(LANE).emit([rejected])))


def test_gpu_seconds_are_known_only_with_a_gpu() -> None:
    calls = CallLog(MeasuredLane(queue_delay_s=0.0, on_gpu=True))
    calls.add(result([0], latency_s=0.01, model_s=0.002))
    found = calls.performance()
    assert found is not None and found.gpu_s == 0.002 and found.memory_bytes is None


def test_the_parts_of_a_micro_batch_add_up_to_it() -> None:
    whole = finish(MicroBatch(0, (chunk(list(range(10))),), "size", 10.0))
    whole = replace(whole, started_s=10.01, cpu_s=0.5)
    waiting = [chunk([4])]
    buffer = MergingReorderBuffer(lambda: waiting)
    buffer.add(whole.batch)
    buffer.on_result(whole)
    head = buffer.take(max_records=100, max_bytes=1 << 20)
    waiting.clear()
    tail = buffer.take(max_records=100, max_bytes=1 << 20)
    parts = []
    for results in (head, tail, [whole]):
        calls = CallLog(LANE)
        for part in results:
            calls.add(part)
        parts.append(calls.performance())
    first, second, expected = parts
    assert first is not None and second is not None and (first.rows, second.rows) == (4, 6)
    assert Performance.sum([first, second]) == expected


def test_an_invalid_performance_does_not_lose_the_outcome() -> None:
    performance: object
    (good,) = deltas(emitter(LANE).emit([result([0], latency_s=0.01, model_s=0.002)]))
    for performance in ({"rows": "many"}, [], 3):
        parsed = parse_measured_delta(orjson.dumps(good | {"performance": performance}))
        assert parsed is not None and parsed[0].count == 1 and parsed[1] is None
    assert parse_measured_delta(b"no delta") is None


def test_one_delta_of_a_commit_has_the_usage_of_the_process() -> None:
    reports = iter([ProcessUsage(1.5, 1000, None), ProcessUsage(0.5, 2000, 300)])
    both = emitter(replace(LANE, process_usage=lambda: next(reports)))
    found = []
    for _ in range(2):
        parsed = parse_measured_delta(orjson.dumps(deltas(both.emit([result([0], latency_s=0.01, model_s=0.002)]))[0]))
        assert parsed is not None and parsed.performance is not None
        found.append(parsed.performance.process)
    assert found == [ProcessUsage(1.5, 1000, None), ProcessUsage(0.5, 2000, 300)]


def test_a_commit_of_several_models_reports_the_process_once() -> None:
    lane = replace(LANE, process_usage=lambda: ProcessUsage(1.0))
    logs = [CallLog(lane), CallLog(lane)]
    for log in logs:
        log.add(result([0], latency_s=0.01, model_s=0.002))
    emission = emitter(lane).begin()
    for number, log in enumerate(logs):
        ledger = emission.ledger.of(ModelRef(f"m{number}", 1))
        ledger.add_predictions(TopicPartition("features", 0), np.array([1_700_000_000_000]))
        ledger.calls = log
    documents = deltas(emitter(lane).finish(emission, ()))
    assert [document["model"] for document in documents] == ["m0", "m1"]
    performances = [document["performance"] for document in documents]
    assert ["process" in performance for performance in performances if isinstance(performance, dict)] == [True, False]
