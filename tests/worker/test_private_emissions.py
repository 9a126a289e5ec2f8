"""Personal data in the records of a commit: planted in ids, keys, headers, messages and events, found in no output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, Rejection, RowFailure
from forebay.stream.output.emitter import Emission, Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder, record_size
from forebay.stream.worker.privacy_assembly import private_emissions
from tests.core.build import FakeRecord, ManualClock, chunk
from tests.encryption.build import foreign_token
from tests.privacy.planted import PERSONS, planted

TOPICS = OutputTopics(
    OutputTopic("predictions", 2, 10_000),
    OutputTopic("dead-letters", 2, 10_000),
    OutputTopic("outcome-deltas", 1, 10_000),
)


def build(results: list[BatchResult], *, topics: OutputTopics = TOPICS, **settings: Any) -> Emission:
    emitter = Emitter(
        PredictionEncoder(model="m", version=1, labels=("no", "yes"), num_classes=2),
        model="m",
        version=1,
        topics=topics,
        placer=Placer({"features": 2}, len),
        worker="w",
        clock=ManualClock(),
    )
    section = PrivacySection(enabled=True, **settings)
    private = private_emissions(section, emitter, outputs=topics, used_features=(), clock=ManualClock())
    steps = private.build(results)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            emission = done.value
            assert isinstance(emission, Emission)
            assert emission.ledger.unbalanced() == {}
            return emission


def result_with(texts: list[str]) -> BatchResult:
    """Return a micro-batch with a text in each place of four events: one is rejected, on one the model fails."""
    part = chunk([0, 1, 2, 3], rejected=[1])

    def record(offset: int) -> FakeRecord:
        text = texts[offset % len(texts)]
        value = orjson.dumps({"id": text, "features": {"note": f"about {text}", "list": [text]}})
        return FakeRecord(offset, value, key=f"key {text}".encode(), headers=[("note", text.encode()), (text, b"1")])

    rejection = Rejection(1, record(1), FailureKind.NOT_JSON, f"unexpected {texts[0]}")
    part = replace(
        part,
        records=[record(offset) for offset in (0, 2, 3)],
        ids=[f"id {text}" for text in (texts * 3)[:3]],
        rejections=[rejection],
    )
    failure = RowFailure(FailureKind.MODEL_ERROR, f"cannot take {texts[0]}", f"ValueError: {texts[0]}")
    return BatchResult(
        MicroBatch(0, (part,), "size", 0.0),
        values_BO=np.full((3, 2), 0.5, dtype=np.float32),
        classes_B=np.zeros(3, dtype=np.int64),
        confidences_B=np.full(3, 0.5, dtype=np.float32),
        failures={1: failure},
        model_s=0.0,
    )


def without_failures(part: Chunk, num_rows: int) -> BatchResult:
    """Return a micro-batch of a chunk whose rows are all predicted."""
    return BatchResult(
        MicroBatch(0, (part,), "size", 0.0),
        values_BO=np.full((num_rows, 2), 0.5, dtype=np.float32),
        classes_B=np.zeros(num_rows, dtype=np.int64),
        confidences_B=np.full(num_rows, 0.5, dtype=np.float32),
        failures={},
        model_s=0.0,
    )


def everything(emission: Emission, *topics: str) -> str:
    return "\n".join(
        (part or b"").decode("utf-8", "replace")
        for partition, outgoing in emission.outgoing.items()
        if not topics or partition.topic in topics
        for key, value, headers in zip(outgoing.keys, outgoing.values, outgoing.headers, strict=True)
        for part in (key, value, *(text for name, content in headers for text in (name.encode(), content)))
    )


def letters(emission: Emission) -> list[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
    return [
        (key, value, dict(headers))
        for partition, outgoing in emission.outgoing.items()
        if partition.topic == "dead-letters"
        for key, value, headers in zip(outgoing.keys, outgoing.values, outgoing.headers, strict=True)
    ]


def test_none_of_the_planted_strings_is_in_an_output(tmp_path: Any) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(PERSONS))
    for kind, text in planted(240, seed=3):
        emission = build([result_with([text])], dead_letters="mask", names_file=str(listed))
        assert text.removeprefix("tel ") not in everything(emission), kind
        assert sum(len(outgoing.values) for outgoing in emission.outgoing.values()) >= 4


def test_dead_letters_are_kept_by_default_except_for_the_message() -> None:
    text = "anna@example.org"
    emission = build([result_with([text])])
    for key, value, headers in letters(emission):
        assert key == f"key {text}".encode()
        assert value is not None
        assert text.encode() in value
        assert headers["note"] == text.encode()
        assert text.encode() not in headers[names.ERROR_MESSAGE]
        assert names.ERROR_TRUNCATED not in headers
    assert text not in everything(emission, "predictions", "outcome-deltas")


def test_a_masked_dead_letter_says_so_and_cannot_be_replayed() -> None:
    emission = build([result_with(["anna@example.org"])], dead_letters="mask")
    for key, value, headers in letters(emission):
        assert key == b"key [email]"
        assert orjson.loads(value or b"") == {
            "id": "[email]",
            "features": {"note": "about [email]", "list": ["[email]"]},
        }
        assert headers[names.ERROR_TRUNCATED].endswith(b" masked")


def test_without_personal_data_nothing_changes() -> None:
    clean = result_with(["plain"])
    protected, private = build([clean]), build([clean], dead_letters="mask")
    assert everything(protected) == everything(private)


def test_hashed_keys_are_the_same_for_the_same_text() -> None:
    emission = build([result_with(["anna@example.org"])], keys="hash", hash_key="0123456789abcdef")
    keys = {key for partition, out in emission.outgoing.items() if partition.topic == "predictions" for key in out.keys}
    assert len(keys) == 1
    assert keys.pop().startswith(b"key [email:")


def test_failures_of_the_emitter_reach_the_observers_of_the_original() -> None:
    result = result_with(["anna@example.org"])
    emission = build([result], topics=replace(TOPICS, predictions=OutputTopic("predictions", 2, 10)))
    assert {row: failure.kind for row, failure in result.failures.items()} == {
        0: FailureKind.PREDICTION_TOO_LARGE,
        1: FailureKind.MODEL_ERROR,
        2: FailureKind.PREDICTION_TOO_LARGE,
    }
    assert len(letters(emission)) == 4


def test_records_that_masks_make_too_large_are_cut() -> None:
    """A record that the broker refuses for its size would be sent again for ever."""
    note = b"a@b.cc " * 1_300  # 9,100 bytes; masked 10,400
    record = FakeRecord(0, b'{"x": 1}', key=b"k", headers=[("note", note), ("other", b"1")])
    long_key = FakeRecord(1, b'{"x": 1}', key=note, headers=[])
    text = FakeRecord(2, b'"' + note + b'"', key=b"k", headers=[("other", b"1")])
    rejections = [
        Rejection(2, text, FailureKind.NOT_AN_OBJECT, "is not"),
        Rejection(3, long_key, FailureKind.NOT_JSON, "no"),
    ]
    part = replace(chunk([0, 1, 2, 3], rejected=[2, 3]), records=[record, long_key], rejections=rejections)
    emission = build([without_failures(part, 2)], dead_letters="mask")
    for partition, outgoing in emission.outgoing.items():
        if partition.topic == "outcome-deltas":
            continue
        for key, value, headers in zip(outgoing.keys, outgoing.values, outgoing.headers, strict=True):
            assert record_size(key, value, headers) <= 10_000
            assert b"a@b.cc" not in b"".join([key or b"", value or b"", *(content for _, content in headers)])
    assert sorted((key is None, value is None) for key, value, _ in letters(emission)) == [(False, True), (True, True)]


def test_headers_of_producers_with_names_of_errors_are_protected() -> None:
    record = FakeRecord(0, b'{"x": 1}', key=b"k", headers=[("forebay.error.note", b"anna@example.org")])
    emission = build([without_failures(replace(chunk([0]), records=[record]), 1)])
    assert "anna" not in everything(emission, "predictions")


def test_ids_are_masked_where_others_are_dropped() -> None:
    emission = build([result_with(["anna@example.org"])], overrides=("email:drop",))
    assert "anna@example.org" not in everything(emission, "predictions", "outcome-deltas")


def test_tokens_of_changed_dead_letters_are_removed_because_their_headers_have_ids_and_keys() -> None:
    text = "anna@example.org"
    result = result_with([text])
    (part,) = result.batch.chunks
    assert isinstance(part, Chunk)
    field = foreign_token(b"41", {"topic": "features", "field": "features.age", "id": text})
    whole = foreign_token(b"{}", {"topic": "features", "field": "*", "id": text}).encode()
    document = orjson.dumps({"id": text, "features": {"age": field, "wind": 2}})
    plain = foreign_token(b"{}", {"topic": "features", "field": "*", "id": "k-7"}).encode()
    rejections = [
        Rejection(row, FakeRecord(10 + row, value, key=key), FailureKind.UNDECRYPTABLE, "moved")
        for row, (key, value) in enumerate([(b"k", document), (text.encode(), whole), (b"k-7", plain)])
    ]
    part = replace(part, rejections=rejections, num_records=6)
    found = letters(build([replace(result, batch=replace(result.batch, chunks=(part,)))], dead_letters="mask"))
    values = [value for _, value, _ in found]
    masked = {"id": "[email]", "features": {"age": "[encrypted]", "wind": 2}}
    assert {orjson.dumps(masked), b"[encrypted]", plain} < set(values)
