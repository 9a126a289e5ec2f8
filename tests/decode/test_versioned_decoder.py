"""The served version of a model changes while events are decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from tests.core.build import EPOCH, P0, FakeRecord, event, signature

OTHER = ModelRef("other", 5)
POLL = {
    P0: [
        FakeRecord(0, event("a", [1, 2, 3])),
        FakeRecord(1, event("b", [1, 2], model="other")),
        FakeRecord(2, event("c", [1, 2])),
    ]
}


def version(number: int) -> ModelRef:
    return ModelRef("m", number)


@pytest.fixture
def decoder() -> VersionedDecoder:
    """Return a decoder for two models. Version 3 of the first takes two features, versions 1 and 2 take three."""
    models = [DecodedModel(version(1), signature(3)), DecodedModel(OTHER, signature(2))]
    made = VersionedDecoder(models, max_event_bytes=1000)
    made.add(DecodedModel(version(2), signature(3, task="regression", output_dim=1)))
    made.add(DecodedModel(version(3), signature(2)))
    return made


def rows(chunks: list[Chunk]) -> dict[ModelRef, list[str]]:
    return {chunk.model: list(chunk.ids) for chunk in chunks}


def test_only_other_columns_need_another_decoder(decoder: VersionedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(decoder.decode(POLL, EPOCH)) == {version(1): ["a"], OTHER: ["b"]}
    with monkeypatch.context() as patched:
        patched.setattr(decoder, "_build", None)
        for number in (2, 1, 2):
            decoder.serve(version(number))
            assert rows(decoder.decode(POLL, EPOCH)) == {version(number): ["a"], OTHER: ["b"]}
    decoder.remove(version(1))
    assert rows(decoder.decode(POLL, EPOCH)) == {version(2): ["a"], OTHER: ["b"]}
    decoder.serve(version(3))
    assert rows(decoder.decode(POLL, EPOCH)) == {version(3): ["c"], OTHER: ["b"]}
    decoder.serve(version(2))
    assert rows(decoder.decode(POLL, EPOCH)) == {version(2): ["a"], OTHER: ["b"]}
    assert decoder.served("m") == version(2) and decoder.served("other") == OTHER


def test_a_version_that_is_not_served_decodes_by_its_own_columns(decoder: VersionedDecoder) -> None:
    own = [record for record in POLL[P0] if record.offset != 1]
    (chunk,) = decoder.decode_for(version(3), P0, own, EPOCH)
    assert (chunk.model, list(chunk.ids), chunk.num_records, chunk.next_offset) == (version(3), ["c"], 2, 3)
    assert rows(decoder.decode(POLL, EPOCH)) == {version(1): ["a"], OTHER: ["b"]}


def test_other_threads_decode_for_one_version_or_the_other(decoder: VersionedDecoder) -> None:
    def decode_often() -> set[tuple[ModelRef, int]]:
        chunks = (chunk for _ in range(50) for chunk in decoder.decode(POLL, EPOCH))
        return {(chunk.model, chunk.x_BF.shape[1]) for chunk in chunks}

    with ThreadPoolExecutor(2) as threads:
        seen = [threads.submit(decode_often) for _ in range(2)]
        number = 1
        while not all(one.done() for one in seen):
            number = number % 3 + 1
            decoder.serve(version(number))
    for one in seen:
        assert one.result() <= {(version(1), 3), (version(2), 3), (version(3), 2), (OTHER, 2)}
