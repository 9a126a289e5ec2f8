"""What a commit sends for windows: two ledgers that add up, and parts of windows that are committed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.schemas import headers as names
from forebay.schemas.definitions import definitions
from forebay.schemas.failures import FailureKind, Outcome
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch, Rejection, RowFailure
from forebay.stream.eventtime.emitter import WindowEmitter
from forebay.stream.output.emitter import Emission, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import JULY, P0, P1, unreadable
from tests.eventtime.build import plan, poll, stage

A, B = b"a", b"b"


def emitter(
    *, max_bytes: int = 10_000, late: bool = True, partitions: int = 2, destinations: Sequence[OutputTopic] = ()
) -> WindowEmitter:
    return WindowEmitter(
        PredictionEncoder(model="m", version=3, labels=(), num_classes=0),
        model="m",
        version=3,
        topics=OutputTopics(
            OutputTopic("predictions", partitions, max_bytes),
            OutputTopic("dead-letters", partitions, max_bytes),
            OutputTopic("outcome-deltas", 1, max_bytes),
            OutputTopic("late-events", partitions, max_bytes) if late else None,
        ),
        placer=Placer({"features": 2}, len),
        worker="w",
        destinations=destinations,
    )


def finish(batch: MicroBatch, failures: dict[int, RowFailure] | None = None) -> BatchResult:
    """Return results as if the model's output were the number of events."""
    return BatchResult(
        batch,
        values_BO=batch.features()[:, :1],
        classes_B=None,
        confidences_B=None,
        failures=failures or {},
        model_s=0.001,
    )


def batch_of(*parts: BatchPart, seq: int = 0) -> MicroBatch:
    return MicroBatch(seq, parts, "size", 0.0)


def sent(emission: Emission, topic: str) -> list[tuple[int, bytes | None, bytes | None, dict[str, bytes]]]:
    return [
        (place.partition, key, value, dict(headers))
        for place, out in sorted(emission.outgoing.items())
        if place.topic == topic
        for key, value, headers in zip(out.keys, out.values, out.headers, strict=True)
    ]


def polled(*events: tuple[bytes | None, int] | None, partition: object = P1) -> BatchPart:
    windows = stage(plan(max_rows_per_window=2))
    windows.restore({P0: None, P1: None})
    (found,) = windows.take(poll(40, events, partition=partition))  # type: ignore[arg-type]
    return found


EVENTS = ((A, 1), (B, 2), None, (A, 3), (A, 4), (None, 5), (A, 12), (A, 9))


def test_windows_become_predictions_and_each_event_has_its_own_outcome() -> None:
    emission = emitter().emit([finish(batch_of(polled(*EVENTS)))])
    first, second = sent(emission, "predictions")
    assert (first[:2], second[:2]) == ((1, A), (1, B)) and first[3] == {}
    value_json = orjson.loads(first[2] or b"")
    Draft202012Validator(definitions()["prediction"]).validate(value_json)
    start = JULY
    assert value_json == {
        "id": f"a|{start}|{start + 10}",
        "model": "m",
        "version": 3,
        "prediction": [2.0],
        "confidence": None,
        "class": None,
        "label": None,
        "source": {"topic": "features", "partition": 1, "offset": 40, "timestamp": start},
        "window": {"key": "a", "start": start, "end": start + 10, "events": 2, "dropped": 1},
    }
    ((place, key, value, headers),) = sent(emission, "late-events")
    assert (place, key, value, headers[names.ERROR_KIND]) == (1, A, b"x", b"late")
    kinds = [letter[3][names.ERROR_KIND] for letter in sent(emission, "dead-letters")]
    assert kinds == [b"not_json", b"window_full", b"missing_key"], "in offset order"
    ledger = emission.ledger
    assert ledger.outcomes == {
        Outcome.ACCEPTED: 4,
        Outcome.REJECTED: 2,
        Outcome.FAILED: 1,
        Outcome.LATE: 1,
        Outcome.WINDOW_PREDICTED: 2,
    }
    assert not ledger.unbalanced()
    assert emission.positions == {P1: 48} and emission.metadata[P1].startswith("forebay1 ")
    deltas = {orjson.loads(value or b"")["kind"] for _, _, value, _ in sent(emission, "outcome-deltas")}
    assert deltas == {"accepted", "window_predicted", "not_json", "window_full", "missing_key", "late"}
    for _, _, value, _ in sent(emission, "outcome-deltas"):
        Draft202012Validator(definitions()["outcome-delta"]).validate(orjson.loads(value or b""))


def test_late_events_are_counted_whether_or_not_they_have_a_topic() -> None:
    emission = emitter(late=False).emit([finish(batch_of(polled(*EVENTS)))])
    assert not sent(emission, "late-events") and emission.ledger.outcomes[Outcome.LATE] == 1
    assert len(sent(emission, "dead-letters")) == 3


def test_a_failed_window_becomes_a_dead_letter_with_its_events() -> None:
    failures = {1: RowFailure(FailureKind.MODEL_ERROR, "RuntimeError: it chokes", "a stack")}
    emission = emitter().emit([finish(batch_of(polled((A, 1), (B, 2), (B, 3), (A, 12))), failures)])
    assert [orjson.loads(value or b"")["window"]["key"] for _, _, value, _ in sent(emission, "predictions")] == ["a"]
    ((place, key, value, headers),) = sent(emission, "dead-letters")
    assert (place, key, headers[names.ERROR_KIND]) == (1, B, b"model_error")
    assert headers[names.ERROR_WINDOW] == f"{JULY}-{JULY + 10}".encode()
    Draft202012Validator(definitions()["dead-letter"]).validate({name: text.decode() for name, text in headers.items()})
    value_json = orjson.loads(value or b"")
    assert value_json["events"] == [
        {"timestamp": JULY + 2, "features": [41.0]},
        {"timestamp": JULY + 3, "features": [42.0]},
    ]
    assert emission.ledger.outcomes == {Outcome.ACCEPTED: 4, Outcome.WINDOW_PREDICTED: 1, Outcome.WINDOW_FAILED: 1}
    assert not emission.ledger.unbalanced()


def test_a_prediction_that_is_too_large_fails_its_window_alone() -> None:
    emission = emitter(max_bytes=500).emit([finish(batch_of(polled((b"k" * 200, 1), (B, 2), (B, 12))))])
    assert len(sent(emission, "predictions")) == 1
    assert [letter[3][names.ERROR_KIND] for letter in sent(emission, "dead-letters")] == [b"prediction_too_large"]
    assert not emission.ledger.unbalanced()


def test_a_key_that_is_not_text_is_escaped_in_the_value_and_unchanged_as_record_key() -> None:
    emission = emitter().emit([finish(batch_of(polled((b'\xff"', 1), (A, 12))))])
    ((_, key, value, _),) = sent(emission, "predictions")
    assert key == b'\xff"' and orjson.loads(value or b"")["window"]["key"] == '\\xff"'


def test_windows_that_cannot_be_resumed_in_parts_are_committed_together() -> None:
    """A crash between two commits would emit the windows of the first again: the position does not distinguish them."""
    windows = stage()
    windows.restore({P0: None})
    keys = [(b"key-%d" % number, 1) for number in range(25)]
    (part,) = windows.take(poll(0, [*keys, (A, 10)]))
    part = replace(part, resume=None)
    batcher = MicroBatcher(max_batch_size=4, max_batch_bytes=10**6, max_queue_delay_ms=5)
    batches = batcher.add(part, now_s=0.0, wall_ms=0) + batcher.flush()
    assert [batch.num_rows for batch in batches] == [4] * 6 + [1]
    assert [batch.num_records for batch in batches] == [0] * 6 + [26]
    buffer = ReorderBuffer()
    for batch in batches:
        buffer.add(batch)
    for batch in batches[:-1]:
        buffer.on_result(finish(batch))
        assert buffer.take(max_records=4, max_bytes=10**9) == []
    buffer.on_result(finish(batches[-1]))
    taken = buffer.take(max_records=4, max_bytes=10**9)
    assert [result.batch.seq for result in taken] == list(range(7))
    emission = emitter().emit(taken)
    assert len(sent(emission, "predictions")) == 25 and emission.positions == {P0: 26}
    assert not emission.ledger.unbalanced()
    assert buffer.take(max_records=4, max_bytes=10**9) == []


def test_windows_that_close_together_are_committed_in_slices() -> None:
    """Each slice has a position and a state from which another worker would emit the rest."""
    windows = stage()
    windows.restore({P0: None})
    (part,) = windows.take(poll(0, [*[(b"key-%d" % number, 1) for number in range(10)], (A, 10)]))
    batcher = MicroBatcher(max_batch_size=4, max_batch_bytes=10**6, max_queue_delay_ms=5)
    batches = batcher.add(part, now_s=0.0, wall_ms=0) + batcher.flush()
    assert [(batch.num_rows, batch.num_records) for batch in batches] == [(4, 11), (4, 0), (2, 0)]
    assert sum(batch.num_bytes for batch in batches) == part.num_bytes
    buffer, states = ReorderBuffer(), []
    for batch in batches:
        buffer.add(batch)
    for batch in batches:
        buffer.on_result(finish(batch))
        (taken,) = buffer.take(max_records=4, max_bytes=10**9)
        emission = emitter().emit([taken])
        assert emission.positions == {P0: 11} and not emission.ledger.unbalanced()
        states.append(emission.metadata[P0].split(" ", 2)[::2])
    assert [name for name, _ in states] == ["forebay2", "forebay2", "forebay1"]
    assert [state.split()[-3:] for _, state in states[:2]] == [["0", "4", "0"], ["0", "8", "0"]]


def test_a_batch_of_another_partition_does_not_wait_for_the_parts() -> None:
    windows = stage()
    windows.restore({P0: None, P1: None})
    (large,) = windows.take(poll(0, [*[(b"key-%d" % number, 1) for number in range(6)], (A, 10)]))
    (small,) = windows.take(poll(0, [(A, 1)], partition=P1))
    head, tail = replace(large, resume=None).split(3)
    buffer = ReorderBuffer()
    first, second, third = batch_of(head, seq=0), batch_of(small, seq=1), batch_of(tail, seq=2)
    for batch in (first, second, third):
        buffer.add(batch)
    buffer.on_result(finish(second))
    assert [result.batch.seq for result in buffer.take(max_records=100, max_bytes=10**9)] == [1]
    buffer.on_result(finish(first))
    assert buffer.take(max_records=100, max_bytes=10**9) == []
    buffer.on_result(finish(third))
    assert [result.batch.seq for result in buffer.take(max_records=100, max_bytes=10**9)] == [0, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_a_ledger_without_one_of_the_windows_is_refused(count: int) -> None:
    emission = emitter().emit([finish(batch_of(polled((A, 1), (A, 12))))])
    emission.ledger.of(ModelRef("m", 3)).closed[P1] += count
    assert emission.ledger.unbalanced() == {P1: (1 + count, 1)}


def test_a_poll_without_a_window_has_rows_of_the_right_width() -> None:
    assert polled((A, 1)).x_BF.shape == (0, 2) and polled((A, 1)).x_BF.dtype == np.float32


def test_each_unreadable_record_has_an_outcome() -> None:
    windows = stage(plan())
    windows.restore({P0: None, P1: None})
    chunk = poll(40, EVENTS, partition=P1)
    rejection = Rejection(
        chunk.num_records, unreadable(50, 59, 5), kind=FailureKind.BATCH_TOO_LARGE, message="no", count=5
    )
    rejections = [*chunk.rejections, rejection]
    (found,) = windows.take(replace(chunk, rejections=rejections, num_records=chunk.num_records + 1, next_offset=60))
    emission = emitter().emit([finish(batch_of(found))])
    assert emission.ledger.unbalanced() == {}
    assert emission.ledger.passed[P1] == len(EVENTS) + 5 and emission.positions[P1] == 60
    assert sum(names.ERROR_COUNT in headers for *_, headers in sent(emission, "dead-letters")) == 1


def test_decided_windows_are_in_their_topics_and_counted_once() -> None:
    topics = [OutputTopic(name, 2, 10_000) for name in ("predictions", "review", "review", "high")]
    result = replace(finish(batch_of(polled(*EVENTS))), decisions_B=np.array([2, 3], np.uint8))
    emission = emitter(destinations=topics).emit([result])
    assert sent(emission, "predictions") == []
    ((place, key, value, _),) = sent(emission, "review")
    document = orjson.loads(value or b"")
    Draft202012Validator(definitions()["prediction"]).validate(document)
    assert (place, key, document["decision"], document["reason"]) == (1, A, "abstain", "low_confidence")
    ((place, key, value, _),) = sent(emission, "high")
    assert (place, key) == (1, B) and "decision" not in orjson.loads(value or b"")
    assert emission.ledger.outcomes[Outcome.WINDOW_PREDICTED] == 2 and not emission.ledger.unbalanced()
    kinds = {key.kind: delta.count for key, delta in emission.ledger.deltas.items() if key.outcome.of_window}
    assert kinds == {"window_predicted": 1, "abstained": 1}
