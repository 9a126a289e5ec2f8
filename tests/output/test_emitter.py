"""What a commit sends: every record has one outcome, in order, in the right partition, no larger than the topic takes."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import headers as names
from forebay.schemas.failures import KINDS_OF_COLUMNS, FailureKind, Outcome
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, Rejection, RowFailure, TopicPartition
from forebay.stream.output.emitter import MAX_SLICE_BYTES, Emission, Emitter, Placer
from forebay.stream.output.encoder import (
    NUMBER_BYTES,
    PredictionEncoder,
    _json_strings,
    dead_letter,
    output_bytes,
    record_size,
)
from tests.core.build import EPOCH, JULY, MODEL, P0, P1, FakeRecord, chunk, finish, unreadable


def emitter(
    *,
    partitions: int = 2,
    max_bytes: int = 10_000,
    feature_names: tuple[str, ...] = (),
    names_rejections: bool = False,
) -> Emitter:
    topics = OutputTopics(
        OutputTopic("predictions", partitions, max_bytes),
        OutputTopic("dead-letters", partitions, max_bytes),
        OutputTopic("outcome-deltas", 1, max_bytes),
    )
    return Emitter(
        PredictionEncoder(model="m", version=3, labels=("no", "yes"), num_classes=2),
        model="m",
        version=3,
        topics=topics,
        placer=Placer({"features": 2}, len),
        worker="w",
        feature_names=feature_names,
        names_rejections=names_rejections,
    )


def batch(*chunks: Chunk) -> MicroBatch:
    return MicroBatch(0, chunks, "size", 0.0)


def sent(emission: Emission, topic: str) -> dict[int, list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]]:
    return {
        place.partition: list(zip(out.keys, out.values, out.headers, strict=True))
        for place, out in emission.outgoing.items()
        if place.topic == topic
    }


def test_a_prediction_has_all_fields() -> None:
    emission = emitter().emit([finish(batch(chunk([5], partition=P1)))])
    ((key, value, headers),) = sent(emission, "predictions")[1]
    assert key == b"key-2" and headers == []
    assert orjson.loads(value or b"") == {
        "id": "1-5",
        "model": "m",
        "version": 3,
        "prediction": [0.25, 0.75],
        "confidence": 0.75,
        "class": 1,
        "label": "yes",
        "source": {"topic": "features", "partition": 1, "offset": 5, "timestamp": JULY + 5},
    }
    assert emission.positions == {P1: 6}


def test_regression_has_no_class() -> None:
    micro_batch = batch(chunk([0]))
    result = BatchResult(
        micro_batch,
        values_BO=np.array([[1.5]], dtype=np.float32),
        classes_B=None,
        confidences_B=None,
        failures={},
        model_s=0.0,
    )
    ((_, value, _),) = sent(emitter().emit([result]), "predictions")[0]
    fields = orjson.loads(value or b"")
    assert fields["prediction"] == [1.5] and fields["confidence"] is fields["class"] is fields["label"] is None


def test_failed_and_rejected_rows_become_dead_letters_in_offset_order() -> None:
    micro_batch = batch(chunk([0, 1, 2, 3, 4], rejected=[1]), chunk([7], partition=P1))
    failures = {
        2: RowFailure(FailureKind.MODEL_ERROR, "ValueError: no 3", "stack"),  # the row of offset 3
        0: RowFailure(FailureKind.DEADLINE_EXCEEDED, "late"),
    }
    emission = emitter().emit([finish(micro_batch, failures)])
    assert [orjson.loads(v or b"")["source"]["offset"] for _, v, _ in sent(emission, "predictions")[0]] == [2, 4]
    letters = sent(emission, "dead-letters")[0]
    assert [dict(h)[names.ERROR_OFFSET] for _, _, h in letters] == [b"0", b"1", b"3"]
    assert [dict(h)[names.ERROR_KIND] for _, _, h in letters] == [b"deadline_exceeded", b"not_json", b"model_error"]
    assert all(value == b"x" * 10 for _, value, _ in letters)
    assert dict(letters[2][2])[names.ERROR_VERSION] == b"3" and names.ERROR_MODEL not in dict(letters[1][2])
    assert emission.ledger.outcomes == {Outcome.PREDICTED: 3, Outcome.REJECTED: 1, Outcome.FAILED: 2}
    assert emission.ledger.unbalanced() == {}
    assert emission.positions == {P0: 5, P1: 8}


def test_with_rollouts_a_dead_letter_names_the_version_whose_columns_rejected_the_event() -> None:
    for kind in FailureKind:
        part = chunk([0, 1], rejected=[1])
        part = replace(part, rejections=[replace(part.rejections[0], kind=kind)])
        for names_rejections in (False, True):
            emission = emitter(names_rejections=names_rejections).emit([finish(batch(part))])
            ((_, _, headers),) = sent(emission, "dead-letters")[0]
            found = {name: value for name, value in headers if name in (names.ERROR_MODEL, names.ERROR_VERSION)}
            is_named = names_rejections and kind in KINDS_OF_COLUMNS
            assert found == ({names.ERROR_MODEL: b"m", names.ERROR_VERSION: b"3"} if is_named else {}), kind


def test_predictions_carry_the_traceparent_but_not_the_format_headers() -> None:
    headers = (("traceparent", b"00-1"), ("Content-Type", b"application/json"), ("forebay-id", b"1"), ("tenant", b"x"))
    emission = emitter().emit([finish(batch(chunk([0], headers=headers)))])
    ((_, _, carried),) = sent(emission, "predictions")[0]
    assert carried == [("traceparent", b"00-1"), ("tenant", b"x")]


def test_a_row_with_an_oversized_prediction_fails() -> None:
    small, large = chunk([0, 1]), chunk([2], headers=(("big", b"x" * 500),))
    emission = emitter(max_bytes=600).emit([finish(batch(small, large))])
    assert len(sent(emission, "predictions")[0]) == 2
    ((_, _, headers),) = sent(emission, "dead-letters")[0]
    assert dict(headers)[names.ERROR_KIND] == b"prediction_too_large"
    assert emission.ledger.outcomes == {Outcome.PREDICTED: 2, Outcome.FAILED: 1}


def test_outputs_are_co_partitioned_if_counts_agree_else_placed_by_key() -> None:
    emission = emitter(partitions=3).emit([finish(batch(chunk(range(4), partition=P1, rejected=[0])))])
    assert set(sent(emission, "predictions")) == {len(b"key-1") % 3}
    assert set(sent(emission, "dead-letters")) == {len(b"key-1") % 3}


def test_the_key_field_is_used_if_the_record_has_no_key() -> None:
    record = FakeRecord(0, b"{}", JULY)
    with_key = Chunk(
        P0,
        EPOCH,
        MODEL,
        records=[record],
        ids=["a"],
        timestamps=[JULY],
        x_BF=np.zeros((1, 1), np.float32),
        rejections=[],
        num_records=1,
        num_bytes=2,
        next_offset=1,
        keys={0: b"own"},
    )
    ((key, _, _),) = sent(emitter().emit([finish(batch(with_key))]), "predictions")[0]
    assert key == b"own"


def test_dead_letters_are_cut_to_the_limit_of_the_topic() -> None:
    record = FakeRecord(1, b"v" * 5000, timestamp=JULY, key=b"key", headers=(("h", b"x" * 100),))
    key, value, headers = dead_letter(record, P0, FailureKind.NOT_JSON, "bad", max_bytes=1000)
    assert key == b"key" and value is not None and 0 < len(value) < 1000
    assert record_size(key, value, headers) <= 1000 and ("h", b"x" * 100) in headers
    assert dict(headers)[names.ERROR_TRUNCATED].startswith(b"5000 sha256:")
    huge = FakeRecord(1, b"v", timestamp=JULY, key=b"k" * 2000, headers=(("h", b"x" * 2000),))
    key, value, headers = dead_letter(huge, P0, FailureKind.NOT_JSON, "bad", max_bytes=1000)
    assert record_size(key, value, headers) <= 1000


def test_error_headers_of_an_earlier_dead_letter_are_replaced() -> None:
    came_with: list[tuple[str, bytes]] = []
    for kind, replay_count in ((FailureKind.NOT_JSON, b"1"), (FailureKind.MODEL_ERROR, b"2")):
        headers = (
            *came_with,
            ("tenant", b"x"),
            ("forebay.replay.count", replay_count),
            ("forebay.replay.from", b"dead-0@7"),
        )
        record = FakeRecord(1, b"v", timestamp=JULY, key=b"key", headers=headers)
        _, _, letter = dead_letter(record, P0, kind, kind.value, max_bytes=1000, model="m", version=1)
        assert len({name.lower() for name, _ in letter}) == len(letter)
        assert dict(letter)[names.ERROR_KIND] == kind.value.encode()
        # The limit on replays relies on these headers.
        assert dict(letter)[names.REPLAY_COUNT] == replay_count and dict(letter)[names.REPLAY_FROM] == b"dead-0@7"
        # A client may copy the headers in any case, and with headers that the next failure does not have.
        came_with = [(name.title(), value) for name, value in letter if name.startswith(names.ERROR_PREFIX)]
        came_with.append((names.ERROR_TRUNCATED, b"5000 sha256:0"))


def test_the_prediction_of_a_replayed_event_is_marked() -> None:
    headers = (("forebay.replay.count", b"1"), ("forebay.replay.from", b"dead-0@7"))
    ((_, _, carried),) = sent(emitter().emit([finish(batch(chunk([0], headers=headers)))]), "predictions")[0]
    assert carried == list(headers)


@given(st.lists(st.text(min_size=1) | st.sampled_from([",", '",', '","', 'x",', "\\", 'a\\",'])))
def test_ids_are_escaped_as_json(ids: list[str]) -> None:
    ids = [text for text in ids if text.isprintable() or text.encode("utf-8", "ignore").decode() == text]
    assert [json.loads(f'"{text}"') for text in (_json_strings(ids) if ids else [])] == ids


@given(
    st.lists(
        st.tuples(st.sampled_from([P0, P1]), st.integers(1, 6), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5))),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([2, 5]),
    st.sampled_from([300, 10_000]),
)
def test_every_record_has_exactly_one_outcome(
    parts: list[tuple[TopicPartition, int, set[int], set[int]]], partitions: int, max_bytes: int
) -> None:
    next_offsets: dict[TopicPartition, int] = defaultdict(int)
    chunks, failing, first_row = [], {}, 0
    for place, count, rejected, failed in parts:
        start = next_offsets[place]
        next_offsets[place] += count
        part = chunk(range(start, start + count), partition=place, rejected=[start + i for i in rejected if i < count])
        for row in failed:
            if row < len(part.records):
                failing[first_row + row] = RowFailure(FailureKind.OUTPUT_NOT_FINITE, "NaN")
        first_row += len(part.records)
        chunks.append(part)
    emission = emitter(partitions=partitions, max_bytes=max_bytes).emit([finish(batch(*chunks), failing)])
    seen: list[tuple[int, int]] = []
    for letters in sent(emission, "dead-letters").values():
        for _, _, headers in letters:
            fields = dict(headers)
            seen.append((int(fields[names.ERROR_PARTITION]), int(fields[names.ERROR_OFFSET])))
    for predictions in sent(emission, "predictions").values():
        for _, value, _ in predictions:
            source = orjson.loads(value or b"")["source"]
            seen.append((source["partition"], source["offset"]))
    expected = [(place.partition, offset) for place, end in next_offsets.items() for offset in range(end)]
    assert sorted(seen) == sorted(expected)
    assert emission.ledger.unbalanced() == {}
    deltas = [orjson.loads(v or b"") for _, v, _ in sent(emission, "outcome-deltas")[0]]
    assert sum(delta["count"] for delta in deltas) == len(expected)
    assert emission.positions == dict(next_offsets)


def test_deltas_name_the_features_of_the_model() -> None:
    rejection = Rejection(0, FakeRecord(0, b"{}"), kind=FailureKind.MISSING_VALUE, message="feature 'age' is null")
    rejected = replace(chunk([0], rejected=[0]), rejections=[rejection])
    (delta,) = emitter(feature_names=("age",)).emit([finish(batch(rejected))]).ledger.deltas.values()
    assert delta.exemplar is not None and delta.exemplar["message"] == "feature `age` is null"


def test_unreadable_records_are_one_dead_letter_with_an_outcome_each() -> None:
    good = chunk([9])
    whole = Rejection(1, unreadable(10, 19, 5), kind=FailureKind.BATCH_TOO_LARGE, message="no", count=5)
    single = Rejection(2, unreadable(20, 20, 1), kind=FailureKind.UNREADABLE_RECORD, message="no", count=1)
    emission = emitter().emit([finish(batch(replace(good, rejections=[whole, single], num_records=3, next_offset=21)))])
    first, second = sent(emission, "dead-letters")[0]
    error_headers = dict(first[2])
    assert first[1] == b"raw" and error_headers["content-type"] == b"application/x-forebay-kafka-batch"
    assert [error_headers[name] for name in (names.ERROR_OFFSET, names.ERROR_LAST_OFFSET, names.ERROR_COUNT)] == [
        b"10",
        b"19",
        b"5",
    ]
    assert names.ERROR_COUNT not in dict(second[2]) and dict(second[2])[names.ERROR_OFFSET] == b"20"
    assert emission.ledger.unbalanced() == {}
    assert emission.ledger.passed[P0] == 7 and emission.ledger.outcomes[Outcome.REJECTED] == 6
    assert emission.ledger.num_without_letter == 4
    deltas = [orjson.loads(value or b"") for _, value, _ in sent(emission, "outcome-deltas")[0]]
    assert sorted((delta["kind"], delta["count"]) for delta in deltas) == [
        ("batch_too_large", 5),
        ("predicted", 1),
        ("unreadable_record", 1),
    ]


def wide(rows: int, outputs: int, failures: dict[int, RowFailure] | None = None) -> BatchResult:
    values_BO = np.random.default_rng(1).random((rows, outputs), dtype=np.float32)
    micro_batch = batch(chunk(range(rows)))
    return BatchResult(
        micro_batch,
        values_BO=values_BO,
        classes_B=values_BO.argmax(1) % 2,
        confidences_B=values_BO.max(1),
        failures=failures or {},
        model_s=0.001,
    )


def test_very_wide_outputs_are_encoded_in_slices_with_the_same_result() -> None:
    result = wide(500, 2000, {3: RowFailure(FailureKind.MODEL_ERROR, "no")})
    slices = sum(1 for _ in emitter(max_bytes=10**6).build([result]))
    assert slices > 500 * 2000 * NUMBER_BYTES // MAX_SLICE_BYTES
    emission = emitter(max_bytes=10**6).emit([result])
    rows = [row for row in range(500) if row != 3]
    encoded = emitter()._encoder.encode(result, result.batch.chunks[0], 0, rows)  # type: ignore[arg-type]
    assert [value for _, value, _ in sent(emission, "predictions")[0]] == encoded


def test_the_size_of_outputs_is_not_underestimated() -> None:
    result = wide(50, 300)
    values_BO = result.values_BO
    values_BO[:] = -1.1754944e-38
    values_BO[0] = -123456.78
    emission = emitter(max_bytes=10**6).emit([result])
    sizes = sum(len(value or b"") for _, value, _ in sent(emission, "predictions")[0])
    assert 0.5 * output_bytes(result) < sizes <= 1.1 * output_bytes(result)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
    st.sampled_from([2, 3]),
)
def test_each_decided_event_is_in_one_topic_and_counted_once(
    codes: list[int], rejected: set[int], failed: set[int], partitions: int
) -> None:
    """Codes 3 and 4 are routes to one topic; 1 and 2 are abstentions."""
    topics = {name: OutputTopic(name, partitions, 10_000) for name in ("predictions", "review", "high")}
    outputs = OutputTopics(
        topics["predictions"], OutputTopic("dead-letters", 2, 10_000), OutputTopic("outcome-deltas", 1, 10_000)
    )
    routing = Emitter(
        PredictionEncoder(model="m", version=3, labels=("no", "yes"), num_classes=2),
        model="m",
        version=3,
        topics=outputs,
        placer=Placer({"features": 2}, len),
        worker="w",
        destinations=[topics[name] for name in ("predictions", "review", "review", "high", "high")],
    )
    events = chunk(range(len(codes)), partition=P1, rejected=[offset for offset in rejected if offset < len(codes)])
    offsets = [record.offset for record in events.records]
    failures = {
        row: RowFailure(FailureKind.OUTPUT_NOT_FINITE, "NaN") for row in range(len(offsets)) if offsets[row] in failed
    }
    decisions_B = np.array([codes[offset] for offset in offsets], np.uint8)
    result = replace(finish(batch(events), failures), decisions_B=decisions_B)
    emission = routing.emit([result])
    names_of_codes = ("predictions", "review", "review", "high", "high")
    for name in topics:
        found = [orjson.loads(value or b"") for records in sent(emission, name).values() for _, value, _ in records]
        assert [document["source"]["offset"] for document in found] == [
            offset for offset in offsets if offset not in failed and names_of_codes[codes[offset]] == name
        ]
        reasons = {1: "score_in_band", 2: "low_confidence"}
        for document in found:
            reason = reasons.get(codes[document["source"]["offset"]])
            assert document.get("reason") == reason
            assert document.get("decision") == (None if reason is None else "abstain")
        if partitions == 2:
            assert set(sent(emission, name)) <= {1}
    num_failed = len(set(offsets) & failed)
    assert sum(map(len, sent(emission, "dead-letters").values())) == len(codes) - len(offsets) + num_failed
    assert emission.ledger.unbalanced() == {}
    deltas = [orjson.loads(value or b"") for _, value, _ in sent(emission, "outcome-deltas")[0]]
    assert sum(delta["count"] for delta in deltas) == len(codes)
    abstained = [delta for delta in deltas if delta["kind"] == "abstained"]
    assert all(delta["outcome"] == "predicted" for delta in abstained)
    assert sum(delta["count"] for delta in abstained) == sum(
        codes[offset] in (1, 2) for offset in offsets if offset not in failed
    )
