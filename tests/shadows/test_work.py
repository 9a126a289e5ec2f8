"""What a shadow does with sampled events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.signature import Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch, RowFailure
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.rollouts.sampling import OffsetSample
from forebay.stream.rollouts.shadow_prediction import ShadowPair, decode_pair
from forebay.stream.shadows.job import ShadowJob, ShadowOutcome, sampled_rows
from forebay.stream.shadows.work import IdentifierProtection, ShadowWork
from forebay.stream.worker.private_identifiers import identifier_protection
from tests.core.build import EPOCH, JULY, MODEL, P0, P1, FakeRecord, ManualClock, chunk, event, finish
from tests.shadows.build import ONE_FEATURE, SHADOW, TOPIC, ShadowModel

THREE = Signature((), (3,), "multiclass", 2)


def run(
    result: BatchResult,
    model: ShadowModel,
    *,
    primary: Signature = ONE_FEATURE,
    sample: float = 1.0,
    cpu_time: Callable[[], float] = time.thread_time,
    protection: IdentifierProtection | None = None,
) -> ShadowOutcome:
    work = ShadowWork(
        model,
        decoder=Decoder([DecodedModel(SHADOW, model.signature)], max_event_bytes=1_000),
        primaries={1: primary},
        topic=TOPIC,
        clock=ManualClock(),
        deadline_s=1.0,
        cpu_time=cpu_time,
        protection=protection,
    )
    parts = sampled_rows(result, OffsetSample(sample, 7))
    same = model.signature.shape == primary.shape
    return work.run(ShadowJob(result, parts, has_same_columns=same, revision=3, offered_s=100.0))


def pairs(outcome: ShadowOutcome) -> list[ShadowPair]:
    assert outcome.outgoing is not None
    return [decode_pair(value) for records in outcome.outgoing.values() for value in records.values]


def test_each_pair_holds_both_predictions_of_the_event() -> None:
    batch = MicroBatch(0, (chunk([3, 4], rejected=[3]), chunk([8, 9], partition=P1)), "size", 0.0)
    found = pairs(run(finish(batch), ShadowModel(shift=0.125)))
    assert [(pair.source.partition, pair.source.offset, pair.id) for pair in found] == [
        (0, 4, "0-4"),
        (1, 8, "1-8"),
        (1, 9, "1-9"),
    ]
    assert found[2].primary.prediction == [0.25, 0.75]
    assert found[2].shadow.prediction == [0.125, 0.875]
    assert (found[0].primary.rows, found[0].shadow.rows, found[0].primary.latency_ms) == (3, 3, 1.0)


@pytest.mark.parametrize(("device", "cpu_ms"), [("cpu", (2.0, 250.0)), ("cuda:0", (0.0, 0.0))])
def test_pairs_hold_the_cpu_time_of_both_threads_unless_another_device_computes(
    device: str, cpu_ms: tuple[float, float]
) -> None:
    model = ShadowModel()
    model.device = device  # type: ignore[attr-defined]
    result = replace(finish(MicroBatch(0, (chunk([3]),), "size", 0.0)), cpu_s=0.002)
    (pair,) = pairs(run(result, model, cpu_time=count(0, 0.25).__next__))
    assert (pair.primary.cpu_ms, pair.shadow.cpu_ms) == cpu_ms


def test_a_part_of_a_batch_is_paired_with_the_rows_of_that_part() -> None:
    parts = tuple(chunk(range(first, first + 100)) for first in (0, 100, 200))
    whole, part = finish(MicroBatch(0, parts, "size", 0.0)), OffsetSample(0.5, 7)
    failures = {150: RowFailure(FailureKind.MODEL_ERROR, "no")}
    outcome = run(finish(whole.batch, failures), ShadowModel(), sample=0.5)
    sampled = [offset for offsets in part.ranges(P0, 0, 300) for offset in offsets]
    assert 0 < len(sampled) < 300
    assert [pair.source.offset for pair in pairs(outcome)] == sampled
    assert outcome.comparison is not None
    assert outcome.comparison.differences.largest == 0.0
    assert outcome.comparison.primary_failures == (150 in sampled)
    assert {pair.primary.rows for pair in pairs(outcome)} == {300}
    assert {pair.shadow.rows for pair in pairs(outcome)} == {len(sampled)}


def decoded(values: list[bytes | None]) -> BatchResult:
    """Return the result of a micro-batch of real events, decoded for a version that takes three features."""
    records = [FakeRecord(offset, value, timestamp=JULY, key=None) for offset, value in enumerate(values)]
    decoder = Decoder([DecodedModel(MODEL, THREE)], max_event_bytes=1_000)
    return finish(MicroBatch(0, tuple(decoder.decode({P0: records}, EPOCH)), "size", 0.0))


def test_a_shadow_with_other_columns_gets_the_events_decoded_again_and_may_reject_them() -> None:
    both = {"features": {"f0": 1.0, "f1": 2.0, "f2": 3.0, "g0": 0.0}}
    named = Signature(tuple(features("f0", "f1", "f2")), (3,), "multiclass", 2)
    other = ShadowModel()
    other.signature = Signature(tuple(features("g0")), (1,), "multiclass", 2)
    only_first = {"features": {"f0": 1.0, "f1": 2.0, "f2": 3.0}}
    records = [
        FakeRecord(index, orjson.dumps({"id": f"e{index}", "timestamp": JULY, "key": "k"} | body))
        for index, body in enumerate([both, only_first, both])
    ]
    chunks = Decoder([DecodedModel(MODEL, named)], max_event_bytes=1_000).decode({P0: records}, EPOCH)
    outcome = run(finish(MicroBatch(0, tuple(chunks), "size", 0.0)), other, primary=named)
    found = pairs(outcome)
    assert [pair.shadow.failure for pair in found] == [None, "missing_field", None]
    assert [pair.primary.failure for pair in found] == [None, None, None]
    assert outcome.comparison is not None
    assert (outcome.comparison.shadow_failures, outcome.comparison.differences.count) == (1, 2)
    assert np.array_equal(np.concatenate(other.calls), np.zeros((2, 1), np.float32))
    assert outcome.outgoing is not None
    assert next(iter(outcome.outgoing.values())).keys == [b"k"] * 3


def features(*names: str) -> list[object]:
    from forebay.models.artefacts.signature import Feature

    return [Feature(name) for name in names]


def test_a_shadow_that_rejects_everything_is_a_fault() -> None:
    outcome = run(decoded([event("a"), event("b")]), ShadowModel(width=2), primary=THREE)
    assert outcome.fault is not None
    assert [pair.shadow.failure for pair in pairs(outcome)] == ["wrong_length"] * 2


def test_messages_of_the_model_are_shown_without_values() -> None:
    def raises(x_BF: FloatMatrix) -> None:
        raise RuntimeError("cannot handle 'secret-42'")

    outcome = run(finish(MicroBatch(0, (chunk([1]),), "size", 0.0)), ShadowModel(on_call=raises))
    assert outcome.fault == "model_error: RuntimeError: cannot handle …"


def test_records_that_the_topic_cannot_hold_are_left_out() -> None:
    wide = chunk([1, 2])
    object.__setattr__(wide, "ids", ["x" * TOPIC.max_bytes, "b"])
    outcome = run(finish(MicroBatch(0, (wide,), "size", 0.0)), ShadowModel())
    assert [pair.id for pair in pairs(outcome)] == ["b"]
    assert outcome.comparison is not None
    assert outcome.comparison.events == 2


@pytest.mark.parametrize("shadow_outputs", [3])
def test_a_shadow_with_another_number_of_outputs_is_compared_by_class(shadow_outputs: int) -> None:
    class Wider(ShadowModel):
        def forward(self, x_BG: FloatMatrix):  # type: ignore[no-untyped-def]
            scores = super().forward(x_BG)
            return type(scores)(np.pad(scores.values_BO, ((0, 0), (0, 1))), scores.classes_B, scores.confidences_B)

    model = Wider()
    model.signature = Signature((), (1,), "multiclass", shadow_outputs)
    outcome = run(finish(MicroBatch(0, (chunk([1, 2]),), "size", 0.0)), model)
    assert outcome.comparison is not None
    assert (outcome.comparison.agreed, outcome.comparison.incomparable) == (2, 2)


def test_ids_and_keys_hold_no_personal_data() -> None:
    part = chunk([3, 4, 5])
    records = [FakeRecord(offset, event(), key=b"anna@example.org" if offset == 4 else None) for offset in (3, 4, 5)]
    part = replace(part, ids=["anna@example.org", "b", "c"], records=records, keys={2: b"to anna@example.org"})
    make = identifier_protection(PrivacySection(enabled=True), clock=ManualClock())
    assert make is not None
    outcome = run(finish(MicroBatch(0, (part,), "size", 0.0)), ShadowModel(shift=0.125), protection=make())
    assert [pair.id for pair in pairs(outcome)] == ["[email]", "b", "c"]
    assert outcome.outgoing is not None
    (sent,) = outcome.outgoing.values()
    assert sent.keys == [None, b"[email]", b"to [email]"]
    assert identifier_protection(PrivacySection(), clock=ManualClock()) is None
